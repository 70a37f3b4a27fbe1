"""What a prepared store is made of, as one number: names, contents, classes and settings."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_pipeline.config import DataConfig
from data_pipeline.datasets.sources import Dataset
from data_pipeline.problems import relative_problems
from data_pipeline.stores.facts import in_order
from data_pipeline.stores.store import FORMAT
from foundation.files import read_json, write_text

DIGESTS = "digests.json"
_SAVE_SECONDS = 30.0
# Settings of the split that came after the first stores: at their defaults they are left out of
# the fingerprint, so that those stores are found again.
_LATER = {"group_folders", "folds", "fold"}


def fingerprint_of(
    dataset: Dataset, config: DataConfig, root: Path, workers: int | None = None
) -> str:
    """sha256 of the items' names and contents, the classes and the settings that matter.

    Args:
        dataset: The items.
        config: Their settings.
        root: The folder of stores, where the files' digests are kept.
        workers: Threads that read files; None for one a core.

    Returns:
        64 hexadecimal digits.
    """
    files = [file for item in dataset.items for file in (item.image, item.mask)]
    digests = _digests(files, dataset.root, root / DIGESTS, workers or os.cpu_count() or 1)
    problems = relative_problems(dataset.problems, dataset.root)
    content = {
        "format": FORMAT,
        "settings": settings_of(config),
        "classes": list(dataset.classes.items()),
        "items": [[item.split, item.stem, item.group] for item in dataset.items],
        "files": [
            [str(f.relative_to(dataset.root)), d] for f, d in zip(files, digests, strict=True)
        ],
        "problems": [[p.path, p.message] for p in problems],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def settings_of(config: DataConfig) -> dict[str, Any]:
    """Return what a store depends on besides its files and classes."""
    settings = config.model_dump(
        mode="json",
        exclude={"source", "store_path", "classes", "synthetic_seed", "synthetic_tiles"},
    )
    later = config.split.model_dump(mode="json", include=_LATER, exclude_defaults=True)
    settings["split"] = config.split.model_dump(mode="json", exclude=_LATER) | later
    return settings


def _digests(files: Sequence[Path], base: Path, cache: Path, workers: int) -> list[str]:
    """sha256 of each file; one that has kept its size and times since the last run is not read."""
    known = read_json(cache)

    def entry(file: Path) -> list[Any]:
        try:
            found = file.stat()
            state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
            old = known.get(str(file.relative_to(base)))
            if isinstance(old, list) and old[:3] == state and len(old) == 4:
                return old
            return [*state, hashlib.sha256(file.read_bytes()).hexdigest()]
        except OSError:  # an unreadable file is reported when it is decoded
            return [0, 0, 0, "unreadable"]

    fresh: dict[str, list[Any]] = {}
    saved = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        for file, found in zip(files, in_order(pool, entry, files, 16 * workers), strict=True):
            fresh[str(file.relative_to(base))] = found
            if time.monotonic() - saved > _SAVE_SECONDS:  # for who is killed in a long reading
                write_text(cache, json.dumps(known | fresh), durable=False)
                saved = time.monotonic()
    if fresh != known:
        write_text(cache, json.dumps(fresh), durable=False)
    return [str(found[3]) for found in fresh.values()]
