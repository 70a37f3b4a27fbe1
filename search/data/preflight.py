"""What only the data can tell about a config: checked before a study begins, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from data_pipeline.augmentation.operations import IGNORE
from data_pipeline.stores.store import Store
from search.config.errors import ConfigError
from search.config.method_rules import baseline_limit_problems
from search.config.schema import StudyConfig


def check_data(config: StudyConfig, store: Store) -> None:
    """Refuse a config that the prepared data cannot serve.

    Raises:
        ConfigError: listing every problem.
    """
    problems = [
        *_split_problems(config, store),
        *_class_problems(store),
        *_weight_problems(config, store),
        *_objective_weight_problems(config, store),
        *_limit_problems(config, store),
    ]
    if problems:
        raise ConfigError(config.data.source, problems)


def check_folds(config: StudyConfig, stores: Sequence[Store]) -> None:
    """Refuse a config that the prepared data of a fold cannot serve; of one, as check_data.

    Raises:
        ConfigError: listing every problem, with its fold where there are several.
    """
    if len(stores) == 1:
        check_data(config, stores[0])
        return
    problems: list[str] = []
    for fold, store in enumerate(stores):
        try:
            check_data(config, store)
        except ConfigError as error:
            problems += [f"fold {fold} of {len(stores)}: {each}" for each in error.problems]
    if problems:
        raise ConfigError(config.data.source, problems)


def _split_problems(config: StudyConfig, store: Store) -> Iterator[str]:
    for name in ("train", "valid"):
        if name not in store.splits or not store.splits[name].count:
            yield f"data.source: expected images in the split {name!r}, received none"
            return
    images = store.splits["train"].count
    largest = max(config.values("train.batch_size"))
    if largest > images:
        yield (
            f"train.batch_size: expected at most the {images} images of the training split, "
            f"received {largest}"
        )


def _class_problems(store: Store) -> Iterator[str]:
    if "train" not in store.splits:
        return
    for name, pixels in zip(store.classes, store.class_pixels("train"), strict=True):
        if pixels == 0:
            yield (
                f"data.source: expected pixels of class {name!r} in the training split, "
                "received none"
            )


def _weight_problems(config: StudyConfig, store: Store) -> Iterator[str]:
    for weights in config.values("train.class_weights"):
        if weights is not None and len(weights) != len(store.classes):
            yield (
                f"train.class_weights: expected {len(store.classes)} weights "
                f"({', '.join(store.classes)}), received {len(weights)}"
            )
    for field in ("sampling_weights", "oversample"):
        for weights in config.values(f"augment.{field}"):
            yield from _sampling_problems(field, weights or {}, store)
    for field, extra in (("crop_class", None), ("border_class", IGNORE)):
        for name in config.values(f"augment.{field}"):
            if name not in (extra, *store.classes):
                names = [*([extra] if extra else []), *store.classes]
                yield f"augment.{field}: expected one of {', '.join(names)}, received {name!r}"


def _objective_weight_problems(config: StudyConfig, store: Store) -> Iterator[str]:
    foreground = store.classes[1:]
    weights = config.search.class_weights
    for name in weights:
        if name not in foreground:
            yield (
                f"search.class_weights: expected classes of {', '.join(foreground)}, "
                f"received {name!r}"
            )
    if weights and not any(weights.get(name, 1.0) for name in foreground):
        yield "search.class_weights: expected a weight above 0, received none"


def _limit_problems(config: StudyConfig, store: Store) -> Iterator[str]:
    for field, problem in baseline_limit_problems(config, len(store.classes)):
        yield f"{field}: {problem}"


def _sampling_problems(field: str, weights: Mapping[str, float], store: Store) -> Iterator[str]:
    for name, weight in weights.items():
        if name not in store.classes:
            yield (
                f"augment.{field}: expected classes of {', '.join(store.classes)}, "
                f"received {name!r}"
            )
        elif weight > 0 and not _is_drawn(field, store, store.classes.index(name)):
            yield (
                f"augment.{field}: expected training images of {name!r} for its weight "
                f"{weight}, received none"
            )


def _is_drawn(field: str, store: Store, label: int) -> bool:
    """Return whether a weight has images to act on: each counts for its rarest class, or for
    all.
    """
    split = store.splits["train"]
    if field == "oversample" and label:
        return bool(split.pixels[:, label].any())
    return label in split.image_classes
