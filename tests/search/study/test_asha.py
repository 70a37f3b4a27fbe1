from __future__ import annotations

import random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import SuccessiveHalvingPruner

from search.study.asha import AshaPruner, ParetoAsha


def decisions(pruner: Any, direction: str, trials: int = 60, again: Any = None) -> list[tuple]:
    """Which trial is stopped after which epoch, with reports in an order that is the same."""
    study = optuna.create_study(direction=direction, pruner=pruner)
    order, stopped = random.Random(3), []
    live = {n: study.ask() for n in range(8)}
    epochs = dict.fromkeys(range(trials), 0)
    while live:
        number = order.choice(sorted(live))
        trial = live[number]
        epochs[number] += 1
        value = order.choice([0.25, 0.5, order.random(), float("nan") if number == 7 else 0.75])
        trial.report(value, epochs[number])
        pruned = trial.should_prune()
        if pruned:
            stopped.append((number, epochs[number]))
        if pruned or epochs[number] == 20:
            state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
            study.tell(trial, None if pruned else 0.5, state=state)
            del live[number]
            if len(study.trials) < trials:
                trial = study.ask()
                live[trial.number] = trial
        if again is not None and len(study.trials) == trials // 2:
            study.pruner = again()  # as when the study is continued
            again = None
    return stopped


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("grace", "factor"), [(1, 2), (2, 3), (3, 4)])
def test_it_decides_as_optunas_pruner_does(direction: str, grace: int, factor: int) -> None:
    optunas = SuccessiveHalvingPruner(min_resource=grace, reduction_factor=factor)
    expected = decisions(optunas, direction)

    assert len(expected) > 20
    assert decisions(AshaPruner(grace, factor), direction) == expected


def test_a_continued_study_knows_its_rungs() -> None:
    expected = decisions(SuccessiveHalvingPruner(min_resource=1, reduction_factor=3), "maximize")

    assert expected == decisions(AshaPruner(1, 3), "maximize", again=lambda: AshaPruner(1, 3))


def test_a_rung_that_could_not_be_written_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(direction="maximize", pruner=AshaPruner(1, 2))
    for value in (0.5, 0.6):
        trial = study.ask()
        trial.report(value, 1)
        assert not trial.should_prune()
    write = study._storage.set_trial_system_attr

    def acknowledged_by_nobody(*arguments: Any) -> None:
        write(*arguments)
        raise OSError("gone")

    trial = study.ask()
    trial.report(0.4, 1)
    monkeypatch.setattr(study._storage, "set_trial_system_attr", acknowledged_by_nobody)
    with pytest.raises(OSError, match="gone"):
        trial.should_prune()
    monkeypatch.undo()
    assert not trial.should_prune()  # its first rung is written, the next one is not reached

    # Of 0.5, 0.6, 0.4 and 0.55 the best two go on.
    trial = study.ask()
    trial.report(0.55, 1)
    assert not trial.should_prune()
    trial = study.ask()
    trial.report(0.45, 1)
    assert trial.should_prune()


def stopped(pruner: ParetoAsha, study: optuna.Study, *points: tuple[float, ...]) -> list[bool]:
    """Whether trials that come to the first rung one after another are stopped there."""
    found = []
    for values in points:
        trial = study.ask()
        frozen = study._storage.get_trial(trial._trial_id)
        found.append(pruner.stops(study, frozen, 2, values))
    return found


def of_two() -> optuna.Study:
    return optuna.create_study(directions=["maximize", "minimize"])


def test_of_several_objectives_what_others_beat_in_all_is_stopped() -> None:
    study, pruner = of_two(), ParetoAsha(2, 3)
    # Dice, and parameters with the sign turned.
    front = [(0.5, -50.0), (0.6, -80.0), (0.2, -10.0)]
    assert stopped(pruner, study, *front) == [False] * 3
    # Of four, one goes on beside the front: none where it holds more.
    assert stopped(pruner, study, (0.4, -60.0), (0.1, -90.0)) == [True, True]
    assert stopped(pruner, study, (0.3, -20.0)) == [False], "on the front: no other has both"
    assert not pruner.stops(study, study.get_trials()[-1], 3, (0.0, -99.0)), "between two rungs"


def test_of_several_objectives_a_share_goes_on_in_the_order_of_how_many_beat_each() -> None:
    study, pruner = of_two(), ParetoAsha(2, 2)
    assert stopped(pruner, study, (0.9, -1.0)) == [False]
    # Beaten by one, by two, by three: half of those that have come there go on.
    assert stopped(pruner, study, (0.8, -2.0), (0.7, -3.0), (0.6, -4.0)) == [True, True, True]
    assert stopped(pruner, study, (0.85, -1.5)) == [False]


def test_a_continued_study_of_several_objectives_knows_its_rungs() -> None:
    rng = np.random.default_rng(0)
    points = [tuple(point) for point in rng.random((40, 3))]
    one, other = (optuna.create_study(directions=["maximize"] * 3) for _ in range(2))
    whole = stopped(ParetoAsha(2, 3), one, *points)
    parts = stopped(ParetoAsha(2, 3), other, *points[:20])
    parts += stopped(ParetoAsha(2, 3), other, *points[20:])
    assert whole == parts
    assert 8 < sum(whole) < 35
