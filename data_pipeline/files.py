"""Files and folders that appear whole or not at all, and errors that name them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a folder that becomes `out` when all is written, and nothing before."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir()
        yield part
        os.replace(part, out)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        # A disk that fills while a file is written is told without a name.
        raise OSError(error.errno, error.strerror, str(out)) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a file that takes the place of ``path`` when the block ends well, else goes.

    Raises:
        OSError: naming ``path``.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or _is_other(error.filename, path):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _is_other(name: object, path: Path) -> bool:
    """Tell a file that an error names from ``path`` and from what is written in its stead."""
    return name is not None and not Path(os.fsdecode(str(name))).name.startswith(f".{path.name}.")
