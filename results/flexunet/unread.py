"""Fields of a config that change nothing, by the value of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FOCAL = ("focal", "focal_dice")
_TVERSKY = ("tversky", "focal_tversky")

# (field, the field that decides whether it is read, the values by which it is)
_READ_BY = (
    ("train.weight_decay", "train.optimizer", ("adamw",)),
    ("train.plateau_factor", "train.schedule", ("reduce_on_plateau",)),
    ("train.plateau_patience", "train.schedule", ("reduce_on_plateau",)),
    ("train.focal_gamma", "train.loss", _FOCAL),
    ("train.tversky_alpha", "train.loss", _TVERSKY),
    ("train.tversky_beta", "train.loss", _TVERSKY),
)


def unread_fields(values: Mapping[str, Any]) -> set[str]:
    """Return the dotted fields that change nothing.

    Args:
        values: Dotted field to its constant, such as ``train.loss``.
    """
    found = {
        name
        for name, other, readers in _READ_BY
        if other in values and values[other] not in readers
    }
    if values.get("train.early_stopping_patience", 0) is None:
        found.add("train.early_stopping_metric")
    return found
