from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from search.config.errors import ConfigError
from search.config.loading import config_from_record, load_config
from tests.search.config.test_reference_file import RECIPE

# A study of the recipe: what it does not search is the recipe's.
STUDY = """
data: {image_size: 512}
model:
  num_layers: {int: [4, 8]}
  base_filters: {choice: [16, 32]}
  base_kernel: {int: [3, 11], step: 2}
  dropout_rate: {float: [0.0, 0.1]}
  normalization: {choice: [batch, none]}
train:
  epochs: 100
  batch_size: 2
  learning_rate: {float: [1.0e-5, 5.0e-3], log: true}
  loss: {choice: [cross_entropy_dice, cross_entropy]}
  class_weighting: none
  optimizer: adam
  clip_value: 0.5
  clip_norm: null
  schedule: reduce_on_plateau
  early_stopping_patience: 10
  early_stopping_metric: validation_loss
augment: {preset: none, sampling: natural}
"""


def study(folder: Path, baseline: str, text: str = STUDY) -> Path:
    path = folder / "study.yaml"
    path.write_text(f"{text}\nsearch: {{baselines: [{baseline}]}}\n", encoding="utf-8")
    return path


def problems_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value)


def test_a_file_of_the_reference_is_a_baseline(tmp_path: Path) -> None:
    config = load_config(study(tmp_path, f"{{name: recipe, config: '{RECIPE}'}}"))

    (baseline,) = config.search.baselines
    assert baseline.params == {
        "model.num_layers": 8,
        "model.base_filters": 16,
        "model.base_kernel": 11,
        "model.dropout_rate": 0.05,
        "model.normalization": "none",
        "train.learning_rate": 7e-5,
        "train.loss": "cross_entropy",
    }
    constants = load_config(RECIPE).at({})
    trial = config.at(baseline.params)
    assert (trial.model, trial.train, trial.augment) == (
        constants.model,
        constants.train,
        constants.augment,
    )


def test_the_record_needs_no_file(tmp_path: Path) -> None:
    config = load_config(study(tmp_path, f"{{name: recipe, config: '{RECIPE}'}}"))
    recorded = yaml.safe_load(yaml.safe_dump(config.to_tree()))

    assert str(RECIPE) not in str(recorded)
    assert config_from_record(recorded, "study.yaml") == config


def test_a_config_of_constants_is_a_baseline_by_its_path_beside_the_study(tmp_path: Path) -> None:
    tree = load_config(RECIPE).to_tree()
    tree["search"]["baselines"] = [{"name": "none", "config": "is not read"}]
    tree["provenance"] = {"study": "earlier"}
    (tmp_path / "best.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")

    config = load_config(study(tmp_path, "{name: earlier, config: best.yaml}"))

    assert config.search.baselines[0].params["model.base_kernel"] == 11


def test_a_path_may_be_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(RECIPE.parent)

    config = load_config(study(tmp_path, f"{{name: recipe, config: {RECIPE.name}}}"))

    assert config.search.baselines[0].params["model.num_layers"] == 8


def test_params_beside_it_count_first(tmp_path: Path) -> None:
    baseline = f"{{name: x, config: '{RECIPE}', params: {{model.num_layers: 5}}}}"
    config = load_config(study(tmp_path, baseline))

    assert config.search.baselines[0].params["model.num_layers"] == 5
    assert config.search.baselines[0].params["model.base_kernel"] == 11


def test_every_constant_that_differs_is_in_one_error(tmp_path: Path) -> None:
    text = STUDY.replace("optimizer: adam", "optimizer: adamw").replace("epochs: 100", "epochs: 60")
    text = text.replace("natural", "balanced")

    found = problems_of(study(tmp_path, f"{{name: recipe, config: '{RECIPE}'}}", text))

    assert "3 problems" in found
    assert (
        f"search.baselines: 'recipe': train.optimizer: the study has the constant 'adamw', "
        f"{RECIPE} 'adam'; make it searched, or give it in params"
    ) in found
    assert "train.epochs: the study has the constant 60" in found
    assert "augment.sampling: the study has the constant 'balanced'" in found


def test_a_constant_that_differs_may_be_given(tmp_path: Path) -> None:
    text = STUDY.replace("epochs: 100", "epochs: 60")
    baseline = f"{{name: shorter, config: '{RECIPE}', params: {{train.epochs: 60}}}}"

    assert load_config(study(tmp_path, baseline, text)).search.baselines[0].name == "shorter"


def test_constants_that_nothing_reads_may_differ(tmp_path: Path) -> None:
    text = STUDY.replace("  optimizer: adam\n", "  optimizer: adam\n  weight_decay: 0.3\n")
    text = text.replace("  clip_value", "  focal_gamma: 1.0\n  clip_value")

    assert load_config(study(tmp_path, f"{{name: x, config: '{RECIPE}'}}", text))


def test_values_outside_the_space_are_told(tmp_path: Path) -> None:
    text = STUDY.replace("[4, 8]", "[4, 6]")

    found = problems_of(study(tmp_path, f"{{name: recipe, config: '{RECIPE}'}}", text))

    assert "'recipe': model.num_layers: expected a value of {'int': [4, 6]}, received 8" in found


def test_a_file_that_is_no_config_of_constants_is_told(tmp_path: Path) -> None:
    (tmp_path / "searched.yaml").write_text("model: {base_kernel: 3}\n", encoding="utf-8")
    (tmp_path / "bad.config").write_text("[train]\npacience = 1\n", encoding="utf-8")
    files = {"a": "searched.yaml", "b": "bad.config", "c": "no.yaml"}
    baselines = ", ".join(f"{{name: {name}, config: {file}}}" for name, file in files.items())

    found = problems_of(study(tmp_path, baselines))

    assert "'a': " in found
    assert "model.num_layers: expected a constant, received {'int': [3, 6]}" in found
    assert "did you mean 'patience'?" in found
    assert f"{tmp_path / 'no.yaml'}" in found


def test_a_study_that_is_its_own_baseline_is_an_error_not_a_loop(tmp_path: Path) -> None:
    found = problems_of(study(tmp_path, "{name: me, config: study.yaml}"))

    assert "expected a constant, received" in found


def test_a_baseline_says_something(tmp_path: Path) -> None:
    assert "expected params, config or both" in problems_of(study(tmp_path, "{name: empty}"))
