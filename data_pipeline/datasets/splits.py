"""Splitting by group, so that no photographed object is in two splits."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import SPLITS, SplitConfig
from data_pipeline.problems import DataError, Problem

_NUMBER = r"-?\d+(?:\.\d+)?"

# Names that TensorFlow-FlexUNet's augmentors give to the copies they write beside an original.
_EXACT = re.compile(
    "^(?:"
    r"[hv]?flipped_|mirrored_"
    rf"|rotated_{_NUMBER}_"
    rf"|(?:shrinked|resized)_{_NUMBER}_"
    rf"|distorted_{_NUMBER}_rsigma{_NUMBER}_sigma{_NUMBER}_"
    rf"|deformed_alpha_?{_NUMBER}_sig[a-z]*_?{_NUMBER}_"
    rf"|(?:barr|pinc)distorted_{_NUMBER}_{_NUMBER}_{_NUMBER}_"
    ")(?=.)"
)
# How many numbers follow these differs between its generators.
_OPEN = re.compile(
    r"^(?:sheared|sharpened|brightened|barrdistorted|pincdistorted|distorted|deformed|shrinked"
    r"|rotated)_(?=.)"
)
_PARAMETER = re.compile(rf"^(?:[a-z]+_?)?{_NUMBER}_(?=.)")


def original_stem(stem: str, known: Collection[str] = ()) -> str:
    """Return the stem without the prefixes of known augmentations, `hflipped_rotated_90_7` -> `7`.

    Args:
        stem: File stem, below its folder where there is one: of `b/hflipped_7` it is `b/7`.
        known: Stems of originals. Where it is not certain how many numbers belong to a prefix
            (`brightened_2_10_5` may be a copy of `10_5` or of `5`), the longest of these wins;
            without one only the word is stripped.
    """
    folder, slash, name = stem.rpartition("/")
    while (path := f"{folder}{slash}{name}") not in known:
        exact = _EXACT.match(name)
        if exact:
            name = name[exact.end() :]
            continue
        word = _OPEN.match(name)
        if word is None:
            break
        rests = [name[word.end() :]]
        while match := _PARAMETER.match(rests[-1]):
            rests.append(rests[-1][match.end() :])
        name = next((r for r in rests if f"{folder}{slash}{r}" in known), rests[0])
    return path


def group_names(
    stems: Sequence[str],
    listed: Mapping[str, str],
    pattern: str | None,
    folders: bool = False,
) -> tuple[str | None, ...]:
    """Return the group of each stem: what it shows a picture of.

    Args:
        stems: File stems.
        listed: Stem to group, from dataset.yaml; also looked up without augmentation prefixes.
        pattern: `SplitConfig.group_pattern`, which overrules the list.
        folders: `SplitConfig.group_folders`, which does too.

    Returns:
        A group a stem; None where the pattern is given and does not occur in the stem, or folders
        are asked for and it lies in none.
    """
    if folders:
        return tuple(stem.rpartition("/")[0] or None for stem in stems)
    if pattern is not None:
        return tuple(_match(pattern, stem) for stem in stems)
    names = {stem: stem.rpartition("/")[2] for stem in stems}
    plain = {stem for stem, n in names.items() if not (_EXACT.match(n) or _OPEN.match(n))}
    known = plain | set(listed)
    known |= {original_stem(stem, known) for stem, n in names.items() if _EXACT.match(n)}
    groups = []
    for stem in stems:
        original = original_stem(stem, known)
        groups.append(listed.get(stem) or listed.get(original) or original)
    return tuple(groups)


def _match(pattern: str, stem: str) -> str | None:
    found = re.search(pattern, stem)
    if found is None:
        return None
    return found.group(1) if found.re.groups and found.group(1) else found.group(0)


def split_by_group(
    groups: Sequence[str], pixels: NDArray[np.int64], config: SplitConfig
) -> tuple[str, ...]:
    """Assign items to splits: a group is never divided, each class is spread by its share.

    Groups are taken in random order within each class, the class in fewest groups first. Each
    goes to a split that does not show the class yet, else to the one that lacks most of it (after
    Sechidis et al., "On the Stratification of Multi-Label Data", 2011): a class in three groups is
    in all three splits. The result depends on the seed and on the set of
    items, not on their order.

    Args:
        groups: Group of each of n items.
        pixels: int64 [n, C], pixels of each class; an item counts for every class it shows.
        config: Shares and seed; with folds, what is not for the test is divided into them.

    Returns:
        A split for each item. Splits may come out empty when there are too few groups.

    Raises:
        DataError: for more folds than groups that are not for the test.
    """
    shares = np.array([1 - config.valid - config.test, config.valid, config.test])
    splits = [SPLITS[share] for share in _deal(groups, pixels, shares, config.seed)]
    if config.folds is None:
        return tuple(splits)
    rest = [item for item, split in enumerate(splits) if split != "test"]
    folds = folds_by_group([groups[n] for n in rest], pixels[rest], config.folds, config.seed)
    for item, fold in zip(rest, folds, strict=True):
        splits[item] = "valid" if fold == config.fold else "train"
    return tuple(splits)


def folds_by_group(
    groups: Sequence[str], pixels: NDArray[np.int64], folds: int, seed: int
) -> tuple[int, ...]:
    """Assign items to folds of equal shares, as `split_by_group` does to splits.

    Each group is in one fold, each class in as many folds as its groups allow; the result depends
    on the seed and on the set of items, not on their order.

    Args:
        groups: Group of each of n items.
        pixels: int64 [n, C], pixels of each class; an item counts for every class it shows.
        folds: Number of folds, at least 2.
        seed: Of the order in which groups are dealt.

    Returns:
        A fold for each item, counted from 0.

    Raises:
        DataError: when a fold would be empty, as with more folds than groups.
    """
    dealt = _deal(groups, pixels, np.full(folds, 1 / folds), seed)
    if len(set(dealt)) < folds:
        message = (
            f"expected at most as many folds as groups for training and validation, received "
            f"{folds} folds and {len(set(groups))} groups"
        )
        raise DataError([Problem("data.split.folds", message)])
    return dealt


def _deal(
    groups: Sequence[str], pixels: NDArray[np.int64], shares: NDArray[np.float64], seed: int
) -> tuple[int, ...]:
    """Return the share that each item goes to, none of them dividing a group."""
    names = sorted(set(groups))
    index = {name: position for position, name in enumerate(names)}
    content = np.zeros((len(names), pixels.shape[1]))
    for group, row in zip(groups, pixels, strict=True):
        content[index[group]] += row > 0
    content[:, 0] = 0  # every image has background; free groups get a column of their own
    content[~content.any(axis=1), 0] = 1
    sizes = np.bincount([index[group] for group in groups], minlength=len(names)).astype(float)
    chosen = _stratify((content > 0).astype(float), sizes, shares, seed)
    return tuple(int(chosen[index[group]]) for group in groups)


def _stratify(
    content: NDArray[np.float64], sizes: NDArray[np.float64], shares: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """Split index of each group; content [groups, classes] is 1 where a group shows a class."""
    wanted = np.outer(shares, content.sum(axis=0))
    wanted_images = shares * sizes.sum()
    held = np.zeros_like(wanted)
    chosen = np.full(len(content), -1, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(content))
    for label in _rarest_first(content):
        for group in order:
            if chosen[group] >= 0 or not content[group, label]:
                continue
            missing = wanted[:, label] - held[:, label]
            split = _neediest(held[:, label] == 0, missing, wanted_images, shares)
            chosen[group] = split
            held[split] += content[group]
            wanted_images[split] -= sizes[group]
    return chosen


def _neediest(
    lacking: NDArray[np.bool_],
    missing: NDArray[np.float64],
    missing_images: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> int:
    """Without the class; then most of it missing; then most images. A share of 0 takes none."""
    return max(
        (split for split in range(len(shares)) if shares[split] > 0),
        key=lambda s: (bool(lacking[s]), round(float(missing[s]), 9), float(missing_images[s])),
    )


def _rarest_first(content: NDArray[np.float64]) -> Iterable[int]:
    counts = content.sum(axis=0)
    return (int(label) for label in np.argsort(counts, kind="stable") if counts[label])
