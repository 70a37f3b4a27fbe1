from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from model.cost import estimate_cost
from results.flexunet.mapping import to_flexunet
from search.config.errors import ConfigError
from search.config.loading import config_from_tree, load_config, load_constants
from search.config.reference_file import FlexUNetSource, read_source, search_around
from search.config.yaml_source import YamlSource
from tests.search.config.test_schema import BRIEF

RECIPE = Path(__file__).parents[3] / "configs" / "magnetic_tile_reference.config"
CLASSES = {"background": (0, 0, 0), "class 1": (255, 0, 0)}


def changed(folder: Path, old: str, new: str, name: str = "recipe.config") -> Path:
    text = RECIPE.read_text(encoding="utf-8")
    assert old in text
    path = folder / name
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_a_suffix_tells_the_format(tmp_path: Path) -> None:
    for name in ("a.config", "a.CFG", "a.ini"):
        assert isinstance(read_source(tmp_path / name), FlexUNetSource)
    assert isinstance(read_source(tmp_path / "a.yaml"), YamlSource)


def test_the_recipe_has_its_126_8_million_parameters() -> None:
    config = load_config(RECIPE)
    shape = (*config.data.image_size, config.data.channels)

    assert config.space == {}
    parameters = estimate_cost(config.at({}).model, shape, len(config.data.classes)).parameters
    assert round(parameters / 1e6, 1) == 126.8


@pytest.mark.soak
def test_the_recipe_built_has_its_126_8_million_parameters() -> None:
    from model.flexunet import build_flexunet

    constants = load_config(RECIPE).at({})
    model = build_flexunet(constants.model, (*constants.data.image_size, 3), 6)

    assert round(model.count_params() / 1e6, 1) == 126.8


def test_notes_are_logged_with_the_file(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_config(RECIPE)

    assert f"{RECIPE}: train.reducer_patience: counts here" in caplog.text


def test_overrides_work_on_top() -> None:
    config = load_config(RECIPE, ["train.epochs=5", "model.num_layers=4", "study.name=x"])

    assert (config.train.epochs, config.model.num_layers, config.study.name) == (5, 4, "x")


def test_a_recipe_of_few_epochs_loads(tmp_path: Path) -> None:
    path = changed(tmp_path, "epochs     = 100", "epochs     = 2")

    assert load_config(path).train.epochs == 2
    assert load_config(path, around=True).search.grace_epochs == 2
    assert load_constants(path).train.epochs == 2


def test_epochs_may_be_few_on_top(tmp_path: Path) -> None:
    for around in (False, True):
        config = load_config(RECIPE, ["train.epochs=3"], around=around)
        assert (config.train.epochs, config.search.grace_epochs) == (3, 3)
    path = changed(tmp_path, "epochs     = 100", "epochs     = 2")
    assert load_config(path, ["train.epochs=30"]).search.grace_epochs == 5
    with pytest.raises(ConfigError, match="grace_epochs: expected at most"):
        load_config(RECIPE, ["train.epochs=3", "search.grace_epochs=4"])
    with pytest.raises(ConfigError, match=r"train\.epochs: "):
        load_config(RECIPE, ["train.epochs=0"])


def test_values_out_of_range_are_told_with_the_line_of_the_file(tmp_path: Path) -> None:
    path = changed(tmp_path, "num_layers      = 8", "num_layers      = 99")
    line = path.read_text(encoding="utf-8").splitlines().index("num_layers      = 99") + 1

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    (problem,) = caught.value.problems
    assert problem.startswith(f"line {line}: model.num_layers: ")


def test_all_that_is_wrong_is_one_error(tmp_path: Path) -> None:
    path = changed(tmp_path, '"RGB"', '"BGR"')
    path.write_text(
        path.read_text(encoding="utf-8").replace("num_layers      = 8", "num_layers      = 99"),
        encoding="utf-8",
    )

    with pytest.raises(ConfigError) as caught:
        load_config(path, ["train.epohcs=3"])

    text = str(caught.value)
    assert len(caught.value.problems) == 3
    for part in ("image.color_order: expected 'RGB'", "model.num_layers: ", "train.epohcs: "):
        assert part in text


def test_a_file_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "a.config"
    path.write_text("[train]\nepochs = __import__('os').system('true')\n", encoding="utf-8")

    for around in (False, True):
        with pytest.raises(ConfigError) as caught:
            load_config(path, around=around)
        assert len(caught.value.problems) == 1


def test_a_search_around_the_recipe_holds_it_and_begins_with_it() -> None:
    config = load_config(RECIPE, around=True)

    assert set(config.space) == BRIEF
    (baseline,) = config.search.baselines
    assert baseline.name == RECIPE.name
    assert config.at(baseline.params) == load_config(RECIPE).at({})
    assert config.values("model.num_layers") == (3, 8)
    assert config.values("model.base_kernel") == (3, 11)
    assert config.values("train.learning_rate") == (7e-5, 1e-2)
    assert config_from_tree(config.to_tree()) == config


@pytest.mark.parametrize(
    ("model", "rate", "size"),
    [
        ({"num_layers": 2, "base_filters": 4, "base_kernel": 1, "dropout_rate": 0.6}, 0.5, 64),
        (
            {"num_layers": 12, "base_filters": 7, "base_kernel": 31, "dropout_rate": 0.09},
            1e-6,
            2048,
        ),
        ({"num_layers": 4, "base_filters": 64, "base_kernel": 3, "dropout_rate": 0.3}, 1e-3, 24),
        ({"num_layers": 1, "base_filters": 8, "base_kernel": 5, "dropout_rate": 0.99}, 1e-3, 33),
    ],
)
def test_any_recipe_lies_in_the_space_around_it(
    model: dict[str, Any], rate: float, size: int
) -> None:
    tree = {"data": {"image_size": [size, size]}, "model": model, "train": {"learning_rate": rate}}
    config = config_from_tree(search_around(tree))

    for name, value in {**{f"model.{k}": v for k, v in model.items()}}.items():
        distribution = config.space[name].to_optuna()
        assert distribution._contains(distribution.to_internal_repr(value)), name
    low, high = config.values("train.learning_rate")
    assert low <= rate <= high


def test_fields_may_be_fixed_or_searched_on_top(caplog: pytest.LogCaptureFixture) -> None:
    overrides = ["model.num_layers=5", "train.optimizer={choice: [adam, adamw]}", "train.epochs=9"]
    with caplog.at_level(logging.WARNING):
        config = load_config(RECIPE, overrides, around=True)

    (baseline,) = config.search.baselines
    assert baseline.params["train.optimizer"] == "adam"
    assert "model.num_layers" not in baseline.params
    assert f"the baseline {RECIPE.name} has model.num_layers 5, the file 8" in caplog.text
    assert f"the baseline {RECIPE.name} has train.epochs 9, the file 100" in caplog.text


def test_a_space_without_the_recipe_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config = load_config(RECIPE, ["model.num_layers={int: [3, 5]}"], around=True)

    assert config.search.baselines == ()
    assert "no baseline of the file itself: model.num_layers: expected a value of" in caplog.text


def test_around_a_yaml_file_nothing_is_done(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("model: {num_layers: 4}\n", encoding="utf-8")

    assert load_config(path, around=True) == load_config(path)


def test_a_config_survives_the_reference_s_format(tmp_path: Path) -> None:
    """Ours to its file to ours, of a config that it can say in full."""
    config = config_from_tree(
        {
            "study": {"name": "there"},
            "data": {
                "source": str(tmp_path / "tiles"),
                "image_size": [64, 128],
                "channels": 1,
                "classes": CLASSES,
            },
            "model": {
                "num_layers": 4,
                "base_filters": 12,
                "base_kernel": 5,
                "dilation": 2,
                "dropout_rate": 0.03,
                "normalization": "batch",
                "activation": "mish",
            },
            "train": {
                "epochs": 17,
                "batch_size": 3,
                "learning_rate": 0.00123,
                "loss": "cross_entropy",
                "class_weighting": "none",
                "optimizer": "adamw",
                "weight_decay": 0.004,
                "clip_norm": None,
                "schedule": "constant",
                "early_stopping_patience": 6,
                "early_stopping_metric": "validation_loss",
            },
            "augment": {"preset": "none", "sampling": "natural"},
        }
    )
    written = to_flexunet(config.to_tree(), classes=CLASSES, images_root=str(tmp_path / "tiles"))
    path = tmp_path / "there.config"
    path.write_text(written.text, encoding="ascii")

    assert written.lost == ()
    assert load_config(path) == config


def test_the_recipe_survives_yaml() -> None:
    config = load_config(RECIPE)
    tree = config.to_tree()
    written = to_flexunet(tree, classes=tree["data"]["classes"], images_root=tree["data"]["source"])

    assert config_from_tree(tree) == config
    assert written.lost == ()  # --strict takes the published recipe
    assert written.values["model"]["base_kernels"] == (11, 11)
