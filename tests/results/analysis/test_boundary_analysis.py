from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from results.analysis.boundary_analysis import edges_table, edges_yaml
from results.records.study import StudyRecord, TrialRecord, load_study
from search.config.loading import load_config
from tests.results.conftest import MakeStudy

ROOT = Path(__file__).parents[3]
Value = Callable[[Mapping[str, Any]], float]


@pytest.fixture(scope="module")
def record(make_study: MakeStudy) -> StudyRecord:
    return load_study(make_study(trials=3, epochs=2, running=0))


def searched(record: StudyRecord, config: Mapping[str, Any], value: Value) -> StudyRecord:
    """A study of 100 COMPLETE trials drawn from a space of three fields."""
    rng = np.random.default_rng(0)
    trials: list[TrialRecord] = []
    for number in range(100):
        params = {
            "model.num_layers": int(rng.integers(4, 7)),
            "model.base_filters": int(rng.choice([8, 12])),
            "model.dropout_rate": float(rng.uniform(0, 0.1)),
            "train.learning_rate": float(10 ** rng.uniform(-4, -2)),
            "train.loss": str(rng.choice(["cross_entropy_dice", "cross_entropy"])),
        }
        trials.append(
            replace(
                record.trials[1],
                number=number,
                state="COMPLETE",
                value=value(params),
                params=params,  # type: ignore[arg-type]
            )
        )
    return replace(record, config=config, trials=tuple(trials))


CONFIG = {
    "data": {"image_size": 128},
    "model": {
        "num_layers": {"int": [4, 6]},
        "base_filters": {"choice": [8, 12]},
        "dropout_rate": {"float": [0.0, 0.1]},
    },
    "train": {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "loss": {"choice": ["cross_entropy_dice", "cross_entropy"]},
        "batch_size": 4,
    },
}


def test_what_crowds_an_end_is_found_and_nothing_else(record: StudyRecord) -> None:
    study = searched(record, CONFIG, lambda p: np.log10(p["train.learning_rate"]) / 4 + 1)
    found = edges_table(study)

    assert (found.reason, found.trials) == (None, 100)
    assert found.table["parameter"].to_list() == ["train.learning_rate"]
    row = found.table.iloc[0]
    assert (row["end"], row["why"], row["top"], row["chance"]) == ("high", "best trials", 10, 0.1)
    rates = [t.params["train.learning_rate"] for t in study.trials]
    outer = sum(float(rate or 0) >= 10**-2.2 for rate in rates)
    assert row["at_end"] == min(10, outer)
    assert row["p_value"] < 1e-5
    assert (row["searched"], row["wider"]) == ("0.0001 to 0.01, log", "0.0001 to 0.1, log")


def test_the_binomial_test_is_the_definitions(record: StudyRecord) -> None:
    # The best 10 are those of 12 filters and 6 levels: each an end, of 2 values and of 3.
    def value(params: Mapping[str, Any]) -> float:
        wanted = params["model.num_layers"] == 6 and params["model.base_filters"] == 12
        return float(wanted) + params["model.dropout_rate"] * (0.05 - params["model.dropout_rate"])

    table = edges_table(searched(record, CONFIG, value)).table.set_index("parameter")

    assert table.loc["model.num_layers", "p_value"] == pytest.approx(3.0**-10)
    assert table.loc["model.base_filters", "p_value"] == pytest.approx(2.0**-10)
    assert table.loc["model.num_layers", "wider"] == "4 to 7"
    assert table.loc["model.base_filters", "wider"] == "8, 12 or 16"


def test_no_edge_is_found_where_the_best_is_inside(record: StudyRecord) -> None:
    def value(params: Mapping[str, Any]) -> float:
        return 1 - abs(np.log10(params["train.learning_rate"]) + 3) / 4

    found = edges_table(searched(record, CONFIG, value))
    assert found.reason is None
    assert found.table.empty
    assert "was" not in edges_yaml(searched(record, CONFIG, value))


def test_an_end_that_is_the_fields_limit_stays_with_a_note(record: StudyRecord) -> None:
    study = searched(record, CONFIG, lambda p: 1 - p["model.dropout_rate"])
    row = edges_table(study).table.set_index("parameter").loc["model.dropout_rate"]

    assert (row["end"], row["wider"]) == ("low", None)
    assert row["note"] == "it takes no less: its limit is 0"


def test_the_best_trial_at_the_very_end_is_named_alone(record: StudyRecord) -> None:
    study = searched(record, CONFIG, lambda p: 0.5 - abs(p["model.dropout_rate"] - 0.05))
    best = max(study.trials, key=lambda t: t.value or 0)
    moved = replace(best, params={**best.params, "model.dropout_rate": 0.0999})
    trials = tuple(moved if t is best else t for t in study.trials)
    row = edges_table(replace(study, trials=trials)).table.iloc[0]

    assert (row["parameter"], row["end"], row["why"]) == ("model.dropout_rate", "high", "incumbent")
    assert (row["at_end"], row["wider"]) == (1, "0 to 0.15")


def test_dropout_stays_below_one_at_the_deepest_level(record: StudyRecord) -> None:
    config = {**CONFIG, "model": {**CONFIG["model"], "dropout_rate": {"float": [0.0, 0.19]}}}

    def value(params: Mapping[str, Any]) -> float:
        return params["model.dropout_rate"] + params["model.num_layers"] / 10

    wider = yaml.safe_load(edges_yaml(searched(record, config, value)))["model"]
    assert wider["num_layers"] == {"int": [4, 6]}  # 0.19 * 6 would be above 1
    narrow = yaml.safe_load(edges_yaml(searched(record, CONFIG, value)))["model"]
    assert narrow["num_layers"] == {"int": [4, 7]}
    assert narrow["dropout_rate"]["float"][1] * 6 < 1


def test_the_yaml_is_ready_to_be_searched(record: StudyRecord, tmp_path: Path) -> None:
    path = ROOT / "configs" / "magnetic_tile_cpu.yaml"
    config = yaml.safe_load(path.read_text())

    def value(params: Mapping[str, Any]) -> float:
        return np.log10(params["train.learning_rate"]) / 4 + 1 + params["model.dropout_rate"]

    text = edges_yaml(searched(record, config, value))
    pasted = yaml.safe_load(text)
    for section, fields in pasted.items():
        assert set(fields) <= set(config[section])
        config[section].update(fields)
    (tmp_path / "next.yaml").write_text(yaml.safe_dump(config))
    loaded = load_config(tmp_path / "next.yaml").to_tree()

    assert loaded["train"]["learning_rate"] == {"float": [5e-5, 0.14], "log": True}
    assert loaded["model"]["base_filters"] == {"choice": [8, 12]}
    assert "# was 5e-05 to 0.01, log" in text
    assert set(pasted) == {"augment", "model", "train"}


def test_names_and_choices_stay_data(record: StudyRecord) -> None:
    hostile = {"model": {"activation": {"choice": ["a\n#b: {", "c # d"]}}}
    study = replace(record, config=hostile)

    assert yaml.safe_load(edges_yaml(study)) == hostile


def test_few_trials_have_a_reason_instead(record: StudyRecord) -> None:
    found = edges_table(record)
    assert found.table.empty
    assert "at least 20 COMPLETE trials" in str(found.reason)
    assert edges_yaml(replace(record, config={})) == ""


def test_without_an_effect_few_parameters_are_named(record: StudyRecord) -> None:
    rng = np.random.default_rng(7)
    model = {"num_layers": {"int": [3, 7]}, "base_kernel": {"int": [3, 9], "step": 2}}
    config = {"model": model, "train": {"learning_rate": {"float": [0.1, 1.0]}}}
    named = 0
    for _ in range(60):
        trials = [
            replace(
                record.trials[1],
                number=number,
                state="COMPLETE",
                value=float(rng.uniform()),
                params={
                    "model.num_layers": int(rng.integers(3, 8)),
                    "model.base_kernel": int(rng.choice([3, 5, 7, 9])),
                    "train.learning_rate": float(rng.uniform(0.1, 1.0)),
                },
            )
            for number in range(60)
        ]
        named += len(edges_table(replace(record, config=config, trials=tuple(trials))).table)
    assert named <= 0.06 * 180
