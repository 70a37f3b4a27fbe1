"""A real S3 over HTTP: moto's server in a process of its own, on a line that a test may cut."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.search.postgres import free_port

BUCKET = "bucket"


class Relay:
    """A port that passes connections on, until it is cut: then it refuses them."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._to = to
        self._sockets: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # cut
            while True:
                self._connect(listener.accept()[0])

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:  # the server is not up yet
            near.close()
            return
        self._sockets += [near, far]
        for ends in ((near, far), (far, near)):
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class S3Server:
    def __init__(self, log: Path) -> None:
        port = free_port()
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdout=file,
                stderr=file,
            )
        self.line = Relay(port)
        self.endpoint = f"http://127.0.0.1:{self.line.port}"
        # Credentials of no account: the server takes any.
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "t0p-s3cret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def wait(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                urlopen(f"{self.endpoint}/moto-api/", timeout=5).close()
                return
            except OSError:
                assert self._process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)

    def stop(self) -> None:
        self.line.cut()
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def s3_server(log: Path) -> Iterator[S3Server]:
    """Start it with an empty bucket, and name it in the environment; skips where moto is not."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("needs moto's server: pip install 'moto[s3]' flask flask-cors")
    from pyarrow.fs import FileSystem

    server = S3Server(log)
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        server.wait()
        fs, _ = FileSystem.from_uri(f"s3://{BUCKET}?allow_bucket_creation=true")
        fs.create_dir(BUCKET)
        yield server
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
