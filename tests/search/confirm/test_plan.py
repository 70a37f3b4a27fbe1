from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from data_pipeline.stores.store import Store
from results.analysis.confirmation import ConfirmationPlan, Run, load_plan
from results.records.study import StudyRecord, load_study
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.confirm.plan import (
    check_test_split,
    groups_with,
    make_plan,
    recorded_config,
    training_config,
    write_plan,
)
from search.study.attributes import derive_seed
from tests.data_pipeline.tiny_store import numbered_store, write_store
from tests.search.tiny import tiny_study

Trials = dict[int, tuple[str, float | None, int, str | None]]


def study_of(folder: Path, trials: Trials) -> StudyRecord:
    """Trials by number: state, value, num_layers, baseline."""
    config = tiny_study(folder, folder / "data")
    directory = folder / "tiny"
    (directory / "trials").mkdir(parents=True, exist_ok=True)
    header = {
        "format": 1,
        "name": "tiny",
        "config": config.to_tree(),
        "classes": ["background", "hole"],
        "data_fingerprint": "abc",
    }
    (directory / "study.yaml").write_text(yaml.safe_dump(header))
    for number, (state, value, layers, baseline) in trials.items():
        path = directory / "trials" / f"{number:05d}"
        path.mkdir(exist_ok=True)
        params = {
            "model.num_layers": layers,
            "model.base_filters": 2,
            "train.learning_rate": 0.01,
        }
        record = {"number": number, "state": state, "value": value, "params": params}
        record |= {"baseline": baseline, "best_epoch": 1, "epochs": 1}
        (path / "trial.json").write_text(json.dumps(record))
        (path / "metrics.jsonl").write_text(
            json.dumps({"epoch": 1, "objective": value, "dice": {}}) + "\n"
        )
    return load_study(directory)


def chosen(plan: ConfirmationPlan) -> list[int]:
    return [config.trial for config in plan.configs]


def test_the_best_distinct_configs_and_the_best_baseline_are_planned(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        {
            0: ("COMPLETE", 0.1, 1, "poor"),
            1: ("PRUNED", 0.9, 6, None),
            2: ("COMPLETE", 0.5, 2, None),
            3: ("COMPLETE", 0.7, 3, None),
            4: ("COMPLETE", 0.7, 3, None),  # the same again
            5: ("COMPLETE", 0.7, 4, None),
            6: ("COMPLETE", 0.2, 5, "fair"),
            7: ("FAIL", None, 7, "broken"),
        },
    )
    plan = make_plan(study, top=2, seeds=2)
    assert chosen(plan) == [3, 5, 6]
    assert [config.baseline for config in plan.configs] == [None, None, "fair"]
    assert plan.configs[0].value == 0.7
    assert plan.configs[0].params["model.num_layers"] == 3
    assert [run.name for run in plan.runs[:4]] == [
        "trial-00003-seed-0",
        "trial-00005-seed-0",
        "trial-00006-seed-0",
        "trial-00003-seed-1",
    ]
    assert make_plan(study).top == 3
    assert make_plan(study).seeds == 5


def test_a_baseline_that_is_among_the_best_is_planned_once(tmp_path: Path) -> None:
    study = study_of(tmp_path, {0: ("COMPLETE", 0.8, 1, "recipe"), 1: ("COMPLETE", 0.5, 2, None)})
    assert chosen(make_plan(study, top=1)) == [0]


def test_equal_parameters_of_unequal_values_count_once_with_the_better(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        {
            0: ("COMPLETE", 0.4, 1, "recipe"),
            1: ("COMPLETE", 0.6, 2, None),
            2: ("COMPLETE", 0.7, 1, None),  # the recipe again, with another seed
            3: ("COMPLETE", 0.5, 3, None),
        },
    )
    plan = make_plan(study, top=2)
    assert chosen(plan) == [2, 1]
    assert plan.configs[0].baseline == "recipe"


def test_a_config_that_was_trained_again_goes_by_its_mean(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        {
            0: ("COMPLETE", 0.9, 3, None),
            1: ("COMPLETE", 0.8, 4, None),
            2: ("COMPLETE", 0.5, 3, None),
            3: ("COMPLETE", 0.7, 4, None),
        },
    )
    trials = [replace(trial, repeat_of={2: 0, 3: 1}.get(trial.number)) for trial in study.trials]
    study = replace(study, trials=tuple(trials), config={"search": {"repeats_of_best": 1}})
    plan = make_plan(study, top=2)
    assert chosen(plan) == [1, 0]
    assert [config.value for config in plan.configs] == [0.75, 0.7]


def test_a_pruned_baseline_is_trained_in_full(tmp_path: Path) -> None:
    study = study_of(tmp_path, {0: ("PRUNED", 0.1, 1, "recipe"), 1: ("COMPLETE", 0.5, 2, None)})
    assert chosen(make_plan(study, top=1)) == [1, 0]


def test_running_again_adds_and_takes_nothing_away(tmp_path: Path) -> None:
    trials: Trials = {n: ("COMPLETE", 0.1 * n, n, None) for n in range(1, 5)}
    study = study_of(tmp_path, trials)
    first = make_plan(study, top=2, seeds=2)
    write_plan(study.path, first)
    assert load_plan(study.path) == first
    assert make_plan(study, first) == first
    more = make_plan(study, first, top=3, seeds=4)
    assert chosen(more) == [4, 3, 2]
    assert set(first.runs) < set(more.runs)
    assert make_plan(study, more, top=1, seeds=1) == more
    # The study went on meanwhile, and found a better one.
    grown = study_of(tmp_path, trials | {5: ("COMPLETE", 0.9, 5, None)})
    assert chosen(make_plan(grown, first)) == [5, 4, 3]


def test_what_was_begun_with_flips_goes_on_with_them(tmp_path: Path) -> None:
    study = study_of(tmp_path, {0: ("COMPLETE", 0.3, 2, None)})
    assert make_plan(study).flips == "none"
    mirrored = replace(study, config={**study.config, "search": {"score_flips": "all"}})
    begun = make_plan(mirrored)
    assert begun.flips == "all"
    assert make_plan(study, begun).flips == "all"


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    study = study_of(tmp_path, {0: ("RUNNING", 0.1, 1, None)})
    with pytest.raises(ConfigError) as caught:
        make_plan(study, top=0, seeds=0, folds=2)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "--top",
        "--seeds",
        "--folds",
        "expected a COMPLETE trial with a value to confirm, received none",
    ]


def test_other_folds_or_data_than_begun_are_refused(tmp_path: Path) -> None:
    study = study_of(tmp_path, {0: ("COMPLETE", 0.1, 1, None)})
    begun = make_plan(study, folds=5)
    assert make_plan(study, begun).folds == 5
    with pytest.raises(ConfigError, match=r"expected --folds 5, with which .*, received 4"):
        make_plan(study, begun, folds=4)
    plain = make_plan(study)
    with pytest.raises(ConfigError, match=r"expected the test split, .*move .*confirm away"):
        make_plan(study, plain, folds=5)
    other = plain.model_copy(update={"data_fingerprint": "xyz"})
    with pytest.raises(ConfigError, match=r"expected the data of confirm/confirm\.json, xyz"):
        make_plan(study, other)


def test_the_config_is_the_studys_where_it_lies_now(tmp_path: Path) -> None:
    study_of(tmp_path, {0: ("COMPLETE", 0.1, 1, None)})
    moved = load_study(shutil.move(tmp_path / "tiny", tmp_path / "elsewhere"))
    config = recorded_config(moved, ["resources.cpus_per_trial=2", "data.source=/other/data"])
    assert config.directory == tmp_path / "elsewhere"
    assert config.resources.cpus_per_trial == 2
    assert config.data.source == "/other/data"
    with pytest.raises(ConfigError) as caught:
        recorded_config(moved, ["train.epochs=2", "resources.cpus_per_trial"])
    assert len(caught.value.problems) == 2
    assert "expected a field of resources, data.source, data.store_path" in str(caught.value)


def test_a_seed_is_the_same_for_every_config(tmp_path: Path) -> None:
    study = study_of(tmp_path, {0: ("COMPLETE", 0.1, 1, None), 1: ("COMPLETE", 0.2, 2, None)})
    config = recorded_config(study)
    one, two = make_plan(study).configs
    seeds = [training_config(config, one, Run(one.trial, k)).seed for k in range(3)]
    assert len(set(seeds)) == 3
    assert training_config(config, two, Run(two.trial, 2)).seed == seeds[2]
    assert training_config(config, one, Run(one.trial, 0)).model.num_layers == 2
    # A trial's seed would confirm its luck.
    assert not set(seeds) & {derive_seed(5, number) for number in range(100)}


def with_test_split(folder: Path) -> Store:
    numbers = np.arange(12, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (12, 8, 8, 1)).copy()
    masks = np.zeros((12, 8, 8), np.uint8)
    masks[:4] = 1
    masks[4:6] = 2
    records = {"train": (images, masks), "valid": (images, masks), "test": (images, masks)}
    return write_store(folder, records)


def test_classes_of_few_groups_are_told_and_folds_suggested(tmp_path: Path) -> None:
    config, store = StudyConfig(), with_test_split(tmp_path / "store")
    assert groups_with(store, "test") == {"hole": 4, "crack": 2}
    (said,) = check_test_split(config, ConfirmationPlan(top=1, seeds=1), store)
    assert "crack in 2;" in said
    assert "hole" not in said
    assert "--folds 5" in said
    assert check_test_split(config, ConfirmationPlan(top=1, seeds=1, folds=5), store) == []


def test_without_a_test_split_folds_are_named(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"expected a test split.*--folds 5"):
        check_test_split(StudyConfig(), ConfirmationPlan(top=1, seeds=1), store)
    assert check_test_split(StudyConfig(), ConfirmationPlan(top=1, seeds=1, folds=5), store) == []


def test_a_study_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    study = study_of(tmp_path, {0: ("COMPLETE", 0.4, 1, None)})
    renamed = tmp_path / "my study (copy)"
    study.path.rename(renamed)
    config = recorded_config(load_study(renamed))
    assert config.directory == renamed.resolve()
