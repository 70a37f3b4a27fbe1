"""Folders that appear whole, in one step: made beside their place, then moved there."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path


def check_replaceable(out: Path, names: Collection[str], mark: str, what: str) -> None:
    """Refuse a folder that holds anything but what was written there before.

    Args:
        out: The folder, which need not be there.
        names: Of the files that such a folder may hold.
        mark: The one that each of them holds: others may have files of these names too.
        what: What it is: "an earlier evaluation".

    Raises:
        FileExistsError: naming what it holds.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out}: expected a folder to write, received a file")
    held = {path.name for path in out.iterdir()}
    others = sorted(held - set(names) or (held if mark not in held else set()))
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        raise FileExistsError(
            f"{out}: expected a new or empty folder or {what}, found {', '.join(others[:5])}{more}"
        )


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of ``out`` when all is written; nothing changes before.

    Raises:
        OSError: where it cannot be written, naming ``out`` where the system names no file, as of a
            disk that is full; what stood there stands.
    """
    check_movable(out)
    out = out.resolve()  # of a link, the folder that it leads to
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield made
        made.chmod(0o755)  # mkdtemp makes it private
        _sync(made)
        _move_into_place(made, out)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise naming(error, out) from None
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def check_movable(out: Path) -> None:
    """Refuse the working directory, or one around it: a shell would be left in a folder gone.

    Raises:
        FileExistsError: for one of these.
    """
    if Path.cwd().is_relative_to(out.resolve()):
        raise FileExistsError(
            f"{out}: expected another folder than the working directory, since it is replaced as "
            "a whole"
        )


def naming(error: OSError, path: Path) -> OSError:
    """Return the error with a path, where it tells none: a full disk is told by ``write`` alone."""
    if error.errno is None or error.filename is not None:
        return error
    return OSError(error.errno, error.strerror, str(path))


def _sync(folder: Path) -> None:
    """Have every file on the disk before its folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _move_into_place(made: Path, out: Path) -> None:
    if not out.exists():
        os.rename(made, out)
        return
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        os.rename(out, aside)  # onto the empty folder just made
    except BaseException:
        aside.rmdir()
        raise
    try:
        os.rename(made, out)
    except BaseException:
        os.rename(aside, out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
