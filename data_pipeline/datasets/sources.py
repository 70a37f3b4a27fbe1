"""Finds the items of a data set, an image and its mask each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.config import SPLITS, SYNTHETIC, Color, DataConfig, SplitConfig
from data_pipeline.datasets.dataset_yaml import DATASET_YAML, read_dataset_yaml
from data_pipeline.datasets.splits import group_names
from data_pipeline.datasets.synthetic import ensure_synthetic
from data_pipeline.problems import DataError, Problem

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".npz")
_LITTER = ("thumbs.db", "desktop.ini")  # file managers leave these; hidden files too
_MISNAMED = {"val": "valid", "validation": "valid", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class Item:
    """One image and its mask.

    Attributes:
        stem: Their common file stem, after the folder below images/ where they lie in one:
            `part4/a` of images/part4/a.jpg and masks/part4/a.png.
        image: Image file.
        mask: Mask file.
        split: train, valid or test; None where the data is not divided yet.
        group: The object photographed.
    """

    stem: str
    image: Path
    mask: Path
    split: str | None
    group: str


@dataclass(frozen=True)
class Dataset:
    """A data set as found on the disk, nothing decoded yet.

    Attributes:
        root: Its folder.
        source: Where it comes from, as dataset.yaml or the folder's name tells.
        classes: Class name to RGB colour, in index order.
        items: Image and mask pairs, by split and stem.
        problems: Files that form no item, and why.
        divided: Whether the folder has splits of its own.
    """

    root: Path
    source: str
    classes: dict[str, Color]
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    divided: bool


def resolve_source(config: DataConfig) -> Path:
    """Return the folder of the data set; writes the embedded synthetic one on first use.

    Raises:
        DataError: when there is no such folder.
    """
    if config.source == SYNTHETIC:
        return ensure_synthetic(config.synthetic_seed, config.synthetic_tiles)
    root = Path(config.source).expanduser()
    if not root.is_dir():
        raise DataError([Problem(str(root), "expected a folder (data.source), found none")])
    return root


def find_dataset(config: DataConfig) -> Dataset:
    """Find every item of the configured data set by name; decode nothing.

    Returns:
        The items, and the files that form none.

    Raises:
        DataError: when nothing can be read at all: no such folder, no classes, no images/.
    """
    root = resolve_source(config)
    info = read_dataset_yaml(root)
    classes = config.classes or (info.classes if info else None)
    if classes is None:
        raise DataError([Problem(str(root / DATASET_YAML), _NO_CLASSES)])
    splits = [name for name in SPLITS if (root / name).is_dir()]
    wrong = list(_check_layout(root, splits))
    if wrong:
        raise DataError(wrong)
    folders: list[tuple[str | None, Path]] = [(name, root / name) for name in splits]
    pairs: list[_Pair] = []
    problems: list[Problem] = []
    for split, folder in folders or [(None, root)]:
        found, wrong = _pair(split, folder / "images", folder / "masks")
        pairs += found
        problems += wrong
    items, ungrouped = _grouped(root, pairs, info.groups if info else {}, config.split)
    source = info.source if info else root.resolve().name
    found_problems = (*problems, *ungrouped)
    return Dataset(root, source, dict(classes), items, found_problems, bool(splits))


_Pair = tuple[str | None, str, Path, Path]  # split, stem, image, mask


def _grouped(
    root: Path, pairs: Sequence[_Pair], listed: Mapping[str, str], config: SplitConfig
) -> tuple[tuple[Item, ...], list[Problem]]:
    items, problems = [], []
    stems = [stem for _, stem, _, _ in pairs]
    groups = group_names(stems, listed, config.group_pattern, config.group_folders)
    expected = f"a name in which data.split.group_pattern {config.group_pattern!r} occurs"
    if config.group_folders:
        expected = "a sub-folder that names the object (data.split.group_folders), found none"
    for (split, stem, image, mask), group in zip(pairs, groups, strict=True):
        if group is None:
            problems.append(Problem(str(image), f"expected {expected}"))
        else:
            items.append(Item(stem, image, mask, split, group))
    if not (config.group_folders or config.group_pattern):
        problems += _bare_names(root, stems, listed)
    return tuple(items), problems


def _bare_names(root: Path, stems: Sequence[str], listed: Mapping[str, str]) -> Iterator[Problem]:
    """Name in dataset.yaml's groups that lack the sub-folder of the picture they mean."""
    below: dict[str, str] = {}
    for stem in stems:
        below.setdefault(stem.rpartition("/")[2], stem)
    known = set(stems)
    lost = [name for name in listed if name not in known and "/" in below.get(name, "")]
    if lost:
        yield Problem(
            str(root / "dataset.yaml"),
            f"expected in groups the stems with their sub-folders, such as {below[lost[0]]!r}, "
            f"received {lost[0]!r}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else ""),
        )


_NO_CLASSES = (
    "expected the classes here or in the config as data.classes, found neither. Write for "
    "example\n    format: 1\n    classes: {background: [0, 0, 0], scratch: [255, 0, 0]}"
)


def _check_layout(root: Path, splits: Sequence[str]) -> Iterator[Problem]:
    single = [name for name in ("images", "masks") if (root / name).is_dir()]
    for wrong, right in _MISNAMED.items():
        if (root / wrong / "images").is_dir() and right not in splits:
            yield Problem(str(root / wrong), f"expected the name {right!r} for this split")
    if splits and single:
        yield Problem(str(root), f"expected split folders or images/ + masks/, found {splits} and "
                      f"{single}")  # fmt: skip
    if not splits and not single:
        yield Problem(
            str(root),
            "expected <split>/images and <split>/masks (splits train, valid, test) or one "
            "images/ and masks/, found neither",
        )
    if splits:
        for split in SPLITS[:2]:
            if split not in splits:
                yield Problem(str(root / split), f"expected the split {split!r}, found no folder")
    for folder in [root / split for split in splits] or ([root] if single else []):
        for name in ("images", "masks"):
            if not (folder / name).is_dir():
                yield Problem(str(folder / name), "expected a folder, found none")


def _pair(split: str | None, images: Path, masks: Path) -> tuple[list[_Pair], list[Problem]]:
    """Pair images and masks by folder and stem."""
    image_files, problems = _list(images, "image", IMAGE_SUFFIXES)
    mask_files, wrong = _list(masks, "mask", MASK_SUFFIXES)
    problems += wrong
    pairs = []
    for stem in sorted(image_files.keys() | mask_files.keys()):
        image, mask = image_files.get(stem, []), mask_files.get(stem, [])
        if len(image) == len(mask) == 1:
            pairs.append((split, stem, image[0], mask[0]))
        for files in (image, mask):
            if len(files) > 1:
                names = ", ".join(file.name for file in files)
                message = f"duplicate stem: expected one file, found {names}"
                problems += [Problem(str(file), message) for file in files]
        if not mask:
            problems += [Problem(str(file), f"image without mask in {masks}") for file in image]
        if not image:
            problems += [Problem(str(file), f"mask without image in {images}") for file in mask]
    return pairs, problems


def _list(
    folder: Path, kind: str, suffixes: Iterable[str]
) -> tuple[dict[str, list[Path]], list[Problem]]:
    files: dict[str, list[Path]] = defaultdict(list)
    problems = []
    for path in _descend(folder):
        if path.suffix.lower() in suffixes and not path.is_dir():
            files[path.relative_to(folder).with_suffix("").as_posix()].append(path)
        else:
            found = "a link to a folder" if path.is_dir() else f"{path.suffix or 'no suffix'!r}"
            expected = ", ".join(suffixes)
            problems.append(Problem(str(path), f"expected a {kind} ({expected}), found {found}"))
    return files, problems


def _descend(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder; links to folders as such, since they may lead in circles."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _LITTER:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _descend(path)
        else:
            yield path
