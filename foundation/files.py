"""Files and folders that appear whole or not at all, read leniently, and errors that name them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; empty where there is none that can be read.

    For facts that are no more than useful: what is read may be missing, older, or being written.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def modified(path: Path) -> float | None:
    """Return when a file was last written, in seconds since 1970; None where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def write_json(path: Path, value: Mapping[str, Any], durable: bool = True) -> None:
    """Write JSON as :func:`write_text` writes a text.

    Raises:
        ValueError: for a number that is not finite, which JSON cannot hold.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n", durable)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file so that a reader finds the old one or the new one, never a part.

    Args:
        path: The file, in a folder that is there.
        text: Its contents, written as UTF-8.
        durable: Whether it must outlast a power cut from now on.
    """
    with whole_file(path, durable=durable) as temporary:
        temporary.write_bytes(text.encode())


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = True, suffix: str = ".tmp") -> Iterator[Path]:
    """Lend a file beside ``path`` that takes its place when the block ends well, else goes.

    Args:
        path: The file.
        durable: Whether it must outlast a power cut from now on.
        suffix: Of the file that is lent, for writers that go by it.

    Raises:
        OSError: naming ``path``; an earlier file is then kept.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private
        if durable:
            _sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise naming(error, path) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # gives a full disk its room back
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(out: Path, *, durable: bool = True) -> Iterator[Path]:
    """Lend a folder that takes the place of ``out`` when the block ends well, else goes.

    Args:
        out: The folder; one that is there is replaced as a whole.
        durable: Whether its files must outlast a power cut from now on.

    Raises:
        OSError: naming ``out`` where the system names no other file; what was there is kept.
    """
    check_movable(out)
    out = out.resolve()  # of a link, the folder that it leads to
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield made
        made.chmod(0o755)  # mkdtemp makes it private
        for path in made.rglob("*") if durable else ():
            if path.is_file():
                _sync(path)
        _move_into_place(made, out)
    except OSError as error:
        raise naming(error, out) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def put_link(source: Path, target: Path) -> None:
    """Let a file be at another place of its folder's disk, too, in one step; an existing one goes.

    By a hard link, or a copy on a file system without them. The source must be replaced from then
    on, never written into.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


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
    """Return the error with a path, where it names none or the one that is written in its stead.

    A full disk is noticed by ``write`` alone, which knows no name.
    """
    told = None if error.filename is None else Path(os.fsdecode(str(error.filename))).name
    if error.errno is None or (told is not None and not told.startswith(f".{path.name}.")):
        return error
    return OSError(error.errno, error.strerror, str(path))


def _sync(path: Path) -> None:
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
