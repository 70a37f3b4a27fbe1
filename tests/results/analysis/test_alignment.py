from __future__ import annotations

import numpy as np
import pytest

from results.analysis.alignment import aligned, joined
from tests.results.counted import counted

IMAGES = {"a": [(0, 0, 5), (1, 1, 3)], "b": [(0, 1, 7)], "c": [(2, 2, 9)]}


def test_images_are_brought_into_one_order() -> None:
    a = counted(IMAGES, {"a": "x", "b": "y", "c": "y"})
    b = counted(
        {name: IMAGES[name] for name in ("c", "a", "b")},
        {"a": "x", "b": "y", "c": "y"},
        objects=[(0, 2, 9, 9), (1, 1, 3, 3)],
    )
    found = aligned(a, b)

    assert found.images == ("a", "b", "c")
    assert found.groups == ("x", "y", "y")
    np.testing.assert_array_equal(found.counts, a.counts)
    assert found.objects.tolist() == [[2, 2, 9, 9], [0, 1, 3, 3]]


def test_every_difference_is_told() -> None:
    a = counted(IMAGES)
    with pytest.raises(ValueError, match=r"split 'valid', received 'test'; .* received 1 that"):
        aligned(a, counted({"a": IMAGES["a"], "b": IMAGES["b"]}, split="test"))
    other = counted({**IMAGES, "b": [(1, 1, 7)]}, {"c": "elsewhere"})
    with pytest.raises(ValueError, match=r"groups, .* in 1 images; expected equal true pixels"):
        aligned(a, other)


def test_folds_are_joined_to_one_training() -> None:
    first = counted({"a": IMAGES["a"]}, fold=0, seed=1, objects=[(0, 1, 3, 3)])
    second = counted({"b": IMAGES["b"], "c": IMAGES["c"]}, fold=1, seed=1, objects=[(1, 2, 9, 9)])
    found = joined([first, second])

    assert (found.images, found.seed, found.fold) == (("a", "b", "c"), 1, None)
    np.testing.assert_array_equal(found.counts, counted(IMAGES).counts)
    assert found.objects.tolist() == [[0, 1, 3, 3], [2, 2, 9, 9]]


def test_folds_that_overlap_or_differ_are_refused() -> None:
    a = counted(IMAGES)
    with pytest.raises(ValueError, match="each image in one fold, received 3 in several"):
        joined([a, a])
    with pytest.raises(ValueError, match="expected classes"):
        joined([a, counted({"d": []}, classes=("background", "Crack"))])
    with pytest.raises(ValueError, match="received none"):
        joined([])


@pytest.mark.parametrize(
    ("fact", "ours", "theirs"), [("resolution", "native", "prepared"), ("flips", "none", "all")]
)
def test_resolutions_and_flips_are_never_mixed(fact: str, ours: str, theirs: str) -> None:
    a = counted(IMAGES)
    other = {fact: theirs, "name": "other"}
    with pytest.raises(ValueError, match=f"expected {fact} '{ours}', received '{theirs}'"):
        aligned(a, counted(IMAGES, **other))
    with pytest.raises(ValueError, match=f"{fact} '{ours}', received '{theirs}' of other"):
        joined([a, counted({"d": []}, **other)])
