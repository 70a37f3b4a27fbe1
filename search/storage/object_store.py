"""Files in an object store: S3, Google's and whatever else pyarrow or fsspec know by its URL.

An object appears whole or not at all. Credentials come from the environment, as each store's own
tools find them, never from the URL.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from foundation.errors import first_line
from foundation.files import whole_file
from results.records import file_names
from search.config.locations import copy_of, is_url, joined

if TYPE_CHECKING:
    from results.exports.options import ExportOptions

MOST_READS = 10
BLOCK = 8 * 2**20


class RemoteTroubleError(OSError):
    """A store that refuses or does not answer; ``search/storage/retry.py`` waits for it."""

    def __init__(self, error: BaseException, url: str) -> None:
        # Not its own number: whatever a store answers, from 503 to an expired token, may pass.
        super().__init__(errno.EHOSTUNREACH, re.sub(r" \(Request ID.*", "", first_line(error)), url)


@dataclass(frozen=True)
class Entry:
    """A file of a store: its name below a folder, and its size in bytes."""

    name: str
    size: int


class RemoteFolder:
    """A folder of a store.

    Every method raises :class:`RemoteTroubleError` where the store does not do as asked, and
    FileNotFoundError where it says that a file is not there.

    Args:
        url: The folder's; the options that pyarrow takes in a query apply.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: tuple[Any, str] | None = None

    def at(self, *names: str) -> RemoteFolder:
        return RemoteFolder(joined(self.url, *names))

    def list(self) -> list[Entry]:
        """Return every file below this folder, at any depth."""
        from pyarrow.fs import FileSelector, FileType

        with self._mapped():
            fs, root = self._filesystem()
            infos = fs.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
        found = [
            Entry(info.path[len(root) + 1 :], info.size)
            for info in infos
            if info.type == FileType.File
        ]
        # A store may hold any name; none may lead out of the folder that it is fetched into.
        return [entry for entry in found if ".." not in entry.name.split("/")]

    def read(self, name: str) -> bytes:
        """Return a file's content, whole, while others may replace it.

        S3 itself gives the old content or the new; not every server that speaks its language does.
        """
        with self._mapped():
            fs, root = self._filesystem()
            path = f"{root}/{name}"
            before = fs.get_file_info(path)
            for _ in range(MOST_READS):
                with fs.open_input_stream(path) as stream:
                    content = bytes(stream.read())
                after = fs.get_file_info(path)
                if (before.size, before.mtime_ns) == (after.size, after.mtime_ns):
                    return content
                before = after
            raise BlockingIOError(f"{name} is being written anew all the time")

    def write(self, name: str, content: bytes) -> None:
        with self._mapped():
            fs, root = self._filesystem()
            self._make_parent(fs, f"{root}/{name}")
            with fs.open_output_stream(f"{root}/{name}") as stream:
                stream.write(content)

    def copy(self, name: str, to: str) -> None:
        """Copy a file within the folder, by the store itself."""
        with self._mapped():
            fs, root = self._filesystem()
            fs.copy_file(f"{root}/{name}", f"{root}/{to}")

    def remove(self, name: str) -> None:
        """Remove a file; nothing where it is not there."""
        with self._mapped(), contextlib.suppress(FileNotFoundError):
            fs, root = self._filesystem()
            fs.delete_file(f"{root}/{name}")

    def upload(self, path: Path, name: str) -> None:
        """Write a file from the disk; what is appended to it meanwhile is left out."""
        # Read first: an error of the disk must not end as half a file in the store.
        self.write(name, path.read_bytes())

    def download(self, name: str, path: Path) -> None:
        """Fetch a file, so that a reader finds the old one or the new one, never a part."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, durable=False) as temporary, open(temporary, "wb") as file:
            for block in self._blocks(name):
                file.write(block)

    def _blocks(self, name: str) -> Iterator[bytes]:
        with self._mapped():
            fs, root = self._filesystem()
            with fs.open_input_stream(f"{root}/{name}") as stream:
                while block := stream.read(BLOCK):
                    yield block

    def _filesystem(self) -> tuple[Any, str]:
        if self._opened is None:
            self._opened = _open(self.url)
        return self._opened

    @staticmethod
    def _make_parent(fs: Any, path: str) -> None:
        if fs.type_name.startswith("py::"):  # fsspec's kinds may have real folders
            fs.create_dir(path.rpartition("/")[0], recursive=True)

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # fsspec's kinds raise their clients' own
            raise RemoteTroubleError(error, self.url.partition("?")[0]) from error


def _open(url: str) -> tuple[Any, str]:
    from pyarrow import fs

    scheme = urlsplit(url).scheme
    if scheme == "s3":
        # A small object is one request instead of three.
        url += ("&" if "?" in url else "?") + "allow_delayed_open=true"
    if scheme in ("s3", "gs", "gcs"):
        found, path = fs.FileSystem.from_uri(url)
        return found, path.rstrip("/")
    from fsspec.core import url_to_fs

    other, path = url_to_fs(url)
    return fs.PyFileSystem(fs.FSSpecHandler(other)), path.rstrip("/")


# All that tells of trials, without their models.
_FETCHED = (
    file_names.STUDY,
    file_names.DATA,
    file_names.JOURNAL,
    file_names.TRIAL,
    file_names.WORKER,
    file_names.METRICS,
    file_names.ERROR,
    file_names.REFUSED,
    file_names.DUPLICATES,
    file_names.PIPELINE,
)
# And what was scored of them.
_SCORES = (
    "evaluation/*",
    "confirm/confirm.json",
    "confirm/runs/*/evaluation.npz",
    "confirm/runs/*/failed.json",
)
ORIGIN = ".origin"  # in a copy: the URL that it is a copy of


def fetch(origin: RemoteFolder, copy: Path, but: Collection[str] = (), logs: bool = False) -> None:
    """Bring a copy up to the store: all records of trials, without their models.

    Args:
        origin: The study in the store.
        copy: The local folder, made where it is missing.
        but: Files to leave as they are.
        logs: Whether to fetch TensorBoard's files, too.

    Raises:
        RemoteTroubleError: where the store cannot be read.
    """
    copy.mkdir(parents=True, exist_ok=True)
    for entry in origin.list():
        log = logs and entry.name.startswith("tensorboard/")
        told = log or entry.name.rpartition("/")[2] in _FETCHED
        told = told or any(fnmatchcase(entry.name, pattern) for pattern in _SCORES)
        if told and entry.name not in but:
            with contextlib.suppress(FileNotFoundError):
                origin.download(entry.name, copy / entry.name)
    (copy / ORIGIN).write_text(origin.url, encoding="utf-8")


def study_path(text: str) -> Path:
    """Return a study's directory for a command: of a URL, a copy that is brought up to date.

    Raises:
        RemoteTroubleError: where the store cannot be read.
    """
    if not is_url(text):
        return Path(text)
    base, mark, query = text.partition("?")
    parent, _, name = base.rstrip("/").rpartition("/")
    # Not the driver's own: that one may be at work on this machine.
    copy = copy_of(parent, name, None).with_name(f"{name}.read")
    fetch(RemoteFolder(f"{parent}/{name}{mark}{query}"), copy)
    return copy


def fetch_exported(study: Path, options: ExportOptions) -> None:
    """Fetch the models that an export takes into a copy; nothing where the study is no copy.

    Args:
        study: A study directory.
        options: What is asked for.
    """
    from results.exports.export import models_to_export

    origin = origin_of(study)
    if origin is None:
        return
    for model in models_to_export(study, options):
        with contextlib.suppress(FileNotFoundError):  # the export says what is missing
            origin.download(model.relative_to(study).as_posix(), model)


def fetch_models(study: Path, trials: Iterable[str]) -> None:
    """Fetch models of trials into a copy, those that are there.

    Args:
        study: A copy; of any other study directory nothing is fetched.
        trials: Names of the trials' folders.
    """
    origin = origin_of(study)
    for name in (f"trials/{trial}/best.keras" for trial in trials):
        if origin is not None:
            with contextlib.suppress(FileNotFoundError):  # who needs it says what is missing
                origin.download(name, study / name)


def push_back(study: Path, name: str) -> str | None:
    """Push a file that a command wrote into a copy; None where the study is no copy.

    Returns:
        Its URL.
    """
    origin = origin_of(study)
    if origin is None:
        return None
    origin.upload(study / name, name)
    return f"{origin.url.partition('?')[0]}/{name}"


def origin_of(study: Path) -> RemoteFolder | None:
    """Return the store that a folder is a copy of; None of any other folder."""
    try:
        return RemoteFolder((study / ORIGIN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
