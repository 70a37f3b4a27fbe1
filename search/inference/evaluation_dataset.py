"""The images that a saved model is evaluated on: found, paired and checked against the model."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_pipeline.config import SPLITS, SYNTHETIC, Color, DataConfig
from data_pipeline.datasets.dataset_yaml import DATASET_YAML, DatasetInfo, read_dataset_yaml
from data_pipeline.datasets.sources import Dataset, Item, find_dataset, resolve_source
from data_pipeline.datasets.splits import group_names
from data_pipeline.problems import DataError, Problem
from data_pipeline.stores.fingerprint import fingerprint_of
from data_pipeline.stores.prepare import find_prepared, prepare, store_root
from search.inference.model_metadata import ModelMetadata

WHOLE = "all"

_DISAGREE = "the model and the data do not agree"


@dataclass(frozen=True, eq=False)
class EvaluationDataset:
    """Images with their masks, nothing decoded yet.

    Attributes:
        root: The folder of the data set.
        source: Where it comes from, in words.
        split: train, valid, test, or "all".
        items: Image and mask files, by split and stem.
        classes: Class name to its RGB colour in the masks, background first.
        config: How they are read and resized: as the model's training images were.
        fingerprint: Of the whole data set, prepared for the model.
        own: Whether the model was trained on this very data set, as its record says.
        problems: Files that form no item, where they are to be left out.
        copies: Stems of images whose very files are in the data that the model was trained on,
            but in its test split; None where those data are out of reach, or are these.
    """

    root: Path
    source: str
    split: str
    items: tuple[Item, ...]
    classes: Mapping[str, Color]
    config: DataConfig
    fingerprint: str
    own: bool
    problems: tuple[Problem, ...] = ()
    copies: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return self.root.resolve().name


def find_evaluation_dataset(
    source: str,
    facts: ModelMetadata,
    split: str | None = None,
    *,
    believed: bool = False,
    workers: int | None = None,
) -> EvaluationDataset:
    """Find the images of a split that a model can be evaluated on.

    A folder with splits need not have all of them: ``test/`` alone will do. A folder that is not
    divided is taken whole, but where the model was trained on this very folder: then its images are
    those of the split as it was dealt for the training.

    Args:
        source: Folder of the data set, or "synthetic".
        facts: The model's.
        split: train, valid, test or "all"; None: test, of a folder that is not divided all.
        believed: Whether the classes of ``facts`` are to be taken in place of the data's own.
        workers: Threads that read files; None for one a core.

    Raises:
        DataError: where the folder cannot be read as a data set, has no such split or files that
            form no pair, or where its classes differ from the model's, each difference named.
    """
    config = _config(source, facts)
    root = resolve_source(config)
    classes = _agreed(root, read_dataset_yaml(root), facts, believed)
    config = config.model_copy(update={"classes": dict(classes)})
    dataset = _find(config, root)
    fingerprint = _fingerprint(dataset, config, workers)
    own = fingerprint == facts.fingerprint
    named, items = _chosen(dataset, config, split, own)
    problems = _problems_of(dataset, named)
    if not items or (problems and config.on_bad == "error"):
        empty = Problem(str(dataset.root), f"expected images in {named!r}, found none")
        raise DataError(problems or [empty])
    return EvaluationDataset(
        dataset.root,
        dataset.source,
        named,
        items,
        classes,
        config,
        fingerprint,
        own,
        problems,
        None if own else _copies(items, facts),
    )


def _config(source: str, facts: ModelMetadata) -> DataConfig:
    """Return how the model's own data were read, of another folder."""
    height, width, channels = facts.image_shape
    update = {"source": source, "image_size": (height, width), "channels": channels}
    return (facts.data or DataConfig(resize=facts.resize)).model_copy(update=update)


# Classes


def _agreed(
    root: Path, info: DatasetInfo | None, facts: ModelMetadata, believed: bool
) -> dict[str, Color]:
    """Return the classes of model and data, where they are the same."""
    of_model = dict(zip(facts.classes, facts.colors, strict=True))
    # Colours that are made up read no mask.
    if facts.named and facts.colored and (believed or info is None):
        return of_model
    path = str(root / DATASET_YAML)
    if info is None:
        message = (
            "expected the classes and their colours here, or in a file that tells what the model "
            f"is for (--config), found neither; the model tells {facts.num_classes} classes apart"
        )
        raise DataError([Problem(path, message)])
    problems = [Problem(path, message) for message in _differences(info.classes, facts)]
    if problems:
        raise DataError([*problems, Problem(str(facts.path), _model_says(facts))], _DISAGREE)
    return dict(info.classes)


def _differences(found: Mapping[str, Color], facts: ModelMetadata) -> Iterator[str]:
    if len(found) != facts.num_classes:
        yield (
            f"expected {facts.num_classes} classes, which the model tells apart, received "
            f"{len(found)}: {', '.join(found)}"
        )
    pairs = zip(facts.classes, facts.colors, found.items(), strict=False)
    for index, (name, color, (other, its_color)) in enumerate(pairs):
        if facts.named and name != other:
            yield f"class {index}: expected the model's {name!r}, received {other!r}"
        if facts.colored and tuple(color) != tuple(its_color):
            yield (
                f"class {index} ({other}): expected the model's colour {list(color)}, received "
                f"{list(its_color)}"
            )


def _model_says(facts: ModelMetadata) -> str:
    by = f"as {facts.source} says" if facts.source else "by itself"
    return f"a model of {facts.num_classes} classes, {by}: {', '.join(facts.classes)}"


# Files


def _find(config: DataConfig, root: Path) -> Dataset:
    """Return the data set; of a folder with some of the splits alone, those."""
    splits = [name for name in SPLITS if (root / name).is_dir()]
    whole = not splits or {"train", "valid"} <= set(splits)
    if whole or (root / "images").is_dir() or (root / "masks").is_dir():
        return find_dataset(config)
    parts = [
        find_dataset(config.model_copy(update={"source": str(root / name)})) for name in splits
    ]
    pairs = [
        replace(item, split=name)
        for name, part in zip(splits, parts, strict=True)
        for item in part.items
    ]
    info = read_dataset_yaml(root)
    items = _grouped(pairs, info.groups if info else {}, config)
    return Dataset(
        root=root,
        source=info.source if info else root.resolve().name,
        classes=dict(config.classes or {}),
        items=items,
        problems=tuple(problem for part in parts for problem in part.problems),
        divided=True,
    )


def _grouped(
    items: Sequence[Item], listed: Mapping[str, str], config: DataConfig
) -> tuple[Item, ...]:
    """Name their groups as the whole data set's dataset.yaml does."""
    rule = config.split
    names = group_names(
        [item.stem for item in items], listed, rule.group_pattern, rule.group_folders
    )
    return tuple(
        replace(item, group=name or item.group) for item, name in zip(items, names, strict=True)
    )


def _chosen(
    dataset: Dataset, config: DataConfig, split: str | None, own: bool
) -> tuple[str, tuple[Item, ...]]:
    """Return the name of the split and its items."""
    if split == WHOLE or (split is None and not dataset.divided and not own):
        return WHOLE, dataset.items
    name = split or "test"
    if dataset.divided:
        there = [known for known in SPLITS if any(i.split == known for i in dataset.items)]
        items = tuple(item for item in dataset.items if item.split == name)
    elif own:
        store = prepare(config)
        there = [known for known in SPLITS if known in store.splits]
        dealt = set(store.splits[name].stems) if name in store.splits else set()
        items = tuple(item for item in dataset.items if item.stem in dealt)
    else:
        there, items = [], ()
    if name not in there:
        message = f"expected a split of {[*there, WHOLE]}, received {name!r}"
        raise DataError([Problem(str(dataset.root), message)])
    return name, items


def _problems_of(dataset: Dataset, split: str) -> tuple[Problem, ...]:
    """Return what is wrong within a split."""
    if split == WHOLE or not dataset.divided:
        return dataset.problems
    within = f"{dataset.root / split}{os.sep}"
    return tuple(problem for problem in dataset.problems if problem.path.startswith(within))


def _copies(items: Sequence[Item], facts: ModelMetadata) -> tuple[str, ...] | None:
    """Return which of the images are, byte by byte, files of the data that the model was trained
    on.
    """
    if facts.data is None or facts.data.source == SYNTHETIC:
        return None
    try:
        dataset = find_dataset(facts.data)
        seen = _seen(dataset, facts.data, facts.fingerprint)
        copies = _alike(items, dataset.items if seen is None else seen)
    except (DataError, OSError):
        return None
    return None if seen is None and copies else copies


def _seen(dataset: Dataset, config: DataConfig, fingerprint: str | None) -> tuple[Item, ...] | None:
    """Return what is not for the test; None where splits were dealt, and how is not at hand any
    more.
    """
    if dataset.divided:
        return tuple(item for item in dataset.items if item.split != "test")
    store = find_prepared(config, fingerprint)
    if store is None:
        return None
    tested = set(store.splits["test"].stems) if "test" in store.splits else set()
    return tuple(item for item in dataset.items if item.stem not in tested)


def _alike(items: Sequence[Item], known: Sequence[Item]) -> tuple[str, ...]:
    sizes = {item.image.stat().st_size for item in items}
    # Files of other sizes are no copies: few are read.
    digests = {_digest(each.image) for each in known if each.image.stat().st_size in sizes}
    return tuple(item.stem for item in items if _digest(item.image) in digests)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _fingerprint(dataset: Dataset, config: DataConfig, workers: int | None) -> str:
    """Return the one that the prepared data have; where they are, their digests are not taken
    anew.
    """
    root = store_root(config, dataset.root)
    if config.store_path is None and os.access(root, os.W_OK):
        return fingerprint_of(dataset, config, root, workers)
    with tempfile.TemporaryDirectory(prefix="flexunet-digests-") as folder:
        return fingerprint_of(dataset, config, Path(folder), workers)
