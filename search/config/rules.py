"""Rules between the fields of a config, which no field can check alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, ValidationError

from data_pipeline.augmentation.operations import COLOR_ONLY, FILLED
from model.config import ModelConfig
from search.config.method_rules import method_problems
from search.config.schema import SEARCHED, StudyConfig
from search.config.sharing_rules import sharing_problems
from search.config.space import FloatDistribution, Scalar


def rule_problems(config: StudyConfig) -> Iterator[tuple[str, str]]:
    """Yield (dotted field, problem) for each rule between fields that a config breaks."""
    conditions = list(_condition_problems(config))
    yield from conditions
    if conditions:  # what the others ask about could have no answer
        return
    for section, cls in SEARCHED.items():
        yield from _section_problems(config, section, cls)
    yield from _image_size_problems(config)
    yield from _fold_problems(config)
    yield from _baseline_problems(config)
    if config.search.num_trials is None and config.search.time_budget_minutes is None:
        yield (
            "search.num_trials",
            "expected num_trials or time_budget_minutes, received neither",
        )
    yield from method_problems(config)
    if config.pipeline.sharing == "service":
        for problem in sharing_problems(config):
            yield "pipeline.sharing", f"expected local or auto: {problem}"


def _condition_problems(config: StudyConfig) -> Iterator[tuple[str, str]]:
    """Check what ``when`` names: fields, and values that they can have."""
    for name, distribution in config.space.items():
        for other, values in (distribution.when or {}).items():
            section, _, field = other.partition(".")
            if field not in getattr(SEARCHED.get(section), "model_fields", {}):
                yield name, f"when: expected a field of model, train or augment, received {other!r}"
            elif isinstance(config.space.get(other), FloatDistribution) and (
                config.space[other].to_yaml().get("step") is None
            ):
                yield (
                    name,
                    f"when: expected a field of countable values, received {other}, "
                    f"{config.space[other].to_yaml()}",
                )
            elif other in config.space:
                wrong = [
                    value
                    for value in values
                    if not _is_of(config, other, value)
                    and not (config.space[other].when and value == config.otherwise(other))
                ]
                if wrong:
                    yield (
                        name,
                        f"when: expected values of {other}, {config.space[other].to_yaml()}, "
                        f"received {wrong}",
                    )
            elif config.values(other)[0] not in values:
                yield (
                    name,
                    f"when: expected a value that {other} can have, the constant "
                    f"{config.values(other)[0]!r}, received {list(values)}",
                )


def _fold_problems(config: StudyConfig) -> Iterator[tuple[str, str]]:
    folds, split = config.search.folds, config.data.split
    if folds is None:
        return
    if split.folds != folds:
        yield (
            "search.folds",
            f"expected as many as data.split.folds, {split.folds}, or none there, received {folds}",
        )
    if split.fold:
        yield (
            "data.split.fold",
            f"expected 0 with search.folds, which goes through all of them, received {split.fold}",
        )
    if config.origin is not None:
        yield (
            "search.folds",
            "expected a study in a folder: of one in an object store the folds' checkpoints are "
            f"not kept, received {config.study.storage_path}",
        )


def _is_of(config: StudyConfig, name: str, value: Scalar) -> bool:
    """Return whether a searched field can be drawn with a value."""
    optunas = config.space[name].to_optuna()
    try:
        return bool(optunas._contains(optunas.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


def _section_problems(
    config: StudyConfig, section: str, cls: type[BaseModel]
) -> Iterator[tuple[str, str]]:
    """Check the section's own rules at every pair of extremes: a rule binds two fields."""
    searched = [name for name in config.space if name.startswith(f"{section}.")]
    first = {name: config.values(name)[0] for name in searched}
    pairs: list[tuple[str, ...]] = list(itertools.combinations(searched, 2))
    pairs = pairs or [tuple(searched)]
    for pair in pairs:
        for values in itertools.product(*(config.values(name) for name in pair)):
            given = dict(zip(pair, values, strict=True))
            params = first | _admitting(config, pair) | given
            try:
                cls(**config.constants_of(section, params))
            except ValidationError as error:
                for item in error.errors():
                    yield section, item["msg"].removeprefix("Value error, ")


def _admitting(config: StudyConfig, names: Iterable[str]) -> dict[str, Scalar]:
    """Return values of other fields with which fields are searched, as their conditions say."""
    found: dict[str, Scalar] = {}
    for name in names:
        for other, values in (config.space[name].when or {}).items():
            if other in config.space:
                found |= _admitting(config, [other]) | {other: values[0]}
    return found


def _image_size_problems(config: StudyConfig) -> Iterator[tuple[str, str]]:
    height, width = config.data.image_size
    problem = ModelConfig(
        num_layers=max(config.values("model.num_layers")), dropout_rate=0
    ).image_size_problem(height, width)
    if problem:
        yield "data.image_size", problem
    for name in COLOR_ONLY:
        if config.data.channels != 3 and any(config.values(f"augment.{name}")):
            yield (
                f"augment.{name}",
                f"expected images of 3 channels (data.channels) with {name}, received "
                f"{config.data.channels}",
            )
    yield from _patch_problems(config, max(config.values("model.num_layers")))
    whole = max(height, width)
    largest = max(size or whole for size in config.values("augment.patch_size"))
    if (
        height != width
        and largest > min(height, width)
        and any(config.values("augment.quarter_turns"))
    ):
        yield (
            "augment.quarter_turns",
            f"expected square images or windows with quarter_turns, received {height}x{width}",
        )


def _patch_problems(config: StudyConfig, num_layers: int) -> Iterator[tuple[str, str]]:
    """Windows pass the model as whole images do, and lie inside them."""
    multiple, sides = 2 ** (num_layers - 1), config.data.image_size
    name = "augment.patch_size"
    searched = config.space.get(name)
    sizes = config.values(name) if searched is None else searched.probes()
    if searched is not None and searched.when:
        sizes = (*sizes, config.otherwise(name))
    for size in filter(None, sizes):
        if size % multiple:
            yield (
                name,
                f"expected a side divisible by 2**(num_layers - 1) = {multiple} for num_layers "
                f"{num_layers}, received {size}",
            )
        if size > max(sides):
            yield (
                name,
                f"expected at most the longer side of data.image_size, {max(sides)}, received "
                f"{size}",
            )


def _baseline_problems(config: StudyConfig) -> Iterator[tuple[str, str]]:
    names = [baseline.name for baseline in config.search.baselines]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield "search.baselines", f"expected distinct names, received {name!r} twice"
    for baseline in config.search.baselines:
        for name, value in baseline.params.items():
            if _is_off(config, name, baseline.params):
                problem = _off_problem(config, name, value)
            else:
                problem = baseline_value_problem(config, name, value)
            if problem:
                yield "search.baselines", f"{baseline.name!r}: {name}: {problem}"


def _is_off(config: StudyConfig, name: str, params: Mapping[str, Scalar]) -> bool:
    """Return whether a baseline itself says that a field is not searched in it."""
    distribution = config.space.get(name)
    if distribution is None or not (distribution.when or {}).keys() <= params.keys():
        return False  # what it depends on is drawn
    return not config.is_searched(name, params)


def _off_problem(config: StudyConfig, name: str, value: Scalar) -> str | None:
    if value == config.otherwise(name):
        return None
    return (
        f"expected nothing, as it is searched only when {config.space[name].when}, "
        f"received {value!r}"
    )


def baseline_value_problem(config: StudyConfig, name: str, value: Scalar) -> str | None:
    """Say what is wrong with a value of a dotted field in a baseline; None: nothing."""
    section, _, field = name.partition(".")
    if field not in getattr(SEARCHED.get(section), "model_fields", {}):
        return "expected a field of model, train or augment"
    if name not in config.space:
        (constant,) = config.values(name)
        if constant is None and section == "augment" and field in FILLED:
            return f"expected nothing: augment.preset is searched, received {value!r}"
        same = constant == value
        return None if same else f"expected the constant {constant!r}, received {value!r}"
    if _is_of(config, name, value):
        return None
    return f"expected a value of {config.space[name].to_yaml()}, received {value!r}"
