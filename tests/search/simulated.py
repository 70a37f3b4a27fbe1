"""A search whose training is simulated: everything else is real, and faults happen on order.

``python -m tests.search.simulated CONFIG`` runs a study as the command line does. The file
simulated.json beside the study's folder says how long an epoch takes, in seconds, and which trial
meets which fault how often:

    {"seconds": 0.1, "faults": {"3": {"fault": "raise", "epoch": 2, "times": 1}}}
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search.config.loading import load_config
from search.run.worker import TrialWorker
from search.storage.files import write_text

CLASSES = ("background", "Crack", "Break")


class SimulatedRun:
    """What :class:`search.training.trial_run.TrialRun` is to its worker, without a model."""

    def __init__(self, proposal: Mapping[str, Any]) -> None:
        self.folder = Path(proposal["folder"])
        self.number = proposal["number"]
        self.costs = {"parameters": 1000, "flops": 2000, "activation_bytes": 3000}
        self._epochs = proposal["config"]["train"]["epochs"]
        self._rate = proposal["config"]["train"]["learning_rate"]
        self._checkpoint = self.folder / "last.json"
        self.records: list[dict[str, Any]] = []
        if self._checkpoint.exists():
            self.records = json.loads(self._checkpoint.read_text(encoding="utf-8"))
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        write_text(self.folder / "metrics.jsonl", lines)

    @property
    def best(self) -> dict[str, Any] | None:
        return max(self.records, key=lambda record: record["objective"], default=None)

    @property
    def done(self) -> bool:
        return len(self.records) >= self._epochs

    def close(self) -> None:
        """Hold no data to let go of."""

    def step(self) -> dict[str, Any]:
        epoch = len(self.records) + 1
        plan = self._plan()
        time.sleep(plan.get("seconds", 0.01))
        self._meet_fault(epoch, plan.get("faults", {}).get(str(self.number)))
        # Best at a learning rate of 1e-3, nearer to it with every epoch.
        worth = math.exp(-abs(math.log10(self._rate) + 3)) * (1 - 0.5**epoch)
        record = record_of(epoch, worth)
        write_text(self._checkpoint, json.dumps([*self.records, record]))
        self.records.append(record)
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def _plan(self) -> dict[str, Any]:
        path = self.folder.parents[2] / "simulated.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _meet_fault(self, epoch: int, fault: Mapping[str, Any] | None) -> None:
        if fault is None or fault["epoch"] != epoch:
            return
        met = self.folder / "met.txt"
        times = int(met.read_text(encoding="utf-8")) if met.exists() else 0
        if times < fault["times"]:
            met.write_text(str(times + 1), encoding="utf-8")
            FAULTS[fault["fault"]]()


def _raise() -> None:
    raise ValueError("a defect")


def _not_a_number() -> None:
    raise ArithmeticError("expected a finite training loss, received nan at step 3")


def _out_of_memory() -> None:
    raise MemoryError("cannot allocate 64 GB")


FAULTS = {
    "raise": _raise,
    "nan": _not_a_number,
    "memory": _out_of_memory,
    "hang": lambda: time.sleep(3600),
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def record_of(epoch: int, value: float) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    dice = {"background": 1.0, "Crack": value, "Break": value}
    return {
        "epoch": epoch,
        "train_loss": 1 - value,
        "validation_loss": 1 - value,
        "learning_rate": 0.001,
        "objective": value,
        "pruning_value": value,
        "mean_foreground_dice": value,
        "dice": dice,
        "soft_dice": dice,
        "counts": {name: [1, 1, 1] for name in CLASSES},
        "pooled_dice": value,
        "seconds": {"train": 0.01, "validate": 0.01, "total": 0.02},
        "images_per_second": 100.0,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class SimulatedWorker(TrialWorker):
    """Trains nothing; needs no TensorFlow."""

    def set_up_process(self, resources: Mapping[str, Any]) -> None:
        pass

    def begin(self, proposal: Mapping[str, Any]) -> Any:
        return SimulatedRun(proposal)


def main() -> None:
    from rich.console import Console

    from results.records.study import load_study
    from search.cli.main import _print_run_summary
    from search.errors import RunError
    from search.run.runner import run_study
    from search.terminal.progress import Board, PlainLines, describe_best

    path, *rest = sys.argv[1:]
    config = load_config(Path(path))
    console = Console()
    observer = PlainLines(Board(config), console)
    try:
        summary = run_study(
            config, observer, take_over="--take-over" in rest, worker=SimulatedWorker
        )
    except RunError as error:
        console.print(str(error), soft_wrap=True)
        sys.exit(error.exit_code)
    _print_run_summary(console, summary, describe_best(load_study(summary.directory)))
    sys.exit(summary.exit_code)


if __name__ == "__main__":
    from tests.search.simulated import main as imported  # so that Ray names the class by its module

    imported()
