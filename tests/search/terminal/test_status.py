"""``status`` as a person calls it: on a study that another process may be running."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from search.process.stop import Stop
from search.storage.lock import study_lock
from search.terminal.status import show_status
from tests.results.simulated_study import Simulation, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("status") / "study"
    return write_study(path, Simulation(trials=60, running=9))


def shown(study: Path, width: int = 80) -> str:
    file = io.StringIO()
    show_status(study, Console(file=file, width=width))
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_no_line_is_wider_than_the_terminal(study: Path, width: int) -> None:
    text = shown(study, width)

    assert max(map(cell_len, text.splitlines())) <= width
    assert text.count(" RUNNING ") >= 9
    assert "best mean foreground dice 0." in text
    assert "Dice: Blowhole 0." in text
    assert "trial 11 FAIL: ResourceExhaustedError: out of memory" in text


def test_it_says_what_trials_read_and_why_from_there(study: Path) -> None:
    assert "input:" not in shown(study)
    kept = {"sharing": "service", "why": "8 trials run at once", "images": 10, "hit_rate": 0.75,
            "images_per_second": 900.0, "made_per_second": 225.0,
            "train_seconds": 10.0, "input_seconds": 0.5}  # fmt: skip
    path = study / "pipeline.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    text = shown(study, 200)
    assert "input: shared (8 trials run at once) · trials read 900 images/s, 225 made" in text
    assert "75% from the shared cache · 5% of training waits for images" in text
    path.write_text('{"images": "many"}', encoding="utf-8")
    assert "input: each trial's own" in shown(study)
    path.unlink()


def test_it_says_who_runs_the_study(study: Path) -> None:
    assert "no process runs it" in shown(study)
    with study_lock(study, Stop()):
        assert "run by process" in shown(study)
    assert "no process runs it" in shown(study)


def test_neither_ray_nor_tensorflow_nor_optuna_is_loaded(study: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['status', sys.argv[1]]\n"
        "from search.cli.main import app\n"
        "app(standalone_mode=False)\n"
        "names = ('ray', 'tensorflow', 'keras', 'optuna')\n"
        "print('loaded:', [n for n in names if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, study], capture_output=True, text=True)

    assert "trials finished" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_scripts_get_json_and_watching_ends_with_ctrl_c(study: Path) -> None:
    command = [sys.executable, "-m", "search", "status", str(study), "--json", "--watch", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0
    assert looks[0]["states"] == looks[2]["states"]
    assert looks[0]["driver"]["state"] == "none"
    assert {"number", "reason"} == set(looks[0]["failures"][0])


def test_watching_on_a_terminal_fits_it(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", leave)
    file = io.StringIO()
    console = Console(file=file, width=80, height=24, force_terminal=True)
    with pytest.raises(KeyboardInterrupt):
        show_status(study, console, watch=1.0)

    assert "more running" in file.getvalue()
    assert "more finished trials" in file.getvalue()
