from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.storage.journal import StudyJournal, StudyStorage, together


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "optuna.journal"


def opened(path: Path) -> optuna.Study:
    storage = StudyStorage(StudyJournal(str(path)))
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


def as_optuna(path: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="s", storage=storage)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    monkeypatch.setattr(os, "fsync", counted.append)
    return counted


def fill(study: optuna.Study, trials: int) -> None:
    for number in range(trials):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        trial.report(number, 1)
        study.tell(trial, number / 10)


def test_optunas_own_storage_reads_the_same_study(path: Path) -> None:
    study = opened(path)
    with together(study, durable=True):
        fill(study, 3)
    study.ask()
    theirs = as_optuna(path)

    assert theirs.trials == study.trials
    assert [trial.state.name for trial in theirs.trials] == 3 * ["COMPLETE"] + ["RUNNING"]


def test_lines_of_another_process_are_read(path: Path) -> None:
    study = opened(path)
    fill(study, 2)
    theirs = as_optuna(path)
    theirs.trials[0]
    optuna.trial.Trial(theirs, theirs.ask()._trial_id).set_user_attr("note", "seen")
    fill(study, 1)

    assert [t.user_attrs for t in study.trials] == [{}, {}, {"note": "seen"}, {}]


def test_lines_together_share_a_lock_and_a_sync(path: Path, syncs: list[int]) -> None:
    study = opened(path)
    lock = Path(f"{path}.lock")
    del syncs[:]
    with together(study, durable=True):
        fill(study, 2)
        assert os.path.lexists(lock)
        assert syncs == []
    assert not os.path.lexists(lock)
    assert len(syncs) == 1

    with together(study, durable=False):
        fill(study, 2)
    assert len(syncs) == 1
    study.set_user_attr("alone", 1)
    assert len(syncs) == 2


def test_what_is_not_durable_at_once_is_within_a_second(path: Path, syncs: list[int]) -> None:
    study = opened(path)
    journal = study._storage.journal
    del syncs[:]
    journal._synced -= 2
    with together(study, durable=False):
        fill(study, 1)

    assert len(syncs) == 1


def test_a_kill_takes_nothing_that_was_written(path: Path) -> None:
    code = (
        "import os, sys\n"
        "from tests.search.storage.test_journal import fill, opened, together\n"
        "from pathlib import Path\n"
        "study = opened(Path(sys.argv[1]))\n"
        "with together(study, durable=False):\n"
        "    fill(study, 2)\n"
        "os._exit(9)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root)

    assert done.returncode == 9
    assert len(opened(path).trials) == 2


def test_an_error_within_gives_the_lock_back(path: Path) -> None:
    study = opened(path)
    with pytest.raises(OSError, match="full"), together(study, durable=True):
        raise OSError("full")
    with together(study, durable=True):
        Path(f"{path}.lock").unlink()  # with the storage, for a while
    fill(study, 1)

    assert len(study.trials) == 1


def test_trials_that_have_not_ended_are_found_among_many(path: Path) -> None:
    study = opened(path)
    fill(study, 5)
    study.enqueue_trial({"x": 0.5})
    running = study.ask()
    last = study.ask()
    plain = as_optuna(path)
    for states in ((TrialState.RUNNING,), (TrialState.WAITING,), (TrialState.COMPLETE,), None):
        assert [t.number for t in study.get_trials(deepcopy=False, states=states)] == [
            t.number for t in plain.get_trials(deepcopy=False, states=states)
        ]
    study.tell(running, 0.1)
    study.enqueue_trial({"x": 0.7})

    unended = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    assert [trial.number for trial in unended] == [last.number, last.number + 1]
    assert study.ask().number == last.number + 1


def test_trials_are_listed_as_by_optunas_own_storage_as_they_begin_and_end(path: Path) -> None:
    study = opened(path)
    other = study._storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "other")
    running = []
    choices = [None, *((state,) for state in TrialState), (TrialState.PRUNED, TrialState.RUNNING)]
    for number in range(12):
        running.append(study.ask())
        study._storage.create_new_trial(other)
        if number % 3 == 0:
            study.enqueue_trial({"x": 0.5})
        if number % 2:
            state = (TrialState.PRUNED, TrialState.FAIL)[number % 4 // 2]
            study.tell(running.pop(number % len(running)), state=state)
        running[0].set_user_attr("note", number)
        theirs = as_optuna(path)
        for states in choices:
            listed = study.get_trials(deepcopy=False, states=states)
            assert listed == theirs.get_trials(deepcopy=False, states=states)
            listed.clear()  # a list of the caller's own
