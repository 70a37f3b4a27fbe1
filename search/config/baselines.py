"""Baselines that a file states: its values become the baseline's, so the record needs no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from data_pipeline.augmentation.operations import FILLED, OPERATIONS
from results.flexunet.unread import unread_fields
from search.config.schema import StudyConfig
from search.config.settings import Baseline
from search.config.trial import TrialConfig

Study = TypeVar("Study", bound="StudyConfig")
SECTIONS = ("model", "train", "augment")
Load = Callable[[Path], "TrialConfig"]


def fill_baselines(config: Study, folder: Path | None, load: Load) -> tuple[Study, list[str]]:
    """Fill the baselines that name a file with its values of the searched fields.

    Args:
        config: The study.
        folder: Of the study's file, that paths are relative to first; None: none.
        load: Reads a file of constants; raises ValueError where it cannot.

    Returns:
        The study with baselines that name no file, and every problem, such as a constant of the
        study that differs from a file's: a baseline that is not what its file says fools the
        reader.
    """
    filled: list[Baseline] = []
    problems: list[str] = []
    if all(baseline.config is None for baseline in config.search.baselines):
        return config, problems
    for baseline in config.search.baselines:
        if baseline.config is not None:
            path = _resolve(baseline.config, folder)
            try:
                constants = load(path)
            except ValueError as error:
                found = "; ".join(getattr(error, "problems", [str(error)]))
                problems.append(f"{baseline.name!r}: {path}: {found}")
                continue
            given = baseline.params
            problems += [
                f"{baseline.name!r}: {problem}"
                for problem in differences(config, constants, given, path)
            ]
            params = {**_searched(config, constants), **given}
            baseline = Baseline(name=baseline.name, params=params)
        filled.append(baseline)
    search = config.search.model_copy(update={"baselines": tuple(filled)})
    return config.model_copy(update={"search": search}), problems


def _resolve(path: Path, folder: Path | None) -> Path:
    path = path.expanduser()
    beside = (folder or Path()) / path
    return beside if beside.exists() or not path.exists() else path


def _values(constants: TrialConfig) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section in SECTIONS
        for name, value in getattr(constants, section)
    }


def _searched(config: StudyConfig, constants: TrialConfig) -> dict[str, Any]:
    values = _values(constants)
    return {name: values[name] for name in config.space if config.is_searched(name, values)}


def differences(
    config: StudyConfig, constants: TrialConfig, given: Mapping[str, Any], path: Path
) -> Iterator[str]:
    """Yield each constant of a study that is not a file's, unless it is given or changes nothing.

    Args:
        config: The study.
        constants: What the file says.
        given: Fields that the baseline states itself.
        path: The file.
    """
    values = _values(constants)
    unread = unread_fields(values)
    for name, value in values.items():
        if name in config.space or name in given or name in unread:
            continue
        section, field = name.split(".")
        own = getattr(getattr(config, section), field)
        if section == "augment" and field in FILLED and "augment.preset" in config.space:
            continue  # the preset's value, which the baseline names or cannot
        if field == "probability":
            own, value = (_shares(share, values) for share in (own, value))
        if own != value:
            yield (
                f"{name}: the study has the constant {own!r}, {path} {value!r}; make it searched, "
                "or give it in params"
            )


def _shares(probability: Mapping[str, float], values: Mapping[str, Any]) -> dict[str, float]:
    on = [name for name in OPERATIONS if values[f"augment.{name}"]]
    return {name: share for name, share in (probability or {}).items() if name in on}


def with_recipe(
    config: Study, recipe: TrialConfig, path: Path, problem: Callable[[str, Any], str | None]
) -> tuple[Study, list[str]]:
    """Make the file that a study searches around its first baseline, named by the file.

    Args:
        config: The study, overrides applied.
        recipe: What the file says.
        path: The file.
        problem: Says what is wrong with a value of a dotted field in a baseline.

    Returns:
        The study, and a sentence on each way in which the baseline is not the file's recipe.
    """
    params = _searched(config, recipe)
    outside = [f"{name}: {wrong}" for name, v in params.items() if (wrong := problem(name, v))]
    if outside:
        return config, [f"no baseline of the file itself: {wrong}" for wrong in outside]
    own, values = _values(config.at(params)), _values(recipe)
    notes = [
        f"the baseline {path.name} has {name} {own[name]!r}, the file {value!r}"
        for name, value in values.items()
        if own[name] != value and name not in unread_fields(values)
    ]
    others = [other for other in config.search.baselines if other.name != path.name]
    baselines = (Baseline(name=path.name, params=params), *others)
    search = config.search.model_copy(update={"baselines": baselines})
    return config.model_copy(update={"search": search}), notes
