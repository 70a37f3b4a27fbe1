"""Epochs for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from results.records.epochs import Epoch


def epoch_of(number: int = 1, values: Mapping[str, Any] | None = None, **more: Any) -> Epoch:
    """An epoch with these fields as a line of metrics.jsonl has them; no scores where none."""
    return Epoch.of({"epoch": number, "dice": {}, **(values or {}), **more})
