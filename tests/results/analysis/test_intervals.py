from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from results.analysis import intervals
from results.analysis.intervals import (
    class_intervals,
    group_draws,
    paired_difference,
    seed_draws,
    seeded_bootstrap,
)
from results.records.evaluation import Evaluation
from tests.results.counted import counted

HIT, MISS = [(0, 0, 90), (1, 1, 10)], [(0, 0, 90), (1, 0, 10)]


def row(table: pd.DataFrame, name: str) -> pd.Series:
    return table.set_index("class").loc[name]


def test_draws_are_as_many_groups_as_there_are_whatever_the_order() -> None:
    draws = group_draws(["b", "a", "b", "c"], replicates=50, seed=3)

    assert draws.shape == (50, 3)
    assert (draws.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(draws, group_draws(["a", "c", "b"], replicates=50, seed=3))
    assert (draws != group_draws(["a", "c", "b"], replicates=50, seed=4)).any()
    # Each of 3 groups is drawn 3 times in 1 of 27 replicates, on average once.
    many = group_draws(["a", "b", "c"], replicates=20_000)
    assert (many == 3).mean(axis=0) == pytest.approx(1 / 27, abs=0.005)
    assert many.mean() == 1


def test_draws_in_parts_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_MOST_DRAWN_AT_ONCE", 20)
    model = counted({f"i{k}": HIT if k % 2 else MISS for k in range(9)})

    assert (group_draws(model.groups, 31).sum(axis=1) == 9).all()
    assert not row(class_intervals(model, replicates=31), "Crack")[["low", "high"]].isna().any()


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="received 0"):
        group_draws([])
    with pytest.raises(ValueError, match="received none"):
        seeded_bootstrap([])


def test_the_interval_of_two_groups_is_known() -> None:
    # Draws: twice the hit (1/4), one of each (1/2), twice the miss (1/4): Dice 1, 2/3, 0.
    found = row(class_intervals(counted({"a": HIT, "b": MISS})), "Crack")

    assert found["dice"] == pytest.approx(20 / 30)
    assert (found["low"], found["high"]) == (0.0, 1.0)
    assert (found["groups"], found["true_groups"], found["images"]) == (2, 2, 2)
    assert found["few"]
    drawn = intervals.bootstrap(counted({"a": HIT, "b": MISS}), replicates=8000).replicates[:, 1]
    shares = [(np.isclose(drawn, value)).mean() for value in (0, 2 / 3, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_copies_of_an_image_in_its_group_tell_nothing_new() -> None:
    plain = counted({f"i{k}": HIT if k % 3 else MISS for k in range(12)})
    copies = {f"i{k}-{j}": HIT if k % 3 else MISS for k in range(12) for j in range(10)}
    burst = counted(copies, {name: name.split("-")[0] for name in copies})
    columns = ["dice", "low", "high", "groups"]

    pd.testing.assert_frame_equal(class_intervals(plain)[columns], class_intervals(burst)[columns])
    # As if each copy were an object of its own, the interval would be far too narrow.
    alone = row(class_intervals(counted(copies)), "Crack")
    honest = row(class_intervals(burst), "Crack")
    assert honest["high"] - honest["low"] > 2 * (alone["high"] - alone["low"])


def test_a_class_of_one_group_has_no_interval() -> None:
    images = {f"i{k}": HIT for k in range(8)} | {"f": [(2, 2, 5), (2, 0, 5)]}
    images["i0"] = [*HIT, (0, 2, 4)]  # invented in another group: the truth is still in one
    table = class_intervals(counted(images))
    fray, mean = row(table, "Fray"), row(table, "mean foreground")

    assert fray["dice"] == pytest.approx(10 / 19)
    assert np.isnan([fray["low"], fray["high"]]).all()
    assert (fray["groups"], fray["true_groups"], fray["images"]) == (2, 1, 2)
    assert fray["few"]
    assert not row(table, "Crack")["few"]
    assert mean["dice"] == pytest.approx((1 + 10 / 19) / 2)
    assert (mean["groups"], mean["few"]) == (9, True)
    # Where the group of Fray is not drawn, the mean is that of what is: Crack's 1, or Fray's 0.
    assert mean["high"] == 1.0


def test_a_class_nowhere_is_undefined_and_in_no_mean() -> None:
    table = class_intervals(counted({f"i{k}": HIT if k else MISS for k in range(6)}))

    assert row(table, "Fray")[["dice", "low", "high"]].isna().all()
    assert row(table, "Fray")["groups"] == 0
    assert row(table, "mean foreground")["dice"] == row(table, "Crack")["dice"]
    assert row(table, "worst class")["dice"] == row(table, "Crack")["dice"]
    assert not row(table, "mean foreground")["few"]
    assert table["kind"].to_list() == ["class"] * 3 + ["mean", "worst"]


def test_other_scores_have_intervals_too() -> None:
    images = {f"i{k}": [(0, 0, 80), (0, 1, 10), (1, 1, 5), (1, 0, 5)] for k in range(6)}
    for score, value in (("iou", 5 / 20), ("precision", 5 / 15), ("recall", 0.5)):
        found = row(class_intervals(counted(images), score), "Crack")  # type: ignore[arg-type]
        assert found[[score, "low", "high"]].to_list() == pytest.approx([value] * 3)


def test_a_pair_is_drawn_alike() -> None:
    # b is worse by the same pixels in each group: the difference hardly varies, each Dice does.
    rng = np.random.default_rng(0)
    hits = rng.integers(20, 80, 30)
    a = counted({f"i{k}": [(1, 1, int(h)), (1, 0, 100 - int(h))] for k, h in enumerate(hits)})
    b = counted({f"i{k}": [(1, 1, int(h) - 5), (1, 0, 105 - int(h))] for k, h in enumerate(hits)})
    backwards = counted(
        dict(
            reversed(
                [
                    (n, [(1, 1, int(h) - 5), (1, 0, 105 - int(h))])
                    for n, h in zip(a.images, hits, strict=True)
                ]
            )
        )
    )
    table = paired_difference(a, b)
    crack, alone = row(table, "Crack"), row(class_intervals(a), "Crack")

    # Nothing is predicted where it is not: Dice is 2 h / (h + 100 n) summed over the groups.
    total = int(hits.sum())
    expected = 2 * total / (total + 3000) - 2 * (total - 150) / (total + 2850)
    assert crack["difference"] == pytest.approx(expected)
    assert crack["low"] > 0.02
    assert crack["high"] - crack["low"] < (alone["high"] - alone["low"]) / 5
    assert (crack["above"], crack["groups"], crack["few"]) == (1.0, 30, False)
    pd.testing.assert_frame_equal(paired_difference(a, backwards), table)
    other = row(paired_difference(b, a), "Crack")
    assert (other["difference"], other["above"]) == (-crack["difference"], 0.0)


def test_pairs_that_do_not_match_are_refused() -> None:
    a = counted({"a": HIT, "b": MISS})
    with pytest.raises(ValueError, match="cannot compare"):
        paired_difference(a, counted({"a": HIT}))
    with pytest.raises(ValueError, match="equal classes, score, groups and replicates"):
        intervals.difference_table(intervals.bootstrap(a), intervals.bootstrap(a, "iou"))


def seeded_table(evaluations: list[Evaluation]) -> pd.DataFrame:
    return intervals.intervals_table(seeded_bootstrap(evaluations))


def test_seeds_are_drawn_as_well_as_groups() -> None:
    # Every group alike, so all that varies is the seeds: Dice 1 and 0.
    good = counted({f"i{k}": HIT for k in range(6)}, seed=0)
    bad = counted({f"i{k}": MISS for k in range(6)}, seed=1)
    found = row(seeded_table([good, bad]), "Crack")

    assert found[["dice", "low", "high"]].to_list() == [0.5, 0.0, 1.0]
    drawn = seeded_bootstrap([good, bad], replicates=8000).replicates[:, 1]
    assert [(drawn == v).mean() for v in (0, 0.5, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    alone = row(seeded_table([good]), "Crack")
    assert alone[["dice", "low", "high"]].to_list() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="cannot compare"):
        seeded_table([good, counted({"i0": HIT})])


def test_two_configs_share_the_groups_but_not_the_seeds() -> None:
    images = {f"i{k}": HIT if k % 2 else MISS for k in range(6)}
    a, b = counted(images), counted(images)
    same = intervals.difference_table(
        seeded_bootstrap([a, a], config=1), seeded_bootstrap([b, b], config=2)
    )

    assert np.abs(row(same, "Crack")[["difference", "low", "high"]].astype(float)).max() < 1e-12
    assert (seed_draws(5, config=1) != seed_draws(5, config=2)).any()
    np.testing.assert_array_equal(seed_draws(5, config=1), seed_draws(5, config=1))
