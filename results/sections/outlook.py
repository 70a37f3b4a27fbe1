"""Whether to search on, in words: what more trials may bring, what pruning saved."""

from __future__ import annotations

import math
from typing import Any

from results.analysis.convergence import Convergence
from results.analysis.savings import Savings
from results.style.words import count, duration

MORE = (10, 20, 50)
_ASKED = 20
_LIKELY, _UNLIKELY, _NEXT_TO_NONE = 0.5, 0.1, 0.005


def outlook(found: Convergence) -> dict[str, Any]:
    """Return whether another 20 trials are worth it.

    Returns:
        says; heads and rows of a table, empty where there are too few trials; note: method, n,
        assumption.
    """
    if found.table.empty:
        return {"says": _untold(found), "heads": [], "rows": [], "note": ""}
    heads = [
        {"text": "More trials", "num": False},
        {"text": f"Gain of {found.margin:g} or more", "num": True},
        {"text": "95 % range", "num": True},
        {"text": "Any gain", "num": True},
        {"text": "Expected gain in Dice", "num": True},
    ]
    rows = [
        [
            {"text": f"{row['more']:,.0f}"},
            {"text": percent(row["probability"]), "num": True, "strong": row["more"] == _ASKED},
            {"text": f"{percent(row['low'])} to {percent(row['high'])}", "num": True},
            {"text": percent(row["any_gain"]), "num": True},
            {"text": _gain(row["expected_gain"]), "num": True},
        ]
        for row in found.table.to_dict("records")
    ]
    return {"says": _said(found), "heads": heads, "rows": rows, "note": _method(found)}


def _said(found: Convergence) -> str:
    asked = found.table[found.table["more"] == _ASKED]
    row = (asked if len(asked) else found.table).iloc[0].to_dict()
    chance = float(row["probability"])
    worth = "Another {} trials may be worth it"
    if chance >= _LIKELY:
        worth = "Another {} trials are likely worth it"
    elif chance < _UNLIKELY:
        worth = "Another {} trials are hardly worth it"
    said = worth.format(f"{row['more']:,.0f}")
    said += f": they beat the best by {found.margin:g} Dice or more with a probability of "
    span = f" ({percent(row['low'])} to {percent(row['high'])})"
    said += percent(chance) + ("" if row["high"] < _NEXT_TO_NONE else span)
    said += f", by {_gain(row['expected_gain'])} in the mean. "
    return said + _since(found)


def _untold(found: Convergence) -> str:
    reason = (found.reason or "It cannot be told.").rstrip(".")
    said = f"Whether more trials are worth it cannot be told: {_lower(reason)}. {_since(found)}"
    return said.strip()


def _since(found: Convergence) -> str:
    if found.since_trials is None:
        return ""
    if not found.since_trials:
        return "No later trial has ended."
    trials = count(found.since_trials, "trial")
    return f"{trials} ({count(found.since_epochs or 0, 'epoch')}) since the best were no better."


def _gain(dice: float) -> str:
    return "< 0.001" if 0 < dice < 0.0005 else f"{dice:.3f}"


def _method(found: Convergence) -> str:
    peaks = f"the {found.tail.count} best of {count(found.trials, 'trial')}" if found.tail else ""
    return (
        f"Read from how far {peaks} stand above the next one (peaks over a threshold, exponential "
        "tail; the range is what their number leaves open of its scale). “Any gain” holds whatever "
        f"the scores' distribution. {found.assumption}"
    )


def percent(share: float) -> str:
    """Return a probability for people: never a 0 % or 100 % that it is not."""
    if 0 < share < _NEXT_TO_NONE:
        return "< 1 %"
    if 1 - _NEXT_TO_NONE < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def pruning(found: Savings) -> dict[str, Any]:
    """Return what pruning saved.

    Returns:
        says; facts [(name, value, unit)]; note: how it was computed.
    """
    facts = [
        ("Trained", duration(found.seconds), f"of worker time, {count(found.epochs, 'epoch')}"),
    ]
    if not math.isnan(found.trials_per_hour):
        facts.append(
            ("Trials an hour", f"{found.trials_per_hour:.1f}", "finished, pauses left out")
        )
    if found.table.empty:
        said = f"Pruning saved nothing: {_lower(found.reason or 'no trial was pruned.')}"
        return {"says": said, "facts": facts if found.epochs else [], "note": ""}
    saved = f"{count(found.epochs_saved, 'epoch')}"
    said = f"Pruning spared {saved} of {count(len(found.table), 'trial')}"
    if found.seconds_saved > 0:
        said += f", {duration(found.seconds_saved)} of worker time: "
        said += f"{percent(found.share)} of what the study would have taken without it."
        facts.append(("Saved", duration(found.seconds_saved), f"of worker time, {saved}"))
    note = (
        "Each pruned trial's missing epochs, up to the study's number, at its own mean seconds an "
    )
    note += "epoch; early stopping is not thought of."
    return {"says": said.removesuffix(".") + ".", "facts": facts, "note": note}


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
