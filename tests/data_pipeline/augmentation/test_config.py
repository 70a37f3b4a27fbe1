"""Presets, what is named beside them, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import OPERATIONS, PRESETS
from search.config.errors import ConfigError
from search.config.loading import config_from_record, config_from_tree


def test_the_preset_none_changes_nothing_and_the_others_do_more_and_more() -> None:
    used = [
        sum(bool(getattr(AugmentConfig(preset=name), operation)) for operation in OPERATIONS)
        for name in PRESETS
    ]
    assert used == sorted(set(used))
    assert used[0] == 0


def test_what_is_named_goes_before_the_preset() -> None:
    config = AugmentConfig(preset="strong", rotation=3, blur=0, probability={"noise": 0.9})
    strong = AugmentConfig(preset="strong")

    assert (config.rotation, config.blur, config.share("blur")) == (3, 0, 0)
    assert config.shear == strong.shear
    assert config.share("noise") == 0.9
    assert config.share("jpeg") == strong.share("jpeg") == 0.2


def test_flips_happen_half_the_time_and_the_unnamed_always() -> None:
    config = AugmentConfig(preset="none", horizontal_flip=True, rotation=5)

    assert (config.share("horizontal_flip"), config.share("rotation")) == (0.5, 1.0)


def test_a_config_with_constants_is_read_back_as_it_was() -> None:
    config = AugmentConfig(preset="strong", rotation=3)

    assert AugmentConfig(**config.model_dump()) == config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"probability": {"rotate": 0.5, "noise": 2}}, "'rotate': 'unknown', 'noise': 2.0"),
        ({"elastic": 0.07}, "less than or equal to 0.06"),
        ({"oversample": {"Crack": 4}}, "oversample only with sampling 'natural'"),
        ({"sampling": "natural", "oversample": {"Crack": 0}}, "factors above 0"),
        ({"preset": "wild"}, "'none', 'light', 'default' or 'strong'"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AugmentConfig(**settings)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_a_study_takes_amounts_from_the_preset_and_may_search_both() -> None:
    study = config_from_tree(
        {"augment": {"preset": {"choice": ["light", "strong"]}, "noise": {"float": [0.0, 0.1]}}}
    )
    others = {name: d.probes()[0] for name, d in study.space.items()}
    trial = study.at({**others, "augment.preset": "strong", "augment.noise": 0.07}).augment

    assert trial == AugmentConfig(preset="strong", noise=0.07)
    assert study.at({**others, "augment.preset": "light"}).augment.rotation == 5.0


def test_a_study_states_what_its_preset_says() -> None:
    study = config_from_tree({"augment": {"preset": "light", "probability": {"shift": 0.5}}})
    tree = study.to_tree()

    assert tree["augment"]["rotation"] == 5.0
    assert tree["augment"]["probability"] == {"shift": 0.5}
    assert config_from_tree(tree).to_tree() == tree
    assert config_from_tree({}).to_tree()["augment"]["elastic"] == 0.02


def test_configs_that_augment_alike_are_equal() -> None:
    named = {**dict.fromkeys(OPERATIONS, 0), "rotation": 10.0, "probability": {"noise": 0.5}}
    one, other = (
        config_from_tree({"augment": {**named, "preset": preset}}).augment
        for preset in ("none", "strong")
    )
    assert one == other


def test_a_record_from_before_an_operation_existed_does_not_do_it() -> None:
    before = {"augment": {"rotation": 10.0}}
    assert config_from_record(before, "study.yaml").augment.elastic == 0.0
    assert config_from_tree(before).augment.elastic == 0.02


def test_a_baseline_may_state_what_the_preset_says() -> None:
    tree = {"search": {"baselines": [{"name": "b", "params": {"augment.rotation": 10.0}}]}}
    assert config_from_tree(tree).search.baselines[0].params == {"augment.rotation": 10.0}

    tree["search"]["baselines"][0]["params"]["augment.rotation"] = 11.0
    with pytest.raises(ConfigError, match=r"expected the constant 10.0, received 11.0"):
        config_from_tree(tree)


def test_a_baseline_may_not_overrule_a_preset_that_is_searched() -> None:
    tree = {
        "augment": {"preset": {"choice": ["light", "strong"]}},
        "search": {"baselines": [{"name": "b", "params": {"augment.rotation": 10.0}}]},
    }
    with pytest.raises(ConfigError, match=r"augment.preset is searched, received 10.0"):
        config_from_tree(tree)


def test_colour_needs_three_channels_and_is_said_when_the_config_is_loaded() -> None:
    with pytest.raises(ConfigError, match=r"augment.hue: expected images of 3 channels"):
        config_from_tree({"augment": {"hue": 10}})
    config_from_tree({"augment": {"hue": 10}, "data": {"channels": 3}})
