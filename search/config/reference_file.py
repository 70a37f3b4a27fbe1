"""Config files of the reference where a study's YAML is expected: read alike, and searched around.

``train X.config`` takes the file's constants. ``run X.config`` searches around them: the fields
that are searched by default are, over values that hold the file's, and the file is the first
baseline (``search/config/baselines.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results.flexunet.reading import from_flexunet
from results.flexunet.syntax import FlexUNetFileError, read_flexunet
from search.config.settings import SearchSettings
from search.config.yaml_source import YamlSource

SUFFIXES = (".config", ".cfg", ".ini")


@dataclass(frozen=True)
class FlexUNetSource:
    """A config file of the reference, as :class:`search.config.yaml_source.YamlSource` gives a YAML
    file.

    Attributes:
        tree: The values, constants alone; empty where the file cannot be read.
        lines: Path of a field to its line, counted from 1.
        problems: All that is wrong with the file.
        notes: What is not taken over exactly.
    """

    tree: dict[str, Any]
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> FlexUNetSource:
        """Read a file; what is wrong with it is in ``problems``."""
        try:
            file = read_flexunet(path)
        except FlexUNetFileError as error:
            return cls({}, problems=error.problems)
        found = from_flexunet(file, path.absolute().parent)
        return cls(found.tree, found.lines, tuple(found.problems), tuple(found.notes))

    def line(self, path: tuple[str, ...]) -> int | None:
        """Return the line that says a field, or the nearest section around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read_source(path: Path) -> YamlSource | FlexUNetSource:
    """Read a config by its suffix: a file of the reference, or YAML."""
    reader = FlexUNetSource if path.suffix.lower() in SUFFIXES else YamlSource
    return reader.read(path)


def with_first_rung(tree: Mapping[str, Any], *, stated: bool = False) -> dict[str, Any]:
    """Return a tree whose search stops no trial before its epochs end, where these are few.

    Args:
        tree: A config, overrides applied.
        stated: Whether that also counts against a first rung which the tree states.
    """
    train, search = tree.get("train"), tree.get("search") or {}
    epochs = train.get("epochs") if isinstance(train, Mapping) else None
    if not isinstance(epochs, int) or not isinstance(search, Mapping) or epochs < 1:
        return dict(tree)
    first = search.get("grace_epochs", SearchSettings.model_fields["grace_epochs"].default)
    free = stated or "grace_epochs" not in search
    if not free or not isinstance(first, int) or epochs >= first:
        return dict(tree)
    return {**tree, "search": {**search, "grace_epochs": epochs}}


def search_around(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of constants with the five default fields searched, their values included.

    As wide as the defaults, wider where a value lies outside, and no deeper than the image's sides
    and ``dropout_rate * (num_layers - 1) < 1`` allow. Values that are no valid constants stay.
    """
    model, train = dict(tree.get("model", {})), dict(tree.get("train", {}))
    try:
        space = _space_around(model, float(train["learning_rate"]), tree["data"]["image_size"])
    except (KeyError, TypeError, ValueError):
        return dict(tree)  # a value is missing or wrong, which the schema tells
    train["learning_rate"] = space.pop("learning_rate")
    return {**tree, "model": {**model, **space}, "train": train}


def _space_around(
    model: Mapping[str, Any], learning_rate: float, image_size: tuple[int, int]
) -> dict[str, dict[str, Any]]:
    layers, dropout, kernel = model["num_layers"], model["dropout_rate"], model["base_kernel"]
    deepest = 1 + min(_halvings(side) for side in image_size)
    high = max(layers, min(6, deepest))
    while high > layers and dropout * (high - 1) >= 1:
        high -= 1
    most = max(dropout, min(0.1, 0.99 / max(high - 1, 1)))
    filters = sorted({8, 16, 32, model["base_filters"]})
    return {
        "num_layers": {"int": [min(3, layers), high]},
        "base_filters": {"choice": filters},
        "base_kernel": {"int": [min(3, kernel), max(7, kernel)], "step": 2},
        "dropout_rate": {"float": [0.0, most]},
        "learning_rate": {
            "float": [min(1e-4, learning_rate), max(1e-2, learning_rate)],
            "log": True,
        },
    }


def _halvings(side: int) -> int:
    return (side & -side).bit_length() - 1
