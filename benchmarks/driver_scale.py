"""What the driver costs: 10,000 trials of a second on 64 slots, simulated and through Ray Tune.

``book`` runs the study's side alone: real proposals, reports, pruning, journal and mirrors, by the
code of a search, while the workers are simulated in virtual time. The driver is a server of that
time: what it takes for an event delays the slots that wait for it, as in a real search. Ideal is
the time in which the slots could have done the same epochs without ever waiting.

``tune`` runs a whole search on a real Ray with trials that sleep. All slots' processes share this
machine's cores, so an epoch is made longer until the driver is what is measured: what a trial costs
the driver is the CPU time of its process, from which follows how many slots it can feed.

``suggest`` asks Optuna's TPE and the search's in turns, over one study with so many finished trials
and all slots running.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from data_pipeline.datasets.synthetic import write_synthetic
from results.records.epochs import Epoch
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.interfaces.messages import TrialJob, TrialReport
from search.process.memory import resident_bytes
from search.process.setup import keep_imports
from search.storage.journal import together
from search.study.bounded_tpe import SAMPLE, BoundedTPESampler
from search.study.opening import open_study
from search.study.trials import TrialManager
from search.terminal.display import Display
from search.terminal.progress import Board, RunObserver
from search.tuning.runner import log_to_file, run_study
from search.tuning.worker import TrialWorker

MARKS = (100, 1_000, 10_000)
COST = {"parameters": 1e6, "flops": 1e9, "activation_bytes": 1e8}
CLASSES = ("background", "Blowhole", "Break", "Crack", "Fray", "Uneven")


def main() -> None:
    """Parse arguments and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=("book", "tune", "suggest"))
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a trial that is not pruned")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--pruner", default="asha")
    parser.add_argument("--folder", type=Path, help="of the study; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        config = study_config(Path(folder), args)
        measure = {"book": simulate, "tune": through_tune, "suggest": suggest}[args.mode]
        with log_to_file(Path(folder) / "driver.log"):
            table = measure(config, args)
    Console().print(table, highlight=False, soft_wrap=True)


def study_config(folder: Path, args: argparse.Namespace) -> StudyConfig:
    """Return a study of the default space."""
    config = config_from_tree(
        {
            "study": {"name": "scale", "storage_path": str(folder), "seed": 1},
            "data": {"source": str(folder / "data"), "image_size": 64},
            "train": {"epochs": args.epochs},
            "search": {
                "num_trials": args.trials,
                "sampler": args.sampler,
                "pruner": args.pruner,
                "grace_epochs": 1,
                "reduction_factor": 2,
            },
            "resources": {"cpus_per_trial": 1, "num_cpus": args.slots},
        }
    )
    (config.directory / "trials").mkdir(parents=True)
    (config.directory / "study.yaml").touch()
    return config


@dataclass
class Trial:
    """A trial as a simulated worker trains it."""

    ray_id: str
    number: int
    worth: float
    epochs: int
    seconds: float
    trained: int = 0

    def epoch(self) -> TrialReport:
        """Return the report of one more epoch."""
        self.trained += 1
        value = self.worth * (1 - 0.5**self.trained)
        epoch = epoch_of(self.trained, value)
        return TrialReport(self.trained >= self.epochs, (epoch,), epoch, COST)


def epoch_of(number: int, value: float) -> Epoch:
    """Return an epoch of this worth."""
    dice: dict[str, float | None] = dict.fromkeys(CLASSES, value)
    return Epoch(
        epoch=number, objective=value, pruning_value=value, dice=dice, images_per_second=100.0
    )


def worth_of(rate: float, noise: random.Random) -> float:
    """Return what a config would reach: best at a learning rate of 1e-3."""
    return math.exp(-abs(math.log10(rate) + 3)) * noise.uniform(0.8, 1.0)


class Clock:
    """Virtual time: of the slots by their epochs, of the driver by what its calls really take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy = 0.0
        self.computed = 0.0
        self.taken: dict[str, list[float]] = {"propose": [], "report": [], "finish": []}

    def call(self, name: str, action: Callable[[], Any]) -> Any:
        """Run a call of the driver, which takes its real time."""
        started, computed = time.perf_counter(), time.process_time()
        value = action()
        seconds = time.perf_counter() - started
        self.computed += time.process_time() - computed
        if value is not None or name != "propose":  # at the end there is nothing to propose
            self.taken[name].append(seconds)
        self.now += seconds
        self.busy += seconds
        return value


def simulate(config: StudyConfig, args: argparse.Namespace) -> str:
    """Run the study's side of a whole search in virtual time; return its table."""
    board = Board(config)
    # As on a terminal, but drawn by nobody: the thread that draws is measured by the tests.
    observer = RunObserver(board, Display(Console(quiet=True), board.picture, table=True))
    study = open_study(config)
    manager = TrialManager(study, config, Path("store"), lambda: args.slots, observer)
    clock, rows, work = Clock(), [], 0.0
    noise, names = random.Random(0), itertools.count()
    waiting: list[tuple[float, int, Trial]] = []

    def begin() -> None:
        ray_id = f"t{next(names)}"
        proposal = clock.call("propose", lambda: manager.propose(ray_id))
        if proposal is None:
            return
        worth = worth_of(proposal.config.train.learning_rate, noise)
        seconds = args.seconds / args.epochs * noise.uniform(0.8, 1.2)
        trial = Trial(ray_id, proposal.number, worth, args.epochs, seconds)
        heapq.heappush(waiting, (clock.now + seconds, trial.number, trial))

    for _ in range(args.slots):
        begin()
    while waiting:
        ready, _, trial = heapq.heappop(waiting)
        clock.now = max(clock.now, ready)
        work += trial.seconds
        result = trial.epoch()
        # Tune keeps a trial's last result from the scheduler: finish() reports it.
        stop = not result.done and clock.call(
            "report", lambda t=trial, r=result: manager.report(t.ray_id, r)
        )
        if not (stop or result.done):
            heapq.heappush(waiting, (clock.now + trial.seconds, trial.number, trial))
            continue
        clock.call("finish", lambda t=trial, r=result: manager.finish(t.ray_id, r, False))
        if board.finished in MARKS or board.finished == args.trials:
            rows.append(row_of(board.finished, clock, work / args.slots, config))
        begin()
    title = (
        f"{args.sampler}, {args.pruner}: {args.trials} trials of {args.seconds:g} s and "
        f"{args.epochs} epochs on {args.slots} slots; {dict(board.states)}"
    )
    return "\n".join([title, "", *HEAD, *rows])


HEAD = (
    "| trials | suggestion, ms | report, ms | end, ms | driver, ms a trial | of it CPU "
    "| driver, MB | journal, MB | of ideal |",
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
)


def row_of(finished: int, clock: Clock, ideal: float, config: StudyConfig) -> str:
    """Return a line of the table: medians of the last hundred calls, the rest since the start."""
    milliseconds = [1000 * statistics.median(calls[-100:]) for calls in clock.taken.values()]
    journal = (config.directory / "optuna.journal").stat().st_size / 1e6
    cells = [
        f"{finished:,}",
        *(f"{value:.1f}" for value in milliseconds),
        f"{1000 * clock.busy / finished:.1f}",
        f"{1000 * clock.computed / finished:.1f}",
        f"{resident_bytes() / 1e6:.0f}",
        f"{journal:.1f}",
        f"{100 * ideal / clock.now:.1f} %",
    ]
    return f"| {' | '.join(cells)} |"


def suggest(config: StudyConfig, args: argparse.Namespace) -> str:
    """Time suggestions over a study of finished trials; return the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, space = open_study(config), {n: d.to_optuna() for n, d in config.space.items()}
    with together(study, durable=False):
        fill(study, space, args.trials)
        for _ in range(args.slots):
            study.ask(space)
        samplers: dict[str, BaseSampler] = {
            "all finished trials (Optuna's)": TPESampler(seed=1),
            **{f"the best and {n:,}": BoundedTPESampler(seed=1, sample=n) for n in SAMPLES},
        }
        taken: dict[str, list[float]] = {name: [] for name in samplers}
        for _ in range(ROUNDS):
            for name, sampler in samplers.items():
                study.sampler, started = sampler, time.process_time()
                trial = study.ask(space)
                taken[name].append(time.process_time() - started)
                study.tell(trial, state=TrialState.FAIL)
    base, *_ = (statistics.median(seconds) for seconds in taken.values())
    rows = [
        f"| {name} | {1000 * statistics.median(seconds):.1f} "
        f"| {statistics.median(seconds) / base:.3f}x |"
        for name, seconds in taken.items()
    ]
    title = (
        f"{args.trials:,} finished trials, {args.slots} running; medians of {ROUNDS} suggestions"
    )
    head = ("| looks at | CPU, ms a suggestion | ratio |", "|---|---:|---:|")
    return "\n".join([title, "", *head, *rows])


SAMPLES = (SAMPLE // 2, SAMPLE, 2 * SAMPLE)
ROUNDS = 30


def fill(study: optuna.Study, space: dict[str, Any], trials: int) -> None:
    """Add random trials, of which two thirds are pruned."""
    drawn, noise = optuna.create_study(sampler=RandomSampler(seed=1)), random.Random(0)
    for _ in range(trials):
        params = drawn.ask(space).params
        worth, epochs = worth_of(params["train.learning_rate"], noise), noise.choice((1, 2, 4))
        steps = {epoch: worth * (1 - 0.5**epoch) for epoch in range(1, epochs + 1)}
        done = epochs == 4
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if done else TrialState.PRUNED,
                value=steps[4] if done else None,
                params=params,
                distributions=space,
                intermediate_values=steps,
            )
        )


class SleepingRun:
    """Stands for :class:`search.training.trial_run.TrialRun`: sleeps and writes nothing."""

    def __init__(self, job: TrialJob) -> None:
        train = job.config.train
        self.costs = COST
        self.epochs: list[Epoch] = []
        self._most = train.epochs
        self._worth = worth_of(train.learning_rate, random.Random(job.number))

    def close(self) -> None:
        """Hold no data to let go of."""

    @property
    def best(self) -> Epoch:
        """The last epoch, since values only grow."""
        return self.epochs[-1]

    @property
    def done(self) -> bool:
        """Whether all epochs are over."""
        return len(self.epochs) >= self._most

    def step(self) -> None:
        """Sleep for an epoch."""
        time.sleep(float(os.environ["EPOCH_SECONDS"]))
        number = len(self.epochs) + 1
        self.epochs.append(epoch_of(number, self._worth * (1 - 0.5**number)))


class SleepingWorker(TrialWorker):
    """Trains nothing; needs no TensorFlow."""

    def set_up_process(self, resources: Mapping[str, Any]) -> None:
        """Prepare as little as sleeping needs; collect garbage as cheaply as a real worker."""
        keep_imports()

    def begin(self, job: TrialJob) -> Any:
        """Return a run that sleeps."""
        return SleepingRun(job)


class Marks(RunObserver):
    """Says nothing; counts the epochs and trials of the time in which all slots are busy.

    In the first half the workers' processes start, which the driver has no part in; as many trials
    as there are slots are the last ones, while which slots run empty.
    """

    def __init__(self, board: Board, trials: int, slots: int) -> None:
        super().__init__(board, Display(Console(quiet=True), board.picture, table=False))
        self._first, self._last = trials // 2, trials - slots
        self._ended = self._epochs = 0
        self._marks = [self._mark()]

    def _mark(self) -> tuple[float, float, int, int]:
        return time.perf_counter(), time.process_time(), self._epochs, self._ended

    def measured(self) -> tuple[float, float, int, int]:
        """Return wall time and the driver's CPU time, in seconds, with epochs and trials in it."""
        begun, ended = self._marks[-2:]
        return (
            ended[0] - begun[0],
            ended[1] - begun[1],
            ended[2] - begun[2],
            ended[3] - begun[3],
        )

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        """Count an epoch."""
        self._epochs += 1
        super().epoch_ended(number, epoch)

    def trial_ended(self, trial: FrozenTrial) -> None:
        """Count a trial; note the time where all slots begin and end to be busy."""
        super().trial_ended(trial)
        self._ended += 1
        if self._ended in (self._first, self._last):
            self._marks.append(self._mark())


def through_tune(config: StudyConfig, args: argparse.Namespace) -> str:
    """Run a whole search of sleeping trials on a real Ray; return its table."""
    write_synthetic(Path(str(config.data.source)), tiles=12)
    (config.directory / "study.yaml").unlink()
    # Ray's processes inherit it.
    os.environ["EPOCH_SECONDS"] = str(args.seconds / args.epochs)
    observer = Marks(Board(config), args.trials, args.slots)
    run_study(config, observer, worker=SleepingWorker)
    wall, cpu, epochs, trials = observer.measured()
    ideal = epochs * args.seconds / args.epochs / args.slots
    cells = [
        f"{trials:,}",
        f"{epochs:,}",
        f"{args.slots}",
        f"{args.seconds:g}",
        f"{1000 * wall / trials:.1f}",
        f"{1000 * cpu / trials:.1f}",
        f"{100 * ideal / wall:.1f} %",
        f"{resident_bytes() / 1e6:.0f}",
    ]
    return "\n".join([*TUNE_HEAD, f"| {' | '.join(cells)} |"])


TUNE_HEAD = (
    "| trials | epochs | slots | s a trial | wall, ms a trial | driver's CPU, ms a trial "
    "| of ideal | driver, MB |",
    "|---:|---:|---:|---:|---:|---:|---:|---:|",
)


if __name__ == "__main__":
    main()
