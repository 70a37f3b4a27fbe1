"""Reads the magnetic tile data set as its authors publish it, and splits it without leaks.

Huang, Qiu and Yuan, "Surface defect saliency of magnetic tile" (The Visual Computer, 2018);
academic research only. Each tile was photographed up to six times in a row at rising exposures,
so that a split by file puts copies of the test tiles into the training set.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data_pipeline.config import SPLITS, SplitConfig
from data_pipeline.datasets.dataset_yaml import DatasetInfo, write_dataset_yaml
from data_pipeline.datasets.synthetic import CLASSES, FREE, color_mask, require_empty, write_image
from data_pipeline.problems import DataError, Problem

CITATION = (
    'Y. Huang, C. Qiu and K. Yuan, "Surface defect saliency of magnetic tile", '
    "The Visual Computer, 2018"
)
LICENSE = "academic research only, no commercial use"
SOURCE = f'Huang, Qiu and Yuan, "Surface defect saliency of magnetic tile" (2018); {LICENSE}'
SAME_TILE = 0.95
"""Correlation of two neighbouring bursts from which on they show one tile.

Measured on 345 published images: bursts that show one tile 0.975 to 0.992, the most alike of
different tiles 0.905 (all share the lamp and the grinding direction).
"""

_NAME = re.compile(r"exp(\d+)_num_(\d+)\.jpg", re.IGNORECASE)
_THRESHOLD = 128  # the published masks are anti-aliased
_THUMBNAIL = 64

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Photograph:
    """One published image.

    Attributes:
        label: Name of its class, `Free` for none.
        number: The N of its name, which counts the photographs as they were taken.
        exposure: The E of its name.
        path: The jpg; the mask lies beside it as png.
        share: Defect's share of the pixels, once the mask is read.
    """

    label: str
    number: int
    exposure: int
    path: Path
    share: float = 0.0

    @property
    def stem(self) -> str:
        """File stem in the converted data set, unique in it."""
        return f"{self.label}_exp{self.exposure}_num_{self.number}"


@dataclass(frozen=True)
class ConversionSummary:
    """What a conversion wrote.

    Attributes:
        out: The data set's folder.
        images: Images of each class (Free too) in each split: {split: {class: images}}.
        tiles: The same, counted in tiles.
        free_share: Share of free tiles' images among those written.
        free_left_out: Images of free tiles that were left out for it.
        merged: Tiles that were photographed in several bursts, the bursts' first stems each.
        skipped: Images left out because their masks contradict their class, and why.
    """

    out: Path
    images: dict[str, dict[str, int]]
    tiles: dict[str, dict[str, int]]
    free_share: float
    free_left_out: int
    merged: tuple[tuple[str, ...], ...]
    skipped: tuple[Problem, ...]


def convert(
    raw: Path,
    out: Path,
    *,
    free_share: float = 0.25,
    seed: int = 0,
    valid: float = 0.2,
    test: float = 0.2,
    progress: Progress | None = None,
) -> ConversionSummary:
    """Write `<split>/images`, `<split>/masks` (RGB) and dataset.yaml from the authors' layout.

    The jpg files are copied as they are. Images of a defect whose mask is empty are left out: as
    they stand, they would teach that the defect is background.

    Args:
        raw: Folder with `MT_<Class>/Imgs/exp<E>_num_<N>.jpg` and masks beside them as png.
        out: Folder to write to; new or empty.
        free_share: Images of free tiles are at most this share of all; more are left out, by
            whole tiles.
        seed: Of the split and of the free tiles left out.
        valid: Share of each class's images for validation; whole tiles, so it is met roughly.
        test: Share of each class's images for the test.
        progress: Called with (images done, images) after each.

    Returns:
        What was written.

    Raises:
        DataError: when the folders do not fit, or for files that cannot be read, all listed.
        ValueError: for shares out of range.
    """
    if not 0 <= free_share < 1:
        raise ValueError(f"expected a free_share of at least 0 and below 1, received {free_share}")
    shares = SplitConfig(valid=valid, test=test, seed=seed)
    require_empty(out)
    photographs, skipped = _usable(find_photographs(raw))
    found = find_tiles(photographs)
    tiles, left_out = _limit_free(found, free_share, seed)
    splits = assign_splits(tiles, shares)
    _write(out, tiles, splits, progress)
    written = [photograph for tile in tiles for photograph in tile]
    return ConversionSummary(
        out=out,
        images=_count(zip(splits, tiles, strict=True), images=True),
        tiles=_count(zip(splits, tiles, strict=True), images=False),
        free_share=sum(p.label == FREE for p in written) / max(1, len(written)),
        free_left_out=left_out,
        merged=tuple(
            tuple(burst[0].stem for burst in parts)
            for tile in found
            if len(parts := tuple(bursts(tile))) > 1
        ),
        skipped=skipped,
    )


def find_photographs(raw: Path) -> tuple[Photograph, ...]:
    """List the published images of all classes, in the order they were taken within a class.

    Raises:
        DataError: for missing class folders, files of other names, images without a mask and
            masks without an image.
    """
    photographs: list[Photograph] = []
    problems: list[Problem] = []
    for label in (*list(CLASSES)[1:], FREE):
        folder = raw / f"MT_{label}" / "Imgs"
        if not folder.is_dir():
            problems.append(Problem(str(folder), "expected the class's folder, found none"))
            continue
        for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
            name = _NAME.fullmatch(path.with_suffix(".jpg").name)
            partner = path.with_suffix(".png" if path.suffix == ".jpg" else ".jpg")
            if name is None or path.suffix not in (".jpg", ".png"):
                problems.append(Problem(str(path), "expected exp<E>_num_<N>.jpg or .png"))
            elif not partner.is_file():
                problems.append(Problem(str(path), f"expected {partner.name} beside it"))
            elif path.suffix == ".jpg":
                photographs.append(Photograph(label, int(name[2]), int(name[1]), path))
    if problems:
        raise DataError(problems, f"{raw} is not the published magnetic tile data set")
    return tuple(sorted(photographs, key=lambda p: (p.label, p.number)))


def bursts(photographs: Sequence[Photograph]) -> Iterator[tuple[Photograph, ...]]:
    """Cut photographs of one class, ordered by number, where the exposure does not rise."""
    burst: list[Photograph] = []
    for photograph in photographs:
        if burst and photograph.exposure <= burst[-1].exposure:
            yield tuple(burst)
            burst = []
        burst.append(photograph)
    if burst:
        yield tuple(burst)


def find_tiles(photographs: Sequence[Photograph]) -> tuple[tuple[Photograph, ...], ...]:
    """Group photographs by the tile they show.

    A burst is one tile; neighbouring bursts of a class that look the same are one tile too, for
    some tiles were photographed again at once.

    Raises:
        DataError: for images that cannot be read.
    """
    labels = dict.fromkeys(photograph.label for photograph in photographs)
    tiles: list[tuple[Photograph, ...]] = []
    for label in labels:
        series = list(bursts([p for p in photographs if p.label == label]))
        looks = [np.stack([_look(p.path) for p in burst]) for burst in series]
        for position, burst in enumerate(series):
            # The median: a frame that was cut differently must not hide that two are one.
            if position and np.median(looks[position - 1] @ looks[position].T) >= SAME_TILE:
                tiles[-1] += burst
            else:
                tiles.append(burst)
    return tuple(tiles)


def assign_splits(tiles: Sequence[Sequence[Photograph]], shares: SplitConfig) -> tuple[str, ...]:
    """Assign whole tiles to splits so that each class's images are shared out as asked.

    Within a class the tiles are dealt in order of the defect's size, each to the split that
    lacks most of its share of the images so far: every split gets small and large ones. Defects
    of one class differ a hundredfold in size; by chance, all large ones may be in one split.

    Returns:
        A split for each tile.
    """
    wanted = np.array([1 - shares.valid - shares.test, shares.valid, shares.test])
    rng = np.random.default_rng(shares.seed)
    chosen = [""] * len(tiles)
    for label in sorted({tile[0].label for tile in tiles}):
        mine = rng.permutation([i for i, tile in enumerate(tiles) if tile[0].label == label])
        sizes = np.array([np.mean([photograph.share for photograph in tiles[i]]) for i in mine])
        # From the largest or from the smallest, by the seed; equals stay in random order.
        order = mine[np.argsort(sizes * rng.choice([-1, 1]), kind="stable")]
        given = np.zeros(len(SPLITS))
        for tile in order:
            images = len(tiles[tile])
            lacking = wanted * (given.sum() + images) - given
            # Training is served first among equals, then one of the two by the seed.
            lacking += rng.permutation([0.0, 1e-6, 2e-6]) + np.array([1e-5, 0, 0])
            split = int(np.argmax(np.where(wanted > 0, lacking, -np.inf)))
            given[split] += images
            chosen[tile] = SPLITS[split]
    return tuple(chosen)


def _usable(
    photographs: Iterable[Photograph],
) -> tuple[tuple[Photograph, ...], tuple[Problem, ...]]:
    """Read every pair once: refuses what is broken, leaves out defects with an empty mask."""
    kept: list[Photograph] = []
    skipped: list[Problem] = []
    problems: list[Problem] = []
    for photograph in photographs:
        image = cv2.imread(str(photograph.path), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(_mask_path(photograph)), cv2.IMREAD_GRAYSCALE)
        if image is None or mask is None:
            broken = photograph.path if image is None else _mask_path(photograph)
            problems.append(Problem(str(broken), "expected an image, found what cannot be read"))
        elif image.shape != mask.shape:
            message = f"expected the mask's size {mask.shape}, received {image.shape}"
            problems.append(Problem(str(photograph.path), message))
        elif photograph.label != FREE and not (mask >= _THRESHOLD).any():
            message = f"expected a {photograph.label} in the mask, found it empty"
            skipped.append(Problem(str(photograph.path), message))
        elif photograph.label == FREE and (mask >= _THRESHOLD).any():
            problems.append(Problem(str(photograph.path), "expected an empty mask of a free tile"))
        else:
            kept.append(replace(photograph, share=float((mask >= _THRESHOLD).mean())))
    if problems:
        raise DataError(problems)
    return tuple(kept), tuple(skipped)


def _limit_free(
    tiles: Sequence[tuple[Photograph, ...]], share: float, seed: int
) -> tuple[list[tuple[Photograph, ...]], int]:
    """Drop free tiles, chosen by the seed, until their images are at most `share` of all."""
    defects = sum(len(tile) for tile in tiles if tile[0].label != FREE)
    allowed = share / (1 - share) * defects
    free = [position for position, tile in enumerate(tiles) if tile[0].label == FREE]
    count = sum(len(tiles[position]) for position in free)
    dropped: set[int] = set()
    for position in np.random.default_rng([seed, 1]).permutation(free):
        if count <= allowed:
            break
        dropped.add(int(position))
        count -= len(tiles[position])
    kept = [tile for position, tile in enumerate(tiles) if position not in dropped]
    return kept, sum(len(tiles[position]) for position in dropped)


def _write(
    out: Path,
    tiles: Sequence[Sequence[Photograph]],
    splits: Sequence[str],
    progress: Progress | None,
) -> None:
    for split in dict.fromkeys(splits):
        for kind in ("images", "masks"):
            (out / split / kind).mkdir(parents=True)
    total = sum(len(tile) for tile in tiles)
    groups: dict[str, str] = {}
    for tile, split in zip(tiles, splits, strict=True):
        for photograph in tile:
            stem = photograph.stem
            shutil.copyfile(photograph.path, out / split / "images" / f"{stem}.jpg")
            grey = np.asarray(cv2.imread(str(_mask_path(photograph)), cv2.IMREAD_GRAYSCALE))
            index = 0 if photograph.label == FREE else list(CLASSES).index(photograph.label)
            mask = np.where(grey >= _THRESHOLD, index, 0).astype(np.uint8)
            write_image(out / split / "masks" / f"{stem}.png", color_mask(mask))
            groups[stem] = f"{photograph.label}_{tile[0].number}"
            if progress is not None:
                progress(len(groups), total)
    info = DatasetInfo(
        name="magnetic-tile",
        source=SOURCE,
        classes=dict(CLASSES),
        groups=groups,
        license=LICENSE,
        citation=CITATION,
    )
    write_dataset_yaml(out, info)


def _count(
    pairs: Iterable[tuple[str, Sequence[Photograph]]], *, images: bool
) -> dict[str, dict[str, int]]:
    counts: Mapping[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for split, tile in pairs:
        counts[split][tile[0].label] += len(tile) if images else 1
    order = (*list(CLASSES)[1:], FREE)
    return {split: {label: counts[split][label] for label in order} for split in SPLITS}


def _mask_path(photograph: Photograph) -> Path:
    return photograph.path.with_suffix(".png")


def _look(path: Path) -> npt.NDArray[np.float32]:
    """Return what an image looks like whatever its exposure: float32 [n] of length 1.

    The logarithm makes exposure an offset; taking out what is smooth removes it and the lamp.
    """
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise DataError([Problem(str(path), "expected an image, found what cannot be read")])
    size = (_THUMBNAIL, _THUMBNAIL)
    small = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    light = np.log(small + 8.0)
    detail = light - cv2.GaussianBlur(light, (0, 0), 6)
    detail = cv2.GaussianBlur(detail, (0, 0), 1).ravel()
    detail -= detail.mean()
    return np.asarray(detail / max(float(np.linalg.norm(detail)), 1e-6), np.float32)
