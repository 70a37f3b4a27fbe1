from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.config import SPLITS, SplitConfig
from data_pipeline.datasets.splits import folds_by_group, group_names, original_stem, split_by_group
from data_pipeline.problems import DataError


@pytest.mark.parametrize(
    ("stem", "original"),
    [
        ("101", "101"),
        ("hflipped_101", "101"),
        ("vflipped_10_5", "10_5"),
        ("rotated_90_10_5", "10_5"),
        ("shrinked_0.8_101", "101"),
        ("distorted_0.02_rsigma0.5_sigma40_exp1_num_9", "exp1_num_9"),
        ("deformed_alpha_1300_sigmoid_8_107000_10", "107000_10"),
        ("barrdistorted_1001_0.3_0.3_104000_7", "104000_7"),
        ("pincdistorted_1002_0.3_-0.3_7", "7"),
        ("hflipped_distorted_0.01_rsigma0.5_sigma40_7", "7"),
        ("brightened_part", "part"),
        ("rotated_part", "part"),
        ("hflipped_", "hflipped_"),
        ("flippedparts_3", "flippedparts_3"),
    ],
)
def test_original_stem(stem: str, original: str) -> None:
    assert original_stem(stem) == original


def test_uncertain_parameters_are_settled_by_the_stems_that_are_there() -> None:
    assert original_stem("brightened_2_10_5", {"10_5", "5"}) == "10_5"
    assert original_stem("brightened_2_10_5", {"5"}) == "5"
    assert original_stem("sharpened_k9_part", {"part"}) == "part"


def test_a_stem_that_only_looks_augmented_stays_when_listed() -> None:
    assert original_stem("rotated_90_7", {"rotated_90_7"}) == "rotated_90_7"


def test_groups_by_list_then_by_stem() -> None:
    stems = ["a", "b", "hflipped_a", "c", "vflipped_c"]
    assert group_names(stems, {"a": "tile", "b": "tile"}, None) == ("tile",) * 3 + ("c", "c")


def test_groups_by_pattern() -> None:
    assert group_names(["t1_x", "t1_y", "odd"], {"t1_x": "no"}, r"^(t\d)_") == ("t1", "t1", None)
    assert group_names(["t12_x"], {}, r"t\d+") == ("t12",)


def make(seed: int, groups: int = 60):
    """Groups of 1 to 6 images with 3 uneven classes and free ones."""
    rng = np.random.default_rng(seed)
    names, pixels = [], []
    for group in range(groups):
        label = rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])
        for _ in range(rng.integers(1, 7)):
            names.append(f"g{group}")
            pixels.append([1000, *(50 * (label == c) for c in (1, 2, 3))])
    return names, np.array(pixels, np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_classes_are_spread(seed: int) -> None:
    groups, pixels = make(seed)
    splits = np.array(split_by_group(groups, pixels, SplitConfig(valid=0.2, test=0.2, seed=seed)))
    for group in set(groups):
        assert len(set(splits[np.array(groups) == group])) == 1
    for label in range(4):
        shown = pixels[:, label] > 0 if label else (pixels[:, 1:] == 0).all(axis=1)
        of_class = {g for g, s in zip(groups, shown, strict=True) if s}
        held = [len({g for g, p in zip(groups, splits, strict=True) if g in of_class and p == s})
                for s in SPLITS]  # fmt: skip
        expected = np.array([0.6, 0.2, 0.2]) * len(of_class)
        assert np.abs(held - expected).max() <= 1.5, (label, held, expected)


def test_the_result_depends_on_the_seed_but_not_on_the_order() -> None:
    groups, pixels = make(0)
    config = SplitConfig()
    first = dict(zip(groups, split_by_group(groups, pixels, config), strict=True))
    shuffled = np.random.default_rng(1).permutation(len(groups))
    names = [groups[i] for i in shuffled]
    again = dict(zip(names, split_by_group(names, pixels[shuffled], config), strict=True))
    other = split_by_group(groups, pixels, config.model_copy(update={"seed": 1}))
    assert first == again
    assert first != dict(zip(groups, other, strict=True))


def test_no_test_split_where_none_is_wanted() -> None:
    groups, pixels = make(0)
    assert set(split_by_group(groups, pixels, SplitConfig(test=0))) == {"train", "valid"}


def test_a_class_in_three_groups_reaches_every_split() -> None:
    groups = [f"g{n}" for n in range(3)] + [f"free{n}" for n in range(20)]
    pixels = np.array([[9, 1]] * 3 + [[10, 0]] * 20)
    for seed in range(10):
        splits = split_by_group(groups, pixels, SplitConfig(seed=seed))
        assert set(splits[:3]) == set(SPLITS)


def test_folders_group_and_copies_stay_with_their_original_within_one() -> None:
    stems = ["a/7", "a/hflipped_7", "b/7", "c/d/7", "8"]
    assert group_names(stems, {}, None) == ("a/7", "a/7", "b/7", "c/d/7", "8")
    assert group_names(stems, {}, None, folders=True) == ("a", "a", "b", "c/d", None)
    assert original_stem("a/brightened_2_10_5", {"a/10_5"}) == "a/10_5"


def test_each_group_is_validated_in_one_fold_with_the_same_test_split() -> None:
    groups, pixels = make(2)
    plain = split_by_group(groups, pixels, SplitConfig())
    tested = {g for g, split in zip(groups, plain, strict=True) if split == "test"}
    validated: list[str] = []
    for fold in range(4):
        splits = split_by_group(groups, pixels, SplitConfig(folds=4, fold=fold))
        of = {split: {g for g, s in zip(groups, splits, strict=True) if s == split}
              for split in SPLITS}  # fmt: skip
        assert of["test"] == tested
        assert not of["train"] & of["valid"]
        assert of["train"] | of["valid"] | of["test"] == set(groups)
        validated += of["valid"]
    assert sorted(validated) == sorted(set(groups) - tested)


@pytest.mark.parametrize("seed", range(5))
def test_folds_show_each_class_as_evenly_as_its_groups_allow(seed: int) -> None:
    groups, pixels = make(seed)
    folds = np.array(folds_by_group(groups, pixels, 5, seed))
    for label in range(4):
        shown = pixels[:, label] > 0 if label else (pixels[:, 1:] == 0).all(axis=1)
        held = [len({g for g, s, f in zip(groups, shown, folds, strict=True) if s and f == fold})
                for fold in range(5)]  # fmt: skip
        assert max(held) - min(held) <= 1, (label, held)


def test_folds_depend_on_the_seed_but_not_on_the_order() -> None:
    groups, pixels = make(0)
    first = dict(zip(groups, folds_by_group(groups, pixels, 3, 0), strict=True))
    shuffled = np.random.default_rng(1).permutation(len(groups))
    names = [groups[i] for i in shuffled]
    assert dict(zip(names, folds_by_group(names, pixels[shuffled], 3, 0), strict=True)) == first
    assert dict(zip(groups, folds_by_group(groups, pixels, 3, 1), strict=True)) != first


def test_more_folds_than_groups_are_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"data.split.folds: .* received 4 folds and 3 groups"):
        folds_by_group(["a", "b", "c", "c"], np.ones((4, 2), np.int64), 4, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"folds": 1}, "greater than or equal to 2"),
        ({"folds": 3, "fold": 3}, "received fold 3 of 3"),
        ({"fold": 1}, "received fold 1 alone"),
        ({"group_folders": True, "group_pattern": "x"}, "received both"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SplitConfig(**fields)
