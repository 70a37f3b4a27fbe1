"""The files of a study directory: how they are written whole, and where a trial's lie."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results.staging import naming


def trial_folder(directory: Path, number: int) -> Path:
    """Return the folder of a trial in the study directory."""
    return directory / "trials" / f"{number:05d}"


def write_json(path: Path, value: Mapping[str, Any], durable: bool = True) -> None:
    """Write JSON so that a reader finds the old file or the new one, never a part."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n", durable)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file atomically, into a folder that is there.

    Args:
        path: The file.
        text: Its contents.
        durable: Whether it must outlast a power cut from now on.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # gives a full disk its room back
            temporary.unlink(missing_ok=True)
        raise naming(error, path) from None
