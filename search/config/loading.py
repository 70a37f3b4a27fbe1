"""Configs from files, overrides, plain values and records, with every problem in one error."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search.config.baselines import fill_baselines, with_recipe
from search.config.errors import ConfigError, Line, described, with_line
from search.config.reference_file import FlexUNetSource, read_source, search_around, with_first_rung
from search.config.rules import baseline_value_problem, rule_problems
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.config.yaml_source import apply_overrides

_log = logging.getLogger(__name__)


def load_config(
    path: Path | str,
    overrides: Iterable[str] = (),
    *,
    around: bool = False,
    alone: bool = False,
) -> StudyConfig:
    """Read a file and apply ``a.b=value`` overrides.

    YAML, or by its suffix a config file of the reference, whose constants are taken; what of
    it is not taken over exactly is logged.

    Args:
        path: The file.
        overrides: Each ``a.b=value``.
        around: Search around a file of the reference, itself the first baseline.
        alone: For one training, which no pruner stops, however few its epochs are.

    Raises:
        ConfigError: listing every problem, each with its line in the file.
    """
    path, overrides = Path(path), list(overrides)
    source = read_source(path)
    around = around and isinstance(source, FlexUNetSource)
    problems = list(source.problems)
    tree = search_around(source.tree) if around else source.tree
    problems += apply_overrides(tree, overrides)
    if "provenance" in tree:  # an export
        tree = _as_recorded(tree)
    notes: list[str] = []
    if isinstance(source, FlexUNetSource):
        notes = list(source.notes)
    if alone or isinstance(source, FlexUNetSource):
        tree = with_first_rung(tree, stated=alone)
    try:
        config = config_from_tree(tree, str(path), source.line, path.parent)
        if around and not problems:
            config, more = with_recipe(
                config, load_constants(path), path, partial(baseline_value_problem, config)
            )
            notes += more
    except ConfigError as error:
        # Of a file that cannot be read at all, nothing else is worth saying.
        problems += error.problems if tree else ()
    if problems:
        raise ConfigError(str(path), problems)
    for note in notes:
        _log.warning("%s: %s", path, note)
    return config


def load_constants(path: Path) -> TrialConfig:
    """Read a file of constants, such as best.yaml or a config file of the reference.

    Raises:
        ConfigError: listing every problem, such as fields that are searched.
    """
    source = read_source(path)
    if source.problems:
        raise ConfigError(str(path), source.problems)
    tree = _as_recorded(source.tree) if "provenance" in source.tree else source.tree
    if isinstance(source, FlexUNetSource):
        tree = with_first_rung(tree)
    if isinstance(tree.get("search"), Mapping):  # a point of a space knows no other points
        dropped = ("baselines", "warm_start")
        tree = {**tree, "search": {k: v for k, v in tree["search"].items() if k not in dropped}}
    try:
        return config_from_tree(tree, str(path), source.line).at({})
    except ConfigError as error:
        raise ConfigError(str(path), error.problems) from None


def config_from_overrides(overrides: Iterable[str]) -> StudyConfig:
    """Apply ``a.b=value`` overrides to the defaults.

    Raises:
        ConfigError: listing every problem.
    """
    tree: dict[str, Any] = {}
    problems = apply_overrides(tree, overrides)
    try:
        config = config_from_tree(tree, "--set")
    except ConfigError as error:
        raise ConfigError("--set", [*problems, *error.problems]) from None
    if problems:
        raise ConfigError("--set", problems)
    return config


def config_from_tree(
    tree: Mapping[str, Any],
    source: str = "config",
    line: Line = lambda _: None,
    folder: Path | None = None,
) -> StudyConfig:
    """Build it from nested mappings.

    Args:
        tree: The config as YAML reads it.
        source: Name for the error.
        line: Maps a field's path (tuple of str) to its line in the source, or None.
        folder: What the files of baselines are relative to first; None: the working directory.

    Raises:
        ConfigError: listing every problem.
    """
    try:
        config = StudyConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(source, list(described(error, line, StudyConfig))) from None
    config, unlike = fill_baselines(config, folder, load_constants)
    found = [*rule_problems(config), *(("search.baselines", problem) for problem in unlike)]
    problems = list(dict.fromkeys(found))
    if problems:
        raise ConfigError(
            source, [with_line(line, tuple(field.split(".")), p) for field, p in problems]
        )
    return config


def config_from_record(tree: Mapping[str, Any], source: str) -> StudyConfig:
    """Build it from what a study or an export has recorded, maybe of an older version.

    Raises:
        ConfigError: as :func:`config_from_tree`.
    """
    return config_from_tree(_as_recorded(tree), source)


def _as_recorded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record of an older version does not name it did not do."""
    augment = tree.get("augment") or {}
    filled = {"preset": "none", **augment} if isinstance(augment, Mapping) else augment
    return {**tree, "augment": filled}


def json_schema() -> str:
    """Return the JSON schema of a study's YAML, for editors (``make schema`` writes it)."""
    return json.dumps(StudyConfig.model_json_schema(by_alias=True), indent=1) + "\n"
