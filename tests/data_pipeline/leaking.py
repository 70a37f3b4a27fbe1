"""A data set as the reference's authors split theirs: augmented first, then divided by file."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np


def augment_then_split(source: Path, out: Path, hide: bool, seed: int = 0) -> dict[str, str]:
    """Write copies of every training image of a data set, all of them divided at random.

    Args:
        source: A divided data set with dataset.yaml.
        out: Folder to write.
        hide: Whether the names are numbers, so that nothing but the pictures tells.
        seed: Of the division.

    Returns:
        Stem written to the stem of its original.
    """
    rng = np.random.default_rng(seed)
    originals: dict[str, str] = {}
    for image_path in sorted((source / "train" / "images").iterdir()):
        (mask_path,) = (source / "train" / "masks").glob(f"{image_path.stem}.*")
        image, mask = (cv2.imread(str(p), cv2.IMREAD_COLOR) for p in (image_path, mask_path))
        for prefix, flip in (("", None), ("hflipped_", 1), ("vflipped_", 0)):
            stem = f"{prefix}{image_path.stem}"
            stem = f"{len(originals):05d}" if hide else stem
            originals[stem] = image_path.stem
            split = str(rng.choice(["train", "valid", "test"], p=[0.6, 0.2, 0.2]))
            for kind, pixels in (("images", image), ("masks", mask)):
                folder = out / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                turned = pixels if flip is None else cv2.flip(pixels, flip)
                cv2.imwrite(str(folder / f"{stem}.png"), turned)
    shutil.copy(source / "dataset.yaml", out / "dataset.yaml")
    return originals
