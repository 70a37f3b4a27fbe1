"""A real PostgreSQL of this machine's package, in a folder of its own, on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

PASSWORD = "c0rrect-horse"


def binaries() -> Path | None:
    """Debian keeps them beside each version, out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda p: len(str(p)))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A server that a test may stop and start."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self.port = free_port()
        password = folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        # PostgreSQL refuses to run as root.
        self._as = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
        if self._as:
            for path in (folder, password):
                shutil.chown(path, "nobody")
        self._run(
            "initdb", "--username=optuna", f"--pwfile={password}", "--auth=scram-sha-256",
            "--no-sync", "--encoding=UTF8", "--no-locale",
        )  # fmt: skip
        self.start()
        self.query("CREATE DATABASE optuna", "postgres")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._binaries / program), "-D", str(self._folder / "data")]
        subprocess.run(
            [*command, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,  # no pipe: the server would hold it open
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )

    def url(self, password: str = PASSWORD, database: str = "optuna") -> str:
        return f"postgresql://optuna:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """As a crash does: every connection is cut."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def query(self, statement: str, database: str = "optuna") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database=database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

    def clients(self) -> set[str]:
        """The names of everybody connected to the studies' database, but for who asks."""
        rows = self.query(
            "SELECT application_name FROM pg_stat_activity WHERE datname = 'optuna' "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return {str(name) for (name,) in rows}


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A fresh server; skips where PostgreSQL is not installed."""
    found = binaries()
    if found is None:
        pytest.skip("needs PostgreSQL's server (Debian: apt-get install postgresql)")
    # Not below pytest's own folders, which another user may not enter.
    with tempfile.TemporaryDirectory(prefix="flexunet-pg-") as folder:
        server = Postgres(found, Path(folder))
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):  # a test may have stopped it
                server.stop()
