from __future__ import annotations

import math
from typing import Any

import pandas as pd

from results.sections.class_bars import bars

SWATCHES = {
    name: {"name": name, "color": "#0072b2", "dash": "solid", "own": None}
    for name in ("background", "Crack", "mean foreground")
}


def row(name: str, kind: str = "class", **given: Any) -> dict[str, Any]:
    """A row of a class table."""
    return {
        "class": name,
        "kind": kind,
        "dice": 0.5,
        "low": 0.25,
        "high": 0.75,
        "groups": 7,
        "true_groups": 6,
        "images": 20,
        "few": False,
        "baseline": 0.4,
        "difference": 0.1,
        "difference_low": -0.02,
        "difference_high": 0.17,
        "outcome": "open",
    } | given


def test_bars_and_whiskers_are_shares_of_their_track() -> None:
    table = pd.DataFrame([row("background"), row("Crack"), row("mean foreground", "mean")])
    made = bars(table, SWATCHES)
    crack = made["rows"][0]

    assert made["scale"] == "0.20"
    assert (crack["bar"], crack["low"], crack["width"], crack["mark"]) == (
        *("50.0", "25.0", "50.0", "40.0"),
    )
    # From -0.2 to 0.2: the zero lies at 50 %.
    assert (crack["dot"], crack["dot_low"], crack["dot_width"]) == ("75.0", "45.0", "47.5")
    assert (crack["dice"], crack["interval"]) == ("0.500", "0.250 to 0.750")
    assert crack["difference_interval"] == "−0.020 to +0.170"
    assert crack["groups"] == "6"


def test_the_background_comes_last_and_the_means_below() -> None:
    table = pd.DataFrame([row("background"), row("Crack"), row("mean foreground", "mean")])
    made = bars(table, SWATCHES)

    assert [each["name"] for each in made["rows"]] == ["Crack", "background"]
    assert [each["background"] for each in made["rows"]] == [False, True]
    assert [each["name"] for each in made["means"]] == ["Mean foreground"]
    assert made["means"][0]["swatch"] is None


def test_a_class_called_as_a_mean_is_a_class() -> None:
    made = bars(pd.DataFrame([row("background"), row("mean foreground")]), SWATCHES)

    assert made["rows"][0]["name"] == "mean foreground"
    assert made["rows"][0]["swatch"] is not None


def test_what_is_undefined_is_not_drawn() -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        ("dice", "low", "high", "baseline", "difference", "difference_low", "difference_high"),
        math.nan,
    )
    given = row("Crack", **nothing, groups=0, true_groups=0, outcome="unknown")
    made = bars(pd.DataFrame([row("background") | nothing | {"groups": 0}, given]), SWATCHES)
    crack = made["rows"][0]

    assert not made["measured"]
    assert not made["compared"]
    drawn = ("bar", "low", "width", "mark", "dot", "dot_low", "dot_width")
    assert [crack[name] for name in drawn] == [None] * 7
    assert (crack["dice"], crack["interval"], crack["difference"], crack["groups"]) == (
        *("–", "", "–", "–"),
    )


def test_few_groups_only_seem_to_gain() -> None:
    given = {"few": True, "outcome": "gains"}
    table = [row("background"), row("Crack", **given), row("mean foreground", "mean", **given)]
    made = bars(pd.DataFrame(table), SWATCHES)
    crack, mean = made["rows"][0], made["means"][0]

    assert (crack["outcome"], crack["outcome_text"]) == ("open", "seems to gain")
    assert crack["few"]
    assert (mean["outcome"], mean["outcome_text"]) == ("open", "seems to gain")
