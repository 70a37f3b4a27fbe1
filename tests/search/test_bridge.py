"""The book over a real Optuna journal; the worker's results are given, Ray is not needed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from search.book import Placer, TrialBook
from search.bridge import Packed, StudySearcher
from search.config import StudyConfig, TrialConfig
from search.study import SHARE, mirror_study, open_study, trial_folder


class Silent:
    def warn(self, message: str) -> None:
        pass

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        pass

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        pass

    def epoch_ended(self, number: int, record: Mapping[str, Any]) -> None:
        pass

    def trial_ended(self, trial: FrozenTrial) -> None:
        pass


def config_in(folder: Path, **search: Any) -> StudyConfig:
    return StudyConfig.from_tree(
        {
            "study": {"storage_path": str(folder), "seed": 3},
            "search": {"grace_epochs": 1, "reduction_factor": 2, "num_trials": 8, **search},
        }
    )


def open_book(
    config: StudyConfig,
    capacity: Callable[[], int] = lambda: 4,
    deadline: float | None = None,
    placer: Placer | None = None,
) -> TrialBook:
    config.directory.mkdir(parents=True, exist_ok=True)
    study = open_study(config)
    return TrialBook(study, config, Path("store"), capacity, Silent(), deadline, placer)


@pytest.fixture
def config(tmp_path: Path) -> StudyConfig:
    return config_in(tmp_path)


def result(values: list[float | None], *, done: bool = False, pruning: Any = None) -> dict:
    """What a worker reports after epochs of these objective values."""
    shown = values if pruning is None else pruning
    best = max((v for v in values if v is not None), default=None)
    return {
        "done": done,
        "record": {"epoch": len(values), "objective": values[-1], "dice": {}},
        "history": list(enumerate(shown, start=1)),
        "best_value": best,
        "best_epoch": None if best is None else values.index(best) + 1,
        "cost": {"parameters": 10, "flops": 20, "activation_bytes": 30},
    }


def mirrored(config: StudyConfig, number: int) -> dict:
    path = trial_folder(config.directory, number) / "trial.json"
    return json.loads(path.read_text(encoding="utf-8"))


def trials(book: TrialBook) -> list[FrozenTrial]:
    return book.study.get_trials()


def test_a_completed_trial_has_its_best_epochs_value_and_every_intermediate_one(
    config: StudyConfig,
) -> None:
    book = open_book(config)
    book.propose("a")
    book.report("a", result([0.1]))
    book.report("a", result([0.1, 0.5]))
    book.finish("a", result([0.1, 0.5, 0.3], done=True), error=False)

    (trial,) = trials(book)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    assert trial.intermediate_values == {1: 0.1, 2: 0.5, 3: 0.3}
    assert mirrored(config, 0)["best_epoch"] == 2
    assert mirrored(config, 0)["cost"]["parameters"] == 10


def test_the_pruner_stops_the_worse_and_it_is_told_pruned(config: StudyConfig) -> None:
    book = open_book(config)
    for ray_id, value in (("a", 0.6), ("b", 0.5), ("c", 0.7)):
        book.propose(ray_id)
        stopped = book.report(ray_id, result([value]))
        assert stopped == (value == 0.5)
    book.prune("b")
    book.finish("b", result([0.5]), error=False)

    assert trials(book)[1].state is TrialState.PRUNED
    assert trials(book)[1].intermediate_values == {1: 0.5}
    assert mirrored(config, 1) | {"state": "PRUNED", "value": 0.5} == mirrored(config, 1)


def test_the_pruner_sees_the_pruning_metric_and_the_value_is_the_objective(
    config: StudyConfig,
) -> None:
    book = open_book(config)
    book.propose("a")
    book.finish("a", result([0.0, 0.2], done=True, pruning=[0.4, 0.6]), error=False)

    assert trials(book)[0].intermediate_values == {1: 0.4, 2: 0.6}
    assert trials(book)[0].value == 0.2


@pytest.mark.parametrize(
    ("ending", "error", "reason"),
    [
        ({"done": True, "failed": "NonFiniteLoss: nan"}, False, "NonFiniteLoss: nan"),
        (None, True, "the worker process ended"),
        (result([None], done=True, pruning=[None]), False, "was undefined in every epoch"),
    ],
)
def test_what_ends_badly_is_fail_with_its_reason(
    config: StudyConfig, ending: Any, error: bool, reason: str
) -> None:
    book = open_book(config)
    book.propose("a")
    book.finish("a", ending, error)

    assert trials(book)[0].state is TrialState.FAIL
    assert reason in mirrored(config, 0)["reason"]


def test_out_of_memory_is_fail_with_a_violated_constraint(config: StudyConfig) -> None:
    book = open_book(config)
    book.propose("a")
    book.finish("a", {"done": True, "failed": "out of memory: 3 GB"}, error=False)

    assert trials(book)[0].state is TrialState.FAIL
    assert trials(book)[0].constraints == {"memory": 1.0}


def test_an_interrupted_trial_is_adopted_with_its_number_parameters_and_epochs(
    config: StudyConfig,
) -> None:
    first = open_book(config)
    before = first.propose("a")
    first.report("a", result([0.1, 0.2]))
    # The driver dies here; the worker had trained and checkpointed a third epoch.
    second = open_book(config)
    after = second.propose("other")

    assert before is not None
    assert after == before
    second.finish("other", result([0.1, 0.2, 0.4, 0.3], done=True), error=False)
    (trial,) = trials(second)
    assert (trial.number, trial.state, trial.value) == (0, TrialState.COMPLETE, 0.4)
    assert trial.intermediate_values == {1: 0.1, 2: 0.2, 3: 0.4, 4: 0.3}


def test_a_trial_stopped_by_the_clock_stays_running(config: StudyConfig) -> None:
    book = open_book(config)
    book.propose("a")
    book.report("a", result([0.1]))
    book.finish("a", None, error=False)

    assert trials(book)[0].state is TrialState.RUNNING


def test_finished_trials_are_never_proposed_again_and_the_budget_counts_them(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, num_trials=2)
    book = open_book(config)
    for ray_id in ("a", "b"):
        book.propose(ray_id)
        book.finish(ray_id, result([0.1], done=True), error=False)

    assert book.exhausted
    assert open_book(config).exhausted
    assert not open_book(config_in(tmp_path, num_trials=3)).exhausted
    assert StudySearcher(book).suggest("c") == Searcher.FINISHED


def test_no_more_trials_are_proposed_than_fit_or_after_the_deadline(config: StudyConfig) -> None:
    book = open_book(config, capacity=lambda: 1)
    assert StudySearcher(book).suggest("a") is not None
    assert StudySearcher(book).suggest("b") is None

    late = open_book(config_in(config.directory), deadline=time.time() - 1)
    assert StudySearcher(late).suggest("a") == Searcher.FINISHED


def test_the_searcher_hands_over_the_workers_packed_result(config: StudyConfig) -> None:
    book = open_book(config)
    searcher = StudySearcher(book)
    searcher.suggest("a")
    packed = Packed(result([0.3], done=True))
    searcher.on_trial_complete("a", {"result": packed, "epoch": 1, "done": True})
    searcher.on_trial_complete("a", {"result": packed})  # Tune may tell an end twice

    assert [t.value for t in trials(book)] == [0.3]


def test_a_proposal_says_what_it_reserves_and_a_retry_gets_its_larger_share(
    tmp_path: Path,
) -> None:
    tree = config_in(tmp_path).to_tree()
    tree["resources"] |= {"gpus_per_trial": 0.25, "memory_per_trial": 3}
    config = StudyConfig.from_tree(tree)
    book = open_book(config)
    first = book.propose("a")
    assert first is not None
    assert first["bundle"] == {"CPU": 1, "GPU": 0.25, "memory": 3e9}
    assert first["resources"]["gpus_per_trial"] == 0.25

    running = optuna.trial.Trial(book.study, trials(book)[0]._trial_id)
    running.set_user_attr(SHARE, 2)
    again = open_book(config).propose("b")
    assert again is not None
    assert again["number"] == 0
    assert again["bundle"] == {"CPU": 1, "GPU": 0.5, "memory": 6e9}
    assert again["resources"]["gpus_per_trial"] == 0.5


class Places:
    """Notes who has a place."""

    def __init__(self) -> None:
        self.held: list[str] = []

    def place(self, name: str, config: TrialConfig, factor: float = 1.0) -> dict[str, float]:
        self.held.append(name)
        return {"CPU": factor}

    def free(self, name: str) -> None:
        self.held.remove(name)


def test_a_trial_gives_its_place_back_however_it_ends(config: StudyConfig) -> None:
    places = Places()
    book = open_book(config, placer=places)
    for name in "abc":
        assert book.propose(name)["bundle"] == {"CPU": 1.0}  # type: ignore[index]
    assert places.held == ["a", "b", "c"]
    book.finish("a", result([0.1], done=True), error=False)
    book.finish("b", None, error=True)
    book.finish("c", None, error=False)  # stopped by the clock

    assert places.held == []


def test_baselines_come_first_and_once(tmp_path: Path) -> None:
    baseline = {"name": "hand-tuned", "params": {"model.num_layers": 5, "train.batch_size": 4}}
    config = config_in(tmp_path, baselines=[baseline])
    book = open_book(config)
    proposal = book.propose("a")
    assert proposal is not None
    assert proposal["config"]["model"]["num_layers"] == 5
    assert mirrored(config, 0)["baseline"] == "hand-tuned"

    book.finish("a", result([0.3], done=True), error=False)
    open_book(config).propose("b")
    assert mirrored(config, 1)["baseline"] is None


def test_a_continued_study_does_not_draw_the_same_again(tmp_path: Path) -> None:
    config = config_in(tmp_path, sampler="random")
    for _ in range(3):
        book = open_book(config)
        book.propose("a")
        book.finish("a", result([0.1], done=True), error=False)

    rates = {trial.params["train.learning_rate"] for trial in trials(book)}
    assert len(rates) == 3


def test_seeds_follow_from_the_studys_seed_and_the_number(tmp_path: Path) -> None:
    def seeds(folder: str, seed: int) -> list[int]:
        config = config_in(tmp_path / folder)
        tree = config.to_tree()
        tree["study"]["seed"] = seed
        book = open_book(StudyConfig.from_tree(tree))
        return [book.propose(name)["config"]["seed"] for name in "abc"]  # type: ignore[index]

    first = seeds("one", 3)
    assert len(set(first)) == 3
    assert seeds("two", 3) == first
    assert seeds("three", 4) != first


def test_a_told_trial_whose_mirror_was_not_written_is_mirrored_at_the_next_start(
    config: StudyConfig,
) -> None:
    book = open_book(config)
    book.propose("a")
    trial = optuna.trial.Trial(book.study, trials(book)[0]._trial_id)
    book.study.tell(trial, 0.4)
    assert mirrored(config, 0)["state"] == "RUNNING"

    mirror_study(config.directory, open_study(config))
    assert mirrored(config, 0)["state"] == "COMPLETE"


def test_a_trial_whose_driver_died_while_asking_is_completed_and_adopted(
    config: StudyConfig,
) -> None:
    book = open_book(config)
    name, distribution = next(iter(config.space.items()))
    asked = book.study.ask({name: distribution.to_optuna()})

    proposal = open_book(config).propose("a")
    assert proposal is not None
    assert proposal["number"] == 0
    assert trials(book)[0].params.keys() == config.space.keys()
    assert trials(book)[0].params[name] == asked.params[name]


def test_a_trial_that_the_pruner_had_stopped_is_told_pruned_not_trained_on(
    config: StudyConfig,
) -> None:
    book = open_book(config)
    book.propose("a")
    book.report("a", result([0.5]))
    book.prune("a")
    # The driver dies before Ray has stopped the trial.
    after = open_book(config)

    assert trials(after)[0].state is TrialState.PRUNED
    assert (mirrored(config, 0)["value"], mirrored(config, 0)["epochs"]) == (0.5, 1)
    proposal = after.propose("b")
    assert proposal is not None
    assert proposal["number"] == 1


def test_a_failure_that_was_noted_and_not_told_is_told(config: StudyConfig) -> None:
    book = open_book(config)
    book.propose("a")
    running = optuna.trial.Trial(book.study, trials(book)[0]._trial_id)
    running.set_user_attr("reason", "NonFiniteLoss: nan")

    assert trials(open_book(config))[0].state is TrialState.FAIL
    assert mirrored(config, 0)["reason"] == "NonFiniteLoss: nan"


def test_a_run_whose_first_trials_all_fail_at_once_proposes_no_more(config: StudyConfig) -> None:
    book = open_book(config, capacity=lambda: 2)
    for number in range(3):
        assert not book.exhausted
        book.propose(str(number))
        book.finish(str(number), {"done": True, "failed": "DataError: no store"}, error=False)

    assert book.hopeless
    assert book.exhausted


def test_failures_after_a_trial_has_trained_do_not_end_the_run(config: StudyConfig) -> None:
    book = open_book(config, capacity=lambda: 2)
    book.propose("good")
    book.finish("good", result([0.5], done=True), error=False)
    for number in range(4):
        book.propose(str(number))
        book.finish(str(number), {"done": True, "failed": "out of memory: 1"}, error=False)

    assert not book.hopeless
