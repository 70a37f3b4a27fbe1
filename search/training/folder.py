"""The folder of a training: what it is of, whether it may be continued, what came of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from data_pipeline.stores.store import Store
from foundation.files import write_text
from model.config import TrainConfig
from results.records import file_names
from results.records.epochs import Epoch
from search.config.errors import ConfigError
from search.config.loading import config_from_record
from search.config.schema import StudyConfig
from search.process.hardware import git_revision, versions

RECORD = file_names.TRAINING

CHECKPOINTS = (file_names.LAST, file_names.PREVIOUS, file_names.MODEL)

_MOST_NAMED = 5


def check_folder(out_dir: Path) -> None:
    """Refuse a folder that holds anything but a training.

    Raises:
        ConfigError: naming what it holds.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise ConfigError(str(out_dir), ["expected a folder, received a file"])
    if not out_dir.is_dir() or (out_dir / RECORD).exists():
        return
    # A temporary one of ours is what an interrupted first start leaves.
    found = sorted(p.name for p in out_dir.iterdir() if not p.name.startswith(f".{RECORD}."))
    if found:
        more = f" and {len(found) - _MOST_NAMED} more" if found[_MOST_NAMED:] else ""
        raise ConfigError(
            str(out_dir),
            [
                f"expected an empty folder or one with a {RECORD}, received "
                f"{', '.join(found[:_MOST_NAMED])}{more}; choose another OUT_DIR"
            ],
        )


@contextlib.contextmanager
def only_here(out_dir: Path) -> Iterator[None]:
    """Keep other processes of this machine from training in the same folder meanwhile.

    The lock ends with the process, however that ends.

    Args:
        out_dir: The folder, which is there.

    Raises:
        ConfigError: where another process trains there.
    """
    folder = os.open(out_dir, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network share without locks
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                problem = (
                    "another process trains in it; wait for its end, or choose another OUT_DIR"
                )
                raise ConfigError(str(out_dir), [problem]) from None
        yield
    finally:
        os.close(folder)


def record_training(
    config: StudyConfig,
    store: Store,
    out_dir: Path,
    *,
    final_epochs: int | None = None,
    deterministic: bool = False,
) -> None:
    """Write training.yaml, or refuse to continue another training.

    Args:
        config: Of constants.
        store: The prepared data, training and validation apart.
        out_dir: The folder; made where it is missing.
        final_epochs: Of a training on both splits, its epochs; None: of one that is validated.
        deterministic: Whether the same bits come out again; recorded as true only where all of it
            was.

    Raises:
        ConfigError: naming every field that differs from the folder's own.
    """
    path = out_dir / RECORD
    record = {
        "config": config.to_tree(),
        "data_fingerprint": store.fingerprint,
        "classes": dict(zip(store.classes, map(list, store.colors), strict=True)),
        "resize": config.data.resize,
        "final": final_epochs is not None,
        **({} if final_epochs is None else {"epochs": final_epochs}),
        "deterministic": deterministic,
        "versions": versions(),
        "git_revision": git_revision(),
    }
    if path.exists():
        problems = list(_differences(path, record))
        if problems:
            raise ConfigError(str(out_dir), [*problems, "choose another OUT_DIR"])
        record["deterministic"] = deterministic and _was_deterministic(path)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(path, _yaml(record))


def record_result(out_dir: Path, objective: str, best: Epoch) -> None:
    """Add to training.yaml which epoch the model is of, and its scores.

    Args:
        out_dir: The folder.
        objective: Name of what was maximised.
        best: The epoch.
    """
    path = out_dir / RECORD
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    record["best_epoch"] = best.epoch
    record["train_loss"] = best.train_loss
    if best.dice:
        record["validation_loss"] = best.validation_loss
        record["scores"] = {
            "mean_foreground_dice": best.mean_foreground_dice,
            objective: best.objective,
            "dice": dict(best.dice),
        }
    write_text(path, _yaml(record))


def bytes_needed(parameters: int, train: TrainConfig) -> int:
    """Return what the checkpoints and models of a training take on the disk.

    The checkpoint, the one before it and the one that is being written, each with the weights, the
    optimizer's two moments and an average where there is one; the best model, and the one that is
    to take its place. Four bytes a number.
    """
    arrays = 4 if train.weight_averaging else 3
    return 4 * (3 * arrays + 2) * parameters


def check_space(out_dir: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        out_dir: The folder, which is there.
        needed: Bytes in all; see :func:`bytes_needed`.

    Raises:
        OSError: ENOSPC, with what is needed and what is free.
    """
    there = sum(os.path.getsize(p) for name in CHECKPOINTS if (p := out_dir / name).exists())
    needed = max(0, needed - there)
    free = shutil.disk_usage(out_dir).free
    if free < needed:
        raise OSError(errno.ENOSPC, space_problem(needed, free), str(out_dir))


def space_problem(needed: float, free: float) -> str:
    """Say what a training needs of its disk, in bytes, and what is free there."""
    return (
        f"the disk is full: the checkpoints and models need {needed / 1e6:,.1f} MB, "
        f"{free / 1e6:,.1f} MB are free; make room there"
    )


def is_full(error: OSError) -> bool:
    """Tell whether a disk had no room; HDF5 says so in words alone."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or f"errno = {errno.ENOSPC}" in str(error)


def _differences(path: Path, record: Mapping[str, Any]) -> Iterator[str]:
    try:
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    if not isinstance(before, dict) or not isinstance(before.get("config"), dict):
        raise ConfigError(str(path), ["expected the fields config and data_fingerprint"])
    # Through the schema, so that a field that is newer than the training has its default.
    tree = config_from_record(before["config"], str(path)).to_tree()
    old, new = _trained({**before, "config": tree}), _trained(record)
    for name, value in new.items():
        if name == "epochs" and old["final"] != new["final"]:
            continue  # told by final
        if old.get(name) != value:
            yield f"{name}: expected {old.get(name)!r} as in {path.name}, received {value!r}"


def _was_deterministic(path: Path) -> bool:
    """Return whether what a folder's training has so far was trained so; it may have no epoch
    yet.
    """
    if not any((path.parent / name).exists() for name in CHECKPOINTS):
        return True
    return yaml.safe_load(path.read_text(encoding="utf-8")).get("deterministic") is True


def _trained(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training depends on, by dotted name; where the data lie is not of it."""
    config = record["config"]
    places = {"data.source", "data.store_path"}
    fields = {
        f"{section}.{name}": value
        for section in ("data", "augment", "model", "train")
        for name, value in config.get(section, {}).items()
    }
    return {name: value for name, value in fields.items() if name not in places} | {
        "study.seed": config.get("study", {}).get("seed"),
        "search.objective": config.get("search", {}).get("objective"),
        "search.class_weights": config.get("search", {}).get("class_weights"),
        "data_fingerprint": record.get("data_fingerprint"),
        "final": record.get("final", False),
        "epochs": record.get("epochs"),  # of a final one; the learning rates go over them
    }


def _yaml(record: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True)
