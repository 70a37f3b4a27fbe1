"""Which operations are written, under which names, from which seeds."""

from __future__ import annotations

import pytest

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.offline_plan import (
    ALIASES,
    Recipe,
    choose_operations,
    draw_seed,
    variants,
)
from data_pipeline.augmentation.operations import OPERATIONS, PRESETS
from data_pipeline.datasets.splits import original_stem

DEFAULT = AugmentConfig(preset="default")


def used(config: AugmentConfig) -> set[str]:
    return {name for name in OPERATIONS if config.share(name)}


def test_chosen_operations_keep_the_configs_amounts_and_shares() -> None:
    config = choose_operations(DEFAULT, ["hflip", "rotation", "elastic"])

    assert used(config) == {"horizontal_flip", "rotation", "elastic"}
    assert (config.rotation, config.elastic) == (10.0, 0.02)
    assert config.share("elastic") == 0.5


def test_what_the_config_lacks_is_as_strong_as_the_preset_strong() -> None:
    config = choose_operations(DEFAULT, ["shears", "barrdistortion", "crop", "quarter_turns"])

    assert used(config) == {"shear", "barrel", "crop", "quarter_turns"}
    assert config.shear == PRESETS["strong"]["shear"]
    assert config.share("barrel") == PRESETS["strong"]["probability"]["barrel"]
    assert 0 < config.crop < 0.6


@pytest.mark.parametrize("name", [*ALIASES, *OPERATIONS])
def test_every_operation_can_be_asked_for_by_itself(name: str) -> None:
    assert used(choose_operations(DEFAULT, [name])) == set(ALIASES.get(name, (name,)))


def test_unknown_names_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"expected operations .*hflip.*, received flip, bend"):
        choose_operations(DEFAULT, ["flip", "rotation", "bend"])


def test_settings_that_cannot_be_written_are_told_together() -> None:
    ignored = AugmentConfig(preset="light", border="constant")
    with pytest.raises(ValueError) as caught:
        Recipe(ignored, copies=0, size=(0, 64), mask_format="jpg")
    for said in ("copies of at least 1", "sides of 8 to 4096", "mask format", "has no colour"):
        assert said in str(caught.value)
    with pytest.raises(ValueError, match="an operation at least"):
        Recipe(AugmentConfig(preset="none"))
    Recipe(AugmentConfig(preset="light", border="constant", border_class="background"))


def test_copies_are_numbered_and_drawn_of_everything() -> None:
    few, many = (variants(Recipe(DEFAULT, copies=count)) for count in (2, 100))

    assert [variant.name("a") for variant in few] == ["aug01_a", "aug02_a"]
    assert many[0].name("a") == "aug001_a"
    assert {used(variant.augment) == used(DEFAULT) for variant in few} == {True}


def test_each_operation_by_itself_surely_happens_and_names_the_copy() -> None:
    each = variants(Recipe(choose_operations(DEFAULT, OPERATIONS), copies=None))

    assert len({variant.prefix for variant in each}) == len(each) == len(OPERATIONS)
    for operation, variant in zip(OPERATIONS, each, strict=True):
        assert used(variant.augment) == {operation}
        assert variant.augment.share(operation) == 1
    assert each[0].name("a") == "hflipped_a"


def test_copies_of_the_references_operations_group_by_their_names_alone() -> None:
    names = [name for aliases in ALIASES.values() for name in aliases if name != "contrast"]
    config = choose_operations(DEFAULT, [*names, "rotation", "distortion", "sharpening"])
    for variant in variants(Recipe(config, copies=None)):
        assert original_stem(variant.name("a17")) == "a17"


def test_a_seed_follows_from_seed_stem_copy_and_attempt() -> None:
    recipe, other = Recipe(DEFAULT, seed=1), Recipe(DEFAULT, seed=2)
    seeds = {
        draw_seed(told, stem, prefix, attempt)
        for told in (recipe, other)
        for stem in ("a", "b")
        for prefix in ("aug01", "aug02")
        for attempt in (0, 1)
    }

    assert len(seeds) == 16
    assert all(0 <= number < 2**62 for seed in seeds for number in seed)
    assert draw_seed(recipe, "a", "aug01", 0) in seeds
