"""Dice per class as bars with whiskers, and differences as whiskers about zero: plain HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.sections.verdict_text import interval
from results.style.words import NONE, number, signed

_LEAST_SCALE = 0.05
_OUTCOMES = {"gains": "gains", "loses": "loses", "open": "cannot be told", "unknown": ""}
_SEEMING = {"gains": "seems to gain", "loses": "seems to lose"}


def bars(table: pd.DataFrame, swatches: Mapping[str, Mapping[str, str | None]]) -> dict[str, Any]:
    """Lay out a ``results.tables.verdict.class_table``.

    Args:
        table: The table.
        swatches: ``Material.swatches``.

    Returns:
        rows (foreground classes, then the background), means (mean foreground and worst class),
        scale (the difference at the ends of its track, a text), measured (bool: any group is
        known), compared (bool: any difference is).
    """
    scale = _scale(table)
    rows = [_row(row, scale, swatches) for _, row in table.iterrows()]
    classes = [row for row in rows if row["kind"] == "class"]
    classes[0]["background"] = True
    return {
        "rows": classes[1:] + classes[:1],
        "means": [row for row in rows if row["kind"] != "class"],
        "scale": f"{scale:.2f}",
        "measured": bool((table["groups"] > 0).any()),
        "compared": bool(table["difference"].notna().any()),
    }


def _scale(table: pd.DataFrame) -> float:
    ends = table[["difference", "difference_low", "difference_high"]].abs().to_numpy(float)
    most = pd.Series(ends.ravel()).max()
    return _LEAST_SCALE if math.isnan(most) else max(_LEAST_SCALE, math.ceil(20 * most) / 20)


def _row(
    row: pd.Series, scale: float, swatches: Mapping[str, Mapping[str, str | None]]
) -> dict[str, Any]:
    name, kind = str(row["class"]), str(row["kind"])
    shown = name if kind == "class" else name.capitalize()
    outcome, few = str(row["outcome"]), bool(row["few"])
    ends = interval(row["difference_low"], row["difference_high"], sign=True)
    return {
        "name": shown,
        "kind": kind,
        "swatch": swatches.get(name) if kind == "class" else None,
        "background": False,
        "dice": number(row["dice"]),
        "interval": interval(row["low"], row["high"]),
        "baseline": number(row["baseline"]),
        "difference": signed(row["difference"]),
        "difference_interval": ends,
        "outcome": "open" if few else outcome,
        "outcome_text": _SEEMING.get(outcome, _OUTCOMES[outcome]) if few else _OUTCOMES[outcome],
        "groups": f"{int(row['true_groups']):,}" if row["groups"] else NONE,
        "few": few,
        "bar": _place(row["dice"]),
        "low": _place(row["low"]),
        "width": _length(row["low"], row["high"]),
        "mark": _place(row["baseline"]),
        "dot": _place((row["difference"] / scale + 1) / 2),
        "dot_low": _place((row["difference_low"] / scale + 1) / 2),
        "dot_width": _length(row["difference_low"] / scale / 2, row["difference_high"] / scale / 2),
    }


def _place(share: float) -> str | None:
    return None if math.isnan(share) else f"{100 * min(max(share, 0.0), 1.0):.1f}"


def _length(low: float, high: float) -> str | None:
    return None if math.isnan(low) or math.isnan(high) else f"{100 * (high - low):.1f}"
