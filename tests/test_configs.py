"""Every shipped YAML loads, and says in its header how it is run and what to expect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model.cost import estimate_cost
from search.config.loading import load_config, load_constants

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_the_three_configs_are_shipped() -> None:
    assert [path.stem for path in CONFIGS] == [
        "magnetic_tile",
        "magnetic_tile_cpu",
        "quickstart",
    ]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_it_loads_and_is_named_after_its_file(path: Path) -> None:
    config = load_config(path)

    assert config.study.name == path.stem
    assert config.space
    assert config.search.baselines


def test_its_header_states_command_time_and_score(path: Path) -> None:
    header = "".join(
        line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#")
    )

    assert f"flexunet-search run configs/{path.name}" in header
    for promise in ("Time:", "Score:"):
        text = header.partition(promise)[2].split("#\n")[0]
        assert re.search(r"\d", text), f"expected a number after {promise}"


def test_the_gpu_configs_reference_recipe_is_the_published_one_but_for_what_it_names() -> None:
    folder = CONFIGS[0].parent
    recipe = load_constants(folder / "magnetic_tile_reference.config")
    config = load_config(folder / "magnetic_tile.yaml")
    baseline = next(each for each in config.search.baselines if each.name == "reference recipe")
    trial = config.at(baseline.params)

    unlike = {
        f"{section}.{name}"
        for section in ("model", "train", "augment")
        for name, value in getattr(trial, section)
        if value != getattr(getattr(recipe, section), name)
    }
    text = (folder / "magnetic_tile.yaml").read_text(encoding="utf-8")
    named = text.partition("config: magnetic_tile_reference.config")[2].partition("- name:")[0]
    assert trial.model == recipe.model
    assert unlike
    assert [name for name in unlike if f"{name}: " not in named] == []


def test_its_baselines_are_whole_points_of_the_space(path: Path) -> None:
    config = load_config(path)
    for baseline in config.search.baselines:
        trial = config.at(baseline.params)
        channels = config.data.channels
        assert estimate_cost(trial.model, (*config.data.image_size, channels), 6).parameters > 0
