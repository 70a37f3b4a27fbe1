"""What the fields of a config take, without the packages that define them: written from its schema.

``make schema`` writes the file beside this module.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def _written() -> Mapping[str, Any]:
    text = Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def bounds() -> Mapping[str, Mapping[str, float]]:
    """Return a numeric field's bounds by JSON schema's keywords, by its name: "train.epochs"."""
    found: Mapping[str, Mapping[str, float]] = _written()["bounds"]
    return found


def operations() -> tuple[str, ...]:
    """Return the names of the augmentation operations, in the pipeline's order."""
    return tuple(_written()["operations"])
