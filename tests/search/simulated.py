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
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.files import write_text
from results.records.epochs import Epoch, Seconds, best_of
from search.config.loading import load_config
from search.interfaces.messages import TrialJob
from search.process.resources import WorkerResources
from search.tuning.worker import TrialWorker

CLASSES = ("background", "Crack", "Break")


class SimulatedRun:
    """What :class:`search.training.trial_run.TrialRun` is to its worker, without a model."""

    def __init__(self, job: TrialJob) -> None:
        self.folder = job.folder
        self.number = job.number
        self.costs = {"parameters": 1000, "flops": 2000, "activation_bytes": 3000}
        self._epochs = job.config.train.epochs
        self._rate = job.config.train.learning_rate
        self._checkpoint = self.folder / "last.json"
        self.epochs: list[Epoch] = []
        if self._checkpoint.exists():
            kept = json.loads(self._checkpoint.read_text(encoding="utf-8"))
            self.epochs = [Epoch.of(each) for each in kept]
        lines = "".join(epoch.line() for epoch in self.epochs)
        write_text(self.folder / "metrics.jsonl", lines)

    @property
    def best(self) -> Epoch | None:
        return best_of(self.epochs)

    @property
    def done(self) -> bool:
        return len(self.epochs) >= self._epochs

    def close(self) -> None:
        """Hold no data to let go of."""

    def step(self) -> Epoch:
        epoch = len(self.epochs) + 1
        plan = self._plan()
        time.sleep(plan.get("seconds", 0.01))
        self._meet_fault(epoch, plan.get("faults", {}).get(str(self.number)))
        # Best at a learning rate of 1e-3, nearer to it with every epoch.
        worth = math.exp(-abs(math.log10(self._rate) + 3)) * (1 - 0.5**epoch)
        ended = epoch_of(epoch, worth)
        kept = [*self.epochs, ended]
        write_text(self._checkpoint, json.dumps([each.plain() for each in kept]))
        self.epochs = kept
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(ended.line())
        return ended

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


def epoch_of(number: int, value: float) -> Epoch:
    """An epoch of this worth."""
    dice: dict[str, float | None] = {"background": 1.0, "Crack": value, "Break": value}
    return Epoch(
        epoch=number,
        dice=dice,
        train_loss=1 - value,
        validation_loss=1 - value,
        learning_rate=0.001,
        objective=value,
        pruning_value=value,
        mean_foreground_dice=value,
        soft_dice=dice,
        counts=dict.fromkeys(CLASSES, (1, 1, 1)),
        pooled_dice=value,
        seconds=Seconds(train=0.01, validate=0.01, total=0.02),
        images_per_second=100.0,
        time=datetime.now(UTC).replace(microsecond=0),
    )


class SimulatedWorker(TrialWorker):
    """Trains nothing; needs no TensorFlow."""

    def set_up_process(self, resources: WorkerResources) -> None:
        pass

    def begin(self, job: TrialJob) -> Any:
        return SimulatedRun(job)


def main() -> None:
    from rich.console import Console

    from results.records.study import load_study
    from search.cli.main import _print_run_summary
    from search.errors import RunError
    from search.terminal.progress import describe_best, run_display
    from search.tuning.runner import run_study

    path, *rest = sys.argv[1:]
    config = load_config(Path(path))
    console = Console()
    try:
        with run_display(config, console, table=False) as observer:
            summary = run_study(
                config, observer, take_over="--take-over" in rest, worker=SimulatedWorker
            )
        summary = replace(summary, best=describe_best(load_study(summary.directory)))
    except RunError as error:
        console.print(str(error), soft_wrap=True)
        sys.exit(error.exit_code)
    _print_run_summary(console, summary)
    sys.exit(summary.exit_code)


if __name__ == "__main__":
    from tests.search.simulated import main as imported  # so that Ray names the class by its module

    imported()
