from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.process.stderr_redirect import quiet_tensorflow, stderr_to


def test_what_c_code_writes_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_tensorflow():
        os.write(2, b"no drivers\n")
    os.write(2, b"after\n")

    assert capfd.readouterr().err == "after\n"


def fail(error: Exception) -> None:
    with quiet_tensorflow():
        os.write(2, b"a hint\n")
        raise error


def test_a_defect_shows_it_after_all(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError):
        fail(RuntimeError())

    assert capfd.readouterr().err == "a hint\n"


def test_an_error_that_speaks_to_the_user_stands_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        fail(ValueError("expected a model"))

    assert capfd.readouterr().err == ""


def test_tensorflow_starts_quietly_where_it_would_tell_of_drivers() -> None:
    """In a process of its own: it tells once, on import."""
    code = "import os; from search.process.stderr_redirect import start_tensorflow; "
    code += "start_tensorflow(); "
    code += "import tensorflow as tf; tf.constant(1) + 1; os.write(2, b'after')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert done.stderr == b"after"


def test_stderr_goes_to_the_file_and_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "train.log"

    def fail() -> None:
        with stderr_to(path):
            os.write(2, b"noise\n")
            raise ValueError("raised inside")

    with pytest.raises(ValueError, match="raised inside"):
        fail()
    os.write(2, b"said after\n")

    assert path.read_text() == "noise\n"
    assert capfd.readouterr().err == "said after\n"
