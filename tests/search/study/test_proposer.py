"""Proposals over a real study, continued as a further run continues it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from results.records.proposals import load_untrained
from search.config.limits import demand_of
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.study.attributes import DUPLICATE_OF, FROM_STUDY, REFUSED, SEED
from search.study.opening import mirror_study, open_study, started_trials
from search.study.proposer import MOST_DUPLICATES, MOST_REFUSED, RANDOM_AFTER, Proposer

SMALL = {
    "model": {
        "num_layers": {"int": [1, 2]},
        "base_filters": {"choice": [2, 4]},
        "base_kernel": 3,
        "dropout_rate": 0.0,
    },
    "train": {"learning_rate": 0.01},
}


def config_in(folder: Path, tree: dict[str, Any] | None = None, **search: Any) -> StudyConfig:
    config = config_from_tree(
        {
            "study": {"storage_path": str(folder), "seed": 3},
            "data": {"image_size": 64},
            "search": {"grace_epochs": 1, "startup_trials": 5, **search},
            **(tree or {}),
        }
    )
    (config.directory / "trials").mkdir(parents=True, exist_ok=True)
    return config


class Insisting(RandomSampler):
    """Proposes the same values of some fields for ever."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__(seed=0)
        self._params = params
        self.asked = 0

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {
            "model.num_layers": IntDistribution(3, 6),
            "model.base_filters": CategoricalDistribution((8, 16, 32)),
        }

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        self.asked += 1
        return self._params


def reopened(config: StudyConfig) -> Proposer:
    return Proposer(open_study(config), config, 6)


def begin(proposer: Proposer) -> Trial:
    trial = proposer.next()
    assert trial is not None
    trial.set_user_attr(SEED, 1)  # as the manager does once it hands a trial over
    return trial


def end(proposer: Proposer, trial: Trial, value: float | None) -> FrozenTrial:
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    frozen = proposer.study.tell(trial, value, state=state)
    proposer.ended(frozen)
    return frozen


def again(proposer: Proposer, params: dict[str, Any]) -> FrozenTrial:
    """Let the same parameters be proposed, and return what became of them."""
    proposer.study.enqueue_trial(params)
    trial = proposer.study.ask(proposer._space.distributions)
    assert not proposer.admit(trial)
    return proposer.study._storage.get_trial(trial._trial_id)


# Refusals.


def test_a_config_over_a_limit_is_refused_and_told_with_its_constraint(tmp_path: Path) -> None:
    config = config_in(tmp_path, max_parameters=200_000, max_gflops=100.0)
    proposer = reopened(config)
    trained = [begin(proposer) for _ in range(6)]
    refused = [t for t in proposer.study.get_trials() if REFUSED in t.user_attrs]

    assert refused
    for trial in refused:
        assert (trial.state, trial.values) == (TrialState.PRUNED, None)
        assert trial.constraints["parameters"] > 0
        assert trial.constraints["gflops"] < 0
        assert "max_parameters = 200,000" in trial.user_attrs[REFUSED]["max_parameters"]
    for begun in trained:
        assert begun.constraints.keys() == {"parameters", "gflops"}
        assert max(begun.constraints.values()) <= 0
    assert [t.number for t in started_trials(proposer.study)] == [t.number for t in trained]


def test_refusals_are_counted_and_kept_where_status_reads_them(tmp_path: Path) -> None:
    config = config_in(tmp_path, max_parameters=200_000)
    proposer = reopened(config)
    for _ in range(4):
        begin(proposer)
    count = proposer.refused["max_parameters"]
    path = config.directory / "refused.jsonl"
    (found,) = load_untrained(config.directory).sentences()

    assert found == f"{count} proposals refused: {count} by max_parameters"
    # A driver killed before it wrote: the study knows.
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert reopened(config).refused["max_parameters"] == count
    assert path.read_text() == text
    mirror_study(config.directory, proposer.study)
    assert len(list((config.directory / "trials").iterdir())) == 4


def test_tpe_learns_from_refusals(tmp_path: Path) -> None:
    def refused(sampler: str) -> int:
        config = config_in(tmp_path / sampler, sampler=sampler, max_parameters=60_000)
        proposer = reopened(config)
        for _ in range(8):
            end(proposer, begin(proposer), 0.5)
        return proposer.refused["max_parameters"]

    assert refused("tpe") < refused("random") / 2


def test_a_limit_that_no_config_keeps_ends_the_run_with_its_name(tmp_path: Path) -> None:
    config = config_in(tmp_path, sampler="random", max_parameters=10)
    proposer = reopened(config)

    assert proposer.next() is None
    assert f"{MOST_REFUSED} proposals in a row were refused" in str(proposer.stuck)
    assert f"{MOST_REFUSED} by max_parameters" in str(proposer.stuck)
    assert len(proposer.study.get_trials()) == MOST_REFUSED
    assert started_trials(proposer.study) == []


def test_latency_is_predicted_once_three_trials_are_measured(tmp_path: Path) -> None:
    config = config_in(tmp_path, sampler="random", max_latency_ms=1.0)
    proposer = reopened(config)
    for _ in range(3):
        trial = begin(proposer)
        assert not proposer.refused
        # A machine on which every GFLOP takes 10 ms.
        trial.set_user_attr("cost", {"flops": 1e7, "latency_ms": 0.1})
        assert proposer.measured(trial) == ""
        assert trial.constraints == {"latency_ms": pytest.approx(-0.9)}
        end(proposer, trial, 0.5)
    continued = reopened(config)
    for _ in range(5):
        begin(continued)

    assert continued.refused["max_latency_ms"] > 0
    for frozen in continued.study.get_trials():
        if REFUSED in frozen.user_attrs:
            assert frozen.constraints["latency_ms"] > 0


def test_a_trial_measured_over_the_limit_is_named_with_its_constraint(tmp_path: Path) -> None:
    proposer = reopened(config_in(tmp_path, max_latency_ms=1.0))
    trial = begin(proposer)
    trial.set_user_attr("cost", {"flops": 1e9, "latency_ms": 3.0})

    assert (
        proposer.measured(trial) == "expected at most max_latency_ms = 1.0, measured 3 ms an image"
    )
    assert proposer.measured(trial)  # after an interruption too, without Optuna's warning
    assert trial.constraints == {"latency_ms": 2.0}


def out_of_memory(proposer: Proposer, layers: int, share: str | None = None) -> None:
    proposer.study.enqueue_trial({"model.num_layers": layers, "model.base_filters": 32})
    trial = begin(proposer)
    trial.set_user_attr("reason", "out of memory: 3 GB")
    if share:
        trial.set_user_attr("reserved", share)
    end(proposer, trial, None)


def memory_of(config: StudyConfig, params: dict[str, Any]) -> float:
    return demand_of(config.at(params), (64, 64, 1), 6)["memory"]


def test_what_needs_as_much_memory_as_a_trial_that_ran_out_is_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path, sampler="random")
    proposer = reopened(config)
    out_of_memory(proposer, 4)
    too_much = memory_of(config, proposer.study.get_trials()[0].params)
    continued = reopened(config)
    for one in (proposer, continued):
        for _ in range(8):
            assert memory_of(config, begin(one).params) < too_much

    assert continued.refused["out of memory"] > 0
    refused = [t for t in continued.study.get_trials() if REFUSED in t.user_attrs]
    assert all(t.constraints["memory"] > 0 for t in refused)


def test_memory_that_ran_out_on_another_share_or_below_what_fits_refuses_nothing(
    tmp_path: Path,
) -> None:
    other = reopened(config_in(tmp_path / "other", sampler="random"))
    out_of_memory(other, 3, share="gpus 0.1, memory None GB")
    fits = reopened(config_in(tmp_path / "fits", sampler="random"))
    fits.study.enqueue_trial({"model.num_layers": 6, "model.base_filters": 32})
    end(fits, begin(fits), 0.5)
    out_of_memory(fits, 3)
    for proposer in (other, fits):
        for _ in range(8):
            begin(proposer)

        assert not proposer.refused


# Duplicates.


def test_a_repeated_proposal_takes_the_earlier_result(tmp_path: Path) -> None:
    config = config_in(tmp_path, max_parameters=10**9)
    proposer = reopened(config)
    trial = begin(proposer)
    trial.report(0.2, 1)
    trial.report(0.4, 2)
    end(proposer, trial, 0.4)
    for one in (proposer, reopened(config)):
        told = again(one, trial.params)
        assert (told.state, told.value) == (TrialState.COMPLETE, 0.4)
        assert told.intermediate_values == {1: 0.2, 2: 0.4}
        assert told.constraints == trial.constraints
        assert told.user_attrs[DUPLICATE_OF] == 0

    assert [t.number for t in started_trials(proposer.study)] == [0]
    assert load_untrained(config.directory).sentences() == [
        "2 duplicate proposals took an earlier result"
    ]


def test_a_duplicate_of_a_pruned_trial_is_pruned(tmp_path: Path) -> None:
    proposer = reopened(config_in(tmp_path))
    trial = begin(proposer)
    trial.report(0.2, 1)
    proposer.ended(proposer.study.tell(trial, state=TrialState.PRUNED))
    told = again(proposer, trial.params)

    assert (told.state, told.intermediate_values) == (TrialState.PRUNED, {1: 0.2})


def test_a_failure_is_nobodys_result(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    proposer = reopened(config)
    trial = begin(proposer)
    end(proposer, trial, None)
    for one in (proposer, reopened(config)):
        one.study.enqueue_trial(trial.params)
        repeated = begin(one)
        assert repeated.params == trial.params
        assert DUPLICATE_OF not in repeated.user_attrs
        end(one, repeated, None)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("value", [0.6, None])
def test_a_duplicate_of_a_running_trial_waits_for_its_end(
    tmp_path: Path, restarted: bool, value: float | None
) -> None:
    config = config_in(tmp_path)
    proposer = reopened(config)
    trial = begin(proposer)
    waiting = again(proposer, trial.params)
    assert waiting.state is TrialState.RUNNING
    assert [t.number for t in started_trials(proposer.study)] == [0]
    if restarted:
        proposer = reopened(config)
        trial = Trial(proposer.study, trial._trial_id)
    end(proposer, trial, value)

    told = proposer.study.get_trials()[1]
    assert (told.state.name, told.value) == ("FAIL" if value is None else "COMPLETE", value)
    if value is None:
        assert told.user_attrs["reason"] == "trial 0, of the same parameters, failed"


def test_a_driver_killed_between_two_ends_settles_the_duplicate_when_it_returns(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path)
    proposer = reopened(config)
    trial = begin(proposer)
    again(proposer, trial.params)
    proposer.study.tell(trial, 0.6)  # and no word to the proposer
    returned = reopened(config)

    assert returned.study.get_trials()[1].value == 0.6


def test_a_refusal_that_was_noted_and_not_told_is_told(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    trial = open_study(config).ask(reopened(config)._space.distributions)
    trial.set_user_attr(REFUSED, {"max_parameters": "max_parameters = 1: predicted 2"})
    proposer = reopened(config)

    assert proposer.study.get_trials()[0].state is TrialState.PRUNED
    assert proposer.refused == {"max_parameters": 1}


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "qmc"])
def test_a_finite_space_is_trained_whole_and_once(tmp_path: Path, sampler: str) -> None:
    config = config_in(tmp_path, SMALL, sampler=sampler)
    proposer, seen = reopened(config), set()
    for _ in range(4):
        trial = begin(proposer)
        seen.add(tuple(trial.params.items()))
        end(proposer, trial, 0.5)

    assert len(seen) == 4
    for one in (proposer, reopened(config)):
        assert one.next() is None
        assert one.exhausted == "the space is exhausted: each of its 4 points was proposed"


def test_many_duplicates_in_a_row_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposer = reopened(config_in(tmp_path, sampler="random"))
    trial = begin(proposer)
    end(proposer, trial, 0.5)

    def insists() -> Trial:
        proposer.study.enqueue_trial(trial.params)
        return proposer.study.ask(proposer._space.distributions)

    monkeypatch.setattr(proposer, "_ask", insists)
    assert proposer.next() is None
    assert f"{MOST_DUPLICATES} proposals in a row repeat" in str(proposer.exhausted)
    assert len(proposer.study.get_trials()) == 1 + MOST_DUPLICATES


def test_equal_baselines_are_trained_once(tmp_path: Path) -> None:
    params = dict.fromkeys((), 1) | {
        "model.num_layers": 4,
        "model.base_filters": 8,
        "model.base_kernel": 3,
        "model.dropout_rate": 0.0,
        "train.learning_rate": 0.001,
    }
    baselines = [{"name": name, "params": params} for name in ("a", "b")]
    baselines.append({"name": "c", "params": params | {"model.num_layers": 5}})
    proposer = reopened(config_in(tmp_path, baselines=baselines))

    assert [begin(proposer).user_attrs["baseline"] for _ in range(2)] == ["a", "c"]
    assert proposer.duplicates == 1


def test_asking_reads_the_studys_trials_no_more_than_the_sampler_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_in(tmp_path, sampler="random", max_parameters=10**9)
    proposer = reopened(config)
    for _ in range(3):
        end(proposer, begin(proposer), 0.5)

    def forbidden(*args: Any, **kwargs: Any) -> Callable[..., Any]:
        raise AssertionError("a look at all trials")

    monkeypatch.setattr(proposer.study, "get_trials", forbidden)
    end(proposer, begin(proposer), 0.5)


def test_the_logs_are_lines_of_json(tmp_path: Path) -> None:
    config = config_in(tmp_path, max_parameters=100_000)
    proposer = reopened(config)
    trial = begin(proposer)
    end(proposer, trial, 0.5)
    again(proposer, trial.params)
    for name in ("refused.jsonl", "duplicates.jsonl"):
        for line in (config.directory / name).read_text().splitlines():
            assert isinstance(json.loads(line)["number"], int)
    assert FROM_STUDY not in trial.user_attrs


def test_a_sampler_that_insists_on_what_is_refused_is_helped_out(tmp_path: Path) -> None:
    proposer = reopened(config_in(tmp_path, sampler="random", max_parameters=200_000))
    insisted = Insisting({"model.num_layers": 6, "model.base_filters": 32})
    proposer.study.sampler = insisted
    trial = proposer.next()

    assert trial is not None
    assert insisted.asked == RANDOM_AFTER
    assert proposer.study.sampler is insisted


def test_a_finite_space_that_is_refused_whole_is_no_end_but_an_error(tmp_path: Path) -> None:
    proposer = reopened(config_in(tmp_path, SMALL, sampler="grid", max_parameters=1))

    assert proposer.next() is None
    assert proposer.exhausted is None
    assert "all 4 points of the space are refused: 4 by max_parameters" in str(proposer.stuck)
