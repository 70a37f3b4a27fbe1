"""The ``status`` command: the state of a study, read from its directory.

Needs neither Ray nor TensorFlow nor Optuna, and writes nothing: it may run beside the search, on
any machine that sees the directory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results.records.proposals import load_untrained
from results.records.status import Driver, Status, TrialStatus
from results.records.status_reader import StudyWatch
from search.terminal.display import LiveContent
from search.terminal.table import (
    TableContent,
    TrialRow,
    clip,
    describe_input,
    dice_parts,
    draw,
    duration,
    param_parts,
    titled,
)

if TYPE_CHECKING:
    import pandas as pd

FAILURES = 10
WATCHED_FAILURES = 3


def show_status(
    directory: Path, console: Console, watch: float | None = None, as_json: bool = False
) -> None:
    """Print the state of a study.

    Args:
        directory: The study directory.
        console: Where to.
        watch: Seconds between looks, until Ctrl-C; None: one look.
        as_json: A line of JSON a look instead of a table.

    Raises:
        results.records.study.RecordError: for a path that is no study directory, or files that
            cannot be read.
    """
    study = StudyWatch(directory)
    if watch is None or as_json or not console.is_terminal:
        while True:
            _print(study.status(time.time()), console, as_json)
            if watch is None:
                return
            time.sleep(watch)

    def content() -> TableContent:
        return picture_of(study.status(time.time()), WATCHED_FAILURES)

    with Live(LiveContent(content), console=console, auto_refresh=False) as live:
        while True:
            live.refresh()
            time.sleep(watch)


def _print(status: Status, console: Console, as_json: bool) -> None:
    if as_json:
        print_json(status, console)
        return
    console.print(draw(picture_of(status, FAILURES), console.width), soft_wrap=True)
    for sentence in load_untrained(Path(status.directory)).sentences():
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)
    if status.minimize:
        # Only here: pandas takes longer to load than all the rest.
        from results.analysis.pareto import pareto_table
        from results.records.study import load_study

        console.print(front_table(pareto_table(load_study(status.directory)), status.objective))


def print_json(status: Status, console: Console) -> None:
    """Write a status as one line of JSON."""
    text = json.dumps(status.to_json(), allow_nan=False, ensure_ascii=False)
    console.out(text, highlight=False)


def picture_of(status: Status, failures: int = FAILURES) -> TableContent:
    """Return what is drawn of a status.

    Args:
        status: The study's state.
        failures: How many of the latest failures to show.
    """
    header = [
        [f"study {status.name}", _driver(status.driver)],
        _counts(status),
        _pace(status),
        *_best(status),
        titled("input", _input(status)),
    ]
    hidden = status.states.get("COMPLETE", 0) + status.states.get("PRUNED", 0)
    return TableContent(
        header,
        [_row(trial) for trial in status.running],
        [_row(trial) for trial in status.leaders],
        hidden - len(status.leaders),
        _notes(status, failures),
        status.best.number if status.best else None,
    )


def _driver(driver: Driver) -> str:
    if driver.state == "none":
        return "no process runs it"
    who = f"process {driver.pid} on {driver.host}"
    if driver.state == "running":
        return f"run by {who}"
    return f"held by {who}, silent for {duration(driver.silent_seconds or 0.0)}"


def _counts(status: Status) -> list[str]:
    finished = sum(count for state, count in status.states.items() if state != "RUNNING")
    limit = f"/{status.num_trials}" if status.num_trials else ""
    states = ", ".join(f"{count} {state}" for state, count in status.states.items())
    return [f"{finished}{limit} trials finished", states or "none begun"]


def _pace(status: Status) -> list[str]:
    pace = status.pace
    left = "–" if status.eta_seconds is None else f"about {duration(status.eta_seconds)}"
    return [
        f"{_rate(pace.trials_per_hour)} trials and {_rate(pace.epochs_per_hour)} epochs an hour"
        + (f" over the last {duration(pace.seconds)}" if pace.seconds else ""),
        f"left: {left}",
    ]


def _input(status: Status) -> list[str]:
    """Return whether and why trials share a pipeline, what they read and wait for."""
    if not status.input:
        return []
    shared = "shared" if status.input.get("sharing") == "service" else "each trial's own"
    why = f" ({status.input['why']})" if "why" in status.input else ""
    return [shared + why, *describe_input(status.input)]


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _best(status: Status) -> list[list[str]]:
    best = status.best
    if best is None or best.value is None:
        return [["no trial has a value yet"]]
    objective = status.objective.replace("_", " ")
    known = f"trial {best.number}, epoch {best.best_epoch}"
    if best.state != "COMPLETE":
        known += f", {best.state}: none is COMPLETE yet"
    parts = [[f"best {objective} {best.value:.4f}", known, *filter(None, [status.trainings])]]
    return [*parts, titled("Dice", dice_parts(best.dice)), param_parts(best.params)]


def _row(trial: TrialStatus) -> TrialRow:
    place = None if trial.host is None else f"{trial.host}:{trial.pid}"
    return TrialRow(
        trial.number,
        trial.params,
        trial.baseline,
        state=trial.state,
        epoch=trial.epoch,
        value=trial.value,
        dice=trial.dice,
        epochs=trial.epochs if trial.state == "RUNNING" else None,
        images_per_second=trial.images_per_second if trial.state == "RUNNING" else None,
        waits=trial.waits,
        silent=trial.silent_seconds,
        place=place,
    )


def _notes(status: Status, most: int) -> Sequence[str]:
    notes = []
    lost = sum(status.lost_workers.values())
    if lost:
        reasons = "; ".join(f"{n}x {clip(why, 60)}" for why, n in status.lost_workers.items())
        notes.append(f"{lost} lost workers: {reasons}")
    failed = status.failures
    if len(failed) > most:
        notes.append(f"… and {len(failed) - most} earlier failures")
    return notes + [f"trial {number} FAIL: {reason}" for number, reason in failed[-most:]]


def front_table(front: pd.DataFrame, objective: str) -> Table:
    """Return the Pareto front of ``results.analysis.pareto.pareto_table`` as a table.

    Args:
        front: Its rows, those off the front included, which are not shown.
        objective: Title of the value's column.
    """
    from results.analysis.pareto import MEASURES

    names = [name for name in front.columns if name in MEASURES]
    table = Table(title="Pareto front", caption="no trial beats one of these in every objective")
    for title in ("Trial", objective.replace("_", " "), *(MEASURES[name][0] for name in names)):
        table.add_column(title, justify="left" if title == "Trial" else "right")
    for row in front[front["front"]].to_dict("records"):
        baseline = row["baseline"]
        name = f"{row['number']}{f' {baseline}' if isinstance(baseline, str) else ''}"
        costs = (f"{row[measure]:,.4g}" for measure in names)
        table.add_row(Text(name), f"{row['value']:.4f}", *costs)
    return table
