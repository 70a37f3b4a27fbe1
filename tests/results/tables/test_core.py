from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results import tables
from results.analysis.baselines import baselines_by_rank, best_baseline, ranked
from results.records.study import StudyRecord, load_study
from tests.results.conftest import MakeStudy
from tests.results.simulated_study import CLASSES, baseline_params


@pytest.fixture(scope="module")
def study(study_dir: Path) -> StudyRecord:
    return load_study(study_dir)


@pytest.fixture(scope="module")
def trials(study: StudyRecord) -> pd.DataFrame:
    return tables.trials_table(study)


def test_trials_have_their_values_and_parameters(study: StudyRecord, trials: pd.DataFrame) -> None:
    assert trials["number"].to_list() == list(range(24))
    complete = trials[trials["state"] == "COMPLETE"].set_index("number")
    for trial in study.with_state("COMPLETE"):
        assert complete.loc[trial.number, "value"] == trial.value
        assert complete.loc[trial.number, "best_epoch"] == trial.best_epoch
    first = trials.iloc[0]
    assert first["baseline"] == "reference"
    assert {name: first[name] for name in baseline_params()} == baseline_params()


def test_running_trials_show_their_best_so_far(study: StudyRecord, trials: pd.DataFrame) -> None:
    for trial in study.with_state("RUNNING"):
        shown = trials.set_index("number").loc[trial.number, "value"]
        assert shown == trial.curve.objective.max()


def test_worst_class_is_the_lowest_defined_foreground(
    study: StudyRecord, trials: pd.DataFrame
) -> None:
    dice = tables.dice_table(study)[list(CLASSES[1:])]
    np.testing.assert_allclose(trials["worst_class_dice"], dice.min(axis=1).to_numpy())


def test_dice_at_the_best_epoch(study: StudyRecord) -> None:
    table = tables.dice_table(study)
    assert list(table.columns) == list(CLASSES)
    best = study.incumbent
    assert best is not None
    assert best.best_epoch is not None
    row = best.curve.dice[best.best_epoch - 1]
    np.testing.assert_array_equal(table.loc[best.number].to_numpy(), row)
    assert np.isnan(table.loc[0, "Fray"])


def test_history_keeps_the_best_complete_value(trials: pd.DataFrame) -> None:
    history = tables.history_table(trials)
    complete = history[history["state"] == "COMPLETE"]
    assert history["best"].iloc[-1] == complete["value"].max()
    assert (history["best"].dropna().diff().dropna() >= 0).all()


def test_history_ignores_pruned_values() -> None:
    frame = pd.DataFrame(
        {
            "number": [0, 1, 2],
            "state": ["PRUNED", "COMPLETE", "FAIL"],
            "baseline": [None, None, None],
            "value": [0.9, 0.4, np.nan],
            "epochs": [3, 27, 0],
        }
    )
    best = tables.history_table(frame)["best"]
    assert np.isnan(best[0])
    assert best[1:].to_list() == [0.4, 0.4]


def test_curves_hold_every_epoch(study: StudyRecord) -> None:
    curves = tables.curves_table(study)
    assert len(curves) == sum(len(trial.curve) for trial in study.trials)
    one = curves[curves["number"] == 4]
    np.testing.assert_array_equal(one["objective"], study.trials[4].curve.objective)
    np.testing.assert_array_equal(one["epoch"], np.arange(1, len(one) + 1))


def test_states_add_up(trials: pd.DataFrame) -> None:
    states = tables.states_table(trials)
    assert list(states.index) == ["COMPLETE", "PRUNED", "RUNNING", "FAIL"]
    assert states["trials"].sum() == 24
    assert states.loc["RUNNING", "trials"] == 2
    assert states["epochs"].sum() == trials["epochs"].sum()


def test_parameters_of_both(study: StudyRecord) -> None:
    table = tables.parameters_table(study)
    best = study.incumbent
    assert best is not None
    assert table["incumbent"].to_dict() == dict(best.params)
    assert table["baseline"].to_dict() == baseline_params()
    assert table.loc["model.num_layers", "searched"] == "3 to 6"


def test_the_best_baseline_is_compared_and_never_the_incumbent_with_itself(
    study: StudyRecord,
) -> None:
    best = study.incumbent
    assert best is not None
    also = [
        replace(t, baseline="mine") if t.number in (best.number, 5) else t for t in study.trials
    ]
    changed = replace(study, trials=tuple(also))
    ranked = baselines_by_rank(changed)
    assert [trial.number for trial in ranked] == [best.number, 5, 0]
    compared = best_baseline(changed)
    assert compared is not None
    assert compared.number == 5
    alone = tuple(t for t in also if t.number != 5 and t.number != 0)
    assert best_baseline(replace(study, trials=alone)) is alone[best.number - 2]


def test_failures_are_counted_by_reason(make_study: MakeStudy) -> None:
    study = load_study(make_study(trials=5, running=0, states=dict.fromkeys(range(5), "FAIL")))
    table = tables.failures_table(study)
    assert table["trials"].to_list() == [5]
    assert table["numbers"].to_list() == [[0, 1, 2, 3, 4]]
    assert "out of memory" in table["reason"][0]


def test_splits_give_shares_of_pixels(study: StudyRecord) -> None:
    table = tables.splits_table(study)
    assert len(table) == 3 * len(CLASSES)
    np.testing.assert_allclose(table.groupby("split")["share"].sum(), 1.0)
    fray = table[(table["split"] == "valid") & (table["class"] == "Fray")]
    assert fray["pixels"].to_list() == [0]


def test_leaks_come_first(make_study: MakeStudy) -> None:
    table = tables.findings_table(load_study(make_study(trials=1, leak=True, absent=("Fray",))))
    assert table["severity"].to_list() == ["leak", "warning", "info"]
    assert table["leak"].to_list() == [True, False, False]


def test_skipped_files_are_a_finding(study: StudyRecord, study_dir: Path) -> None:
    skipped = [{"path": "train/a.png", "message": "truncated"}]
    changed = replace(study, data={**study.data, "skipped": skipped})
    table = tables.findings_table(changed)
    found = table[table["kind"] == "skipped"]
    assert found["files"].to_list() == [["train/a.png: truncated"]]


def test_trials_are_ranked_by_state_then_value(trials: pd.DataFrame) -> None:
    ordered = ranked(trials)
    assert list(dict.fromkeys(ordered["state"])) == ["COMPLETE", "PRUNED", "RUNNING", "FAIL"]
    complete = ordered[ordered["state"] == "COMPLETE"]["value"]
    assert complete.is_monotonic_decreasing


@pytest.mark.parametrize("limit", [1, 5, 10, 23])
def test_thinning_keeps_the_kept_and_the_best(trials: pd.DataFrame, limit: int) -> None:
    chosen = tables.thin(trials, limit, keep={11})
    assert len(chosen) <= limit
    assert 11 in set(chosen["number"])
    assert chosen["number"].is_monotonic_increasing
    if limit >= 5:
        assert ranked(trials)["number"].iloc[0] in set(chosen["number"])


def test_thinning_leaves_few_trials_alone(trials: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(tables.thin(trials, 24), trials)


@pytest.mark.parametrize("options", [{"trials": 0}, {"trials": 1, "running": 1}])
def test_tables_of_a_study_that_has_hardly_begun(
    make_study: MakeStudy, options: dict[str, int]
) -> None:
    study = load_study(make_study(**options))
    shared = tables.tabulate(study)
    assert len(shared.trials) == options["trials"]
    assert tables.states_table(shared.trials)["trials"].sum() == options["trials"]
    assert len(tables.history_table(shared.trials)) == options["trials"]
    assert tables.failures_table(study).empty
