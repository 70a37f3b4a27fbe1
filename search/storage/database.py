"""The study's database, where it is not the journal: opened, its outages kept apart from defects.

Only the driver opens it: what a worker is given holds no address of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import exc, make_url
from sqlalchemy.engine import URL

from foundation.errors import named_line
from search.config.errors import ConfigError
from search.config.settings import redacted
from search.errors import TRY_AGAIN, RunError
from search.storage.retry import storage_trouble

# What waiting may mend: a server that is down, restarts, is full or read-only for now. A value
# that a column refuses, or a table that is not there, would be refused again.
_PASSING = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)


def open_database(url: str, study: str) -> RDBStorage:
    """Open an Optuna database; its tables are made where they are missing.

    Args:
        url: As SQLAlchemy takes it, such as ``postgresql://user:password@host/database``.
        study: Named in the error.

    Raises:
        ConfigError: where it cannot be opened; without the password.
    """
    try:
        address = _with_driver(make_url(url))
        storage = RDBStorage(
            address.render_as_string(hide_password=False),
            # Asks before each use whether the connection still stands: a server's restart between
            # two epochs is not even noticed.
            engine_kwargs={"pool_pre_ping": True, "connect_args": _connect_args(address)},
        )
        # Optuna leaves its connections to the garbage collector, which drivers complain of.
        weakref.finalize(storage, storage.engine.dispose)
        return storage
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        problem = (
            f"study.storage: expected a database URL that can be opened, received {redacted(url)}: "
            f"{_without_password(named_line(error), url)}{_hint(error)}"
        )
        raise ConfigError(study, [problem]) from None  # what it came from may hold the password


def database_trouble(error: BaseException) -> str | None:
    """Return what is wrong with the study's database if waiting may help; None otherwise."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, _PASSING):
        return f"the study's database does not answer ({named_line(cause)})"
    if cause is None:  # Optuna's word for it, without SQLAlchemy's
        return f"the study's database does not answer ({named_line(error)})"
    return None


def study_trouble(error: BaseException, directory: Path) -> str | None:
    """Say what ails a study's database or its directory; None where an error is about neither.

    As :func:`search.storage.retry.storage_trouble`, for the one process that opens the database.
    """
    if isinstance(error, (StorageInternalError, exc.SQLAlchemyError)):
        return database_trouble(error)
    return storage_trouble(error, directory)


@contextlib.contextmanager
def trouble_ends_run(directory: Path, advice: str) -> Iterator[None]:
    """End a run whose storage is out of reach before it has begun: only later is it waited for.

    Args:
        directory: The study directory.
        advice: What continues the run, for the message.

    Raises:
        RunError: with the exit code TRY_AGAIN.
    """
    try:
        yield
    except Exception as error:
        trouble = study_trouble(error, directory)
        if trouble is None:
            raise
        raise RunError(f"stopped: {trouble}; {advice}", TRY_AGAIN) from error


def _with_driver(url: URL) -> URL:
    """Name the driver that the extra ``postgres`` brings; SQLAlchemy's default has changed."""
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _connect_args(url: URL) -> dict[str, Any]:
    """Return what bounds the wait for a server that is gone; the URL's own words go first."""
    if url.get_backend_name() != "postgresql":
        return {}
    ours = {
        "connect_timeout": 10,  # seconds; without it, as long as TCP tries
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds
        # Names the one process that writes, in pg_stat_activity.
        "application_name": f"flexunet-search {socket.gethostname()} {os.getpid()}",
    }
    return {name: value for name, value in ours.items() if name not in url.query}


def _without_password(text: str, url: str) -> str:
    try:
        password = make_url(url).password
    except exc.ArgumentError:
        return text.replace(url, redacted(url))
    return text.replace(str(password), "***") if password else text


def _hint(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "; install its driver (for PostgreSQL: pip install 'flexunet-search[postgres]')"
    return ""
