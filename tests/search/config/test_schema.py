from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from model.config import ModelConfig
from search.config.errors import ConfigError
from search.config.loading import config_from_overrides, config_from_tree, json_schema, load_config

BRIEF = {
    "model.num_layers",
    "model.base_filters",
    "model.base_kernel",
    "model.dropout_rate",
    "train.learning_rate",
}


def problems_of(tree: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        config_from_tree(tree)
    return str(caught.value)


def test_depth_filters_kernel_dropout_and_learning_rate_are_searched_by_default() -> None:
    assert set(config_from_tree({}).space) == BRIEF


def test_a_config_survives_being_written_and_read() -> None:
    config = config_from_tree(
        {
            "model": {"num_layers": 4, "activation": {"choice": ["relu", "mish"]}},
            "data": {"classes": {"background": [0, 0, 0], "Crack": [0, 0, 255]}},
            "search": {"baselines": [{"name": "known", "params": {"model.activation": "mish"}}]},
        }
    )

    assert config_from_tree(json.loads(json.dumps(config.to_tree()))) == config


def test_all_problems_stand_in_one_error_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "study:\n  nmae: x\nmodel:\n  base_kernel: 4\ntrain:\n  batch_size: many\nmodle: {}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["train.epochs=0"])

    assert caught.value.problems == (
        "line 2: study.nmae: unknown field; did you mean 'name'?",
        "line 4: model.base_kernel: expected an odd kernel side, received 4",
        "line 5: train.epochs: input should be greater than or equal to 1, received 0",
        "line 6: train.batch_size: input should be a valid integer, unable to parse string as an "
        "integer, received 'many'",
        "line 7: modle: unknown field; did you mean 'model'?",
    )
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        (
            {"model": {"num_layers": {"int": [3, 8]}}, "data": {"image_size": 96}},
            "data.image_size: expected image sides divisible by 2**(num_layers - 1) = 128",
        ),
        (
            {"model": {"num_layers": {"int": [3, 7]}, "dropout_rate": {"float": [0, 0.2]}}},
            "expected dropout_rate * (num_layers - 1) < 1, received 0.2 * (7 - 1) = 1.2",
        ),
        (
            {"model": {"num_layers": 7, "dropout_rate": 0.2}},
            "expected dropout_rate * (num_layers - 1) < 1",
        ),
        ({"train": {"clip_value": 0.5}}, "expected at most one of clip_value and clip_norm"),
        (
            {"train": {"class_weighting": {"choice": ["none", "given"]}}},
            "expected class_weights with class_weighting 'given'",
        ),
        (
            {"search": {"num_trials": None}},
            "expected num_trials or time_budget_minutes, received neither",
        ),
        ({"search": {"grace_epochs": 9}, "train": {"epochs": 8}}, "expected at most train.epochs"),
        (
            {"augment": {"quarter_turns": True}, "data": {"image_size": [64, 128]}},
            "expected square images or windows with quarter_turns, received 64x128",
        ),
        (
            {"augment": {"patch_size": {"int": [32, 64], "step": 16}}},
            "augment.patch_size: expected a side divisible by 2**(num_layers - 1) = 32 for "
            "num_layers 6, received 48",
        ),
        (
            {"augment": {"patch_size": {"choice": [None, 64, 256]}}},
            "augment.patch_size: expected at most the longer side of data.image_size, 128, "
            "received 256",
        ),
        ({"augment": {"patch_stages": 2}}, "expected patch_size with patch_stages 2"),
        (
            {
                "model": {
                    "activation": {"choice": ["relu", "mish"]},
                    "dropout_rate": {"float": [0, 0.3], "when": {"model.activation": "mish"}},
                }
            },
            "expected dropout_rate * (num_layers - 1) < 1, received 0.3 * (6 - 1) = 1.5",
        ),
        (
            {
                "model": {"activation": {"choice": ["relu", "mish"]}},
                "augment": {
                    "patch_size": {
                        "choice": [64, 128],
                        "when": {"model.activation": "mish"},
                        "otherwise": 100,
                    }
                },
            },
            "expected a side divisible by 2**(num_layers - 1) = 32 for num_layers 6, received 100",
        ),
        (
            {"search": {"folds": 3}, "data": {"split": {"folds": 4}}},
            "search.folds: expected as many as data.split.folds, 4, or none there, received 3",
        ),
        (
            {"search": {"folds": 3}, "data": {"split": {"folds": 3, "fold": 1}}},
            "data.split.fold: expected 0 with search.folds",
        ),
        (
            {"search": {"folds": 3}, "study": {"storage_path": "s3://bucket/studies"}},
            "search.folds: expected a study in a folder",
        ),
        (
            {"search": {"folds": 3}, "pipeline": {"sharing": "service"}},
            "each fold of search.folds is trained on images of its own",
        ),
        ({"study": {"name": "a/b"}}, "expected letters, digits"),
        ({"resources": {"gpus_per_trial": 1.5}}, "a share of one GPU or whole GPUs, received 1.5"),
        (
            {"resources": {"gpus_per_trial": "many"}},
            "resources.gpus_per_trial: expected auto or a number >= 0, received 'many'",
        ),
        (
            {"resources": {"memory_per_trial": -1}},
            "resources.memory_per_trial: expected auto, null or GB > 0, received -1",
        ),
        ({"search": {"time_budget_minutes": float("inf")}}, "finite number"),
        (
            {"data": {"classes": {"a": [0, 0, 0], "b": [0, 0, 0]}}},
            "expected one colour a class",
        ),
    ],
)
def test_an_impossible_combination_is_refused_on_loading(tree: dict, problem: str) -> None:
    assert problem in problems_of(tree)


def test_a_combination_that_only_both_extremes_break_is_found_among_many_fields() -> None:
    tree = {
        "model": {
            "num_layers": {"int": [3, 7]},
            "dropout_rate": {"float": [0.0, 0.17]},
            "activation": {"choice": ["relu", "mish"]},
            "base_filters": {"choice": [8, 16]},
        }
    }

    assert "0.17 * (7 - 1) = 1.02" in problems_of(tree)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"model.num_layers": 9}, "expected a value of {'int': [3, 6]}, received 9"),
        ({"model.base_filters": 12}, "expected a value of {'choice': [8, 16, 32]}, received 12"),
        ({"train.batch_size": 2}, "expected the constant 4, received 2"),
        ({"model.layers": 3}, "expected a field of model, train or augment"),
        ({"num_layers": 3}, "expected a field of model, train or augment"),
    ],
)
def test_a_baseline_outside_the_space_is_refused(params: dict, problem: str) -> None:
    tree = {"search": {"baselines": [{"name": "hand-tuned", "params": params}]}}

    assert problem in problems_of(tree)


def test_two_baselines_of_one_name_are_refused() -> None:
    baseline = {"name": "a", "params": {}}

    assert "received 'a' twice" in problems_of({"search": {"baselines": [baseline, baseline]}})


def test_a_trial_has_the_constants_and_its_parameters() -> None:
    config = config_from_tree({"train": {"epochs": 7}})
    params = dict.fromkeys(BRIEF, 0.05) | {
        "model.num_layers": 4,
        "model.base_filters": 8,
        "model.base_kernel": 5,
    }
    trial = config.at(params, seed=11)

    assert trial.model == ModelConfig(
        num_layers=4, base_filters=8, base_kernel=5, dropout_rate=0.05
    )
    assert (trial.train.learning_rate, trial.train.epochs, trial.seed) == (0.05, 7, 11)


def test_a_trial_names_the_fields_that_still_are_distributions() -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_tree({}).at({"model.num_layers": 4})

    assert len(caught.value.problems) == len(BRIEF) - 1
    assert "train.learning_rate: expected a constant" in str(caught.value)


def test_a_config_is_frozen() -> None:
    config = config_from_tree({})
    with pytest.raises(ValueError, match="frozen"):
        config.study.name = "other"  # type: ignore[misc]


def test_a_config_error_crosses_processes() -> None:
    error = ConfigError("study.yaml", ["a: wrong"])

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_committed_json_schema_is_the_present_one() -> None:
    path = Path(__file__).parents[3] / "configs" / "schema.json"

    assert path.read_text(encoding="utf-8") == json_schema(), "run `make schema`"


def test_a_storages_password_is_in_no_file() -> None:
    url = "postgresql://user:secret@host/db"
    tree = config_from_tree({"study": {"storage": url}}).to_tree()

    assert tree["study"]["storage"] == "postgresql://user:***@host/db"


def test_duplicates_and_overrides_do_not_hide_other_problems(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("train:\n  epochs: 3\n  epochs: 4\n  batch: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["nonsense"])

    assert len(caught.value.problems) == 3


def test_overrides_of_the_defaults_are_all_told_of_together() -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_overrides(["train.epochs", "train.batch_size=0", "nothing"])

    assert len(caught.value.problems) == 3
    assert config_from_overrides(["train.epochs=7"]).train.epochs == 7
