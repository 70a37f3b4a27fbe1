"""The command line: ``flexunet-search``.

Commands import what they need when they run: ``report`` and ``export`` open on a laptop without
TensorFlow or Ray, and ``--help`` is immediate.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from foundation.errors import UserError
from search.cli.clean import clean
from search.cli.confirm import confirm
from search.cli.data import data_app
from search.cli.evaluate import evaluate
from search.cli.export import export
from search.cli.options import Overrides, StudyDir, StudyDirs
from search.cli.predict import predict
from search.cli.score import score
from search.cli.train import train

if TYPE_CHECKING:
    from search.tuning.runner import RunSummary

app = typer.Typer(
    help="Search the FlexUNet that segments every class well, and export its config.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CONFIG_HELP = "A study's YAML file, or the reference's .config to search around."

Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A running Ray: auto, HOST:PORT or ray://HOST:PORT; local: start one here. Default: "
        "the config's resources.ray_address, else RAY_ADDRESS, else local.",
    ),
]


def main() -> None:
    """Run the command line; bad input ends in its message and exit code 2, not a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except (UserError, OSError) as error:  # a folder that cannot be written, a disk that is full
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        sys.exit(error.exit_code if isinstance(error, UserError) else UserError.exit_code)


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help=CONFIG_HELP)],
    set_: Overrides = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Take the study from a process that is dead."),
    ] = False,
    from_: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="STUDY_DIR",
            help="Learn from an earlier study's trials; may be repeated.",
        ),
    ] = None,
    address: Address = None,
) -> None:
    """Run a study, or continue it: running again is resuming.

    Exit codes: 0 finished, or the time budget is over; 1 finished without a completed trial;
    2 bad input; 75 the storage stayed out of reach, or another process took the study over: try
    again later; 130 stopped by Ctrl-C, 143 by SIGTERM. After the last three the same command goes
    on where it stopped.
    """
    from search.config.loading import load_config
    from search.tuning.session import run as run_study

    console = Console()
    study = load_config(config, _with_address(set_, address), around=True)
    study = study.learning_from(from_ or ())
    console.print(f"study {study.study.name} in {study.directory}", soft_wrap=True, highlight=False)
    summary = run_study(study, console, take_over=take_over)
    _print_run_summary(console, summary)
    if summary.finished and not summary.states.get("COMPLETE"):
        raise typer.Exit(1)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)


def doctor(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help=CONFIG_HELP)],
    set_: Overrides = None,
    address: Address = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that a node may take for an answer.")
    ] = 30.0,
) -> None:
    """Look at every node of the cluster: can it hold the study? Exit code 1: no, and why.

    Prepares the data, as a run does first.
    """
    from search.cluster.connection import ray_cluster
    from search.cluster.doctor import examine
    from search.config.loading import load_config
    from search.data.preparing import prepare_study
    from search.terminal.display import preparation
    from search.tuning.remote import examine_remotely, is_ray_client

    console = Console()
    study = load_config(config, _with_address(set_, address), around=True)
    if is_ray_client(study):
        findings = examine_remotely(study, timeout)
    else:
        with preparation(console) as show:
            store = prepare_study(study, show, console.print)
        with ray_cluster(study.resources):
            findings = examine(study, store, timeout)
    _print_findings(console, findings)
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(1)


def _with_address(overrides: list[str] | None, address: str | None) -> list[str]:
    return [*(overrides or ()), *([f"resources.ray_address={address}"] if address else ())]


def _print_findings(console: Console, findings: Any) -> None:
    from search.cluster.doctor import STYLES, findings_table

    console.print(findings_table(findings))
    for finding in findings:
        if finding.level != "ok":
            console.print(Text(str(finding), style=STYLES[finding.level]), soft_wrap=True)


def _print_run_summary(console: Console, summary: RunSummary) -> None:
    from search.terminal.table import duration

    states = ", ".join(f"{count} {state}" for state, count in summary.states.items())
    console.print(f"{states or 'no trials'} after {duration(summary.seconds)}", highlight=False)
    for note in summary.notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    _print_lines(console, summary.best)
    if summary.finished:
        console.print(f"next: flexunet-search report {summary.directory}", soft_wrap=True)
        console.print(
            f"      flexunet-search export {summary.directory} {summary.directory / 'best'}",
            soft_wrap=True,
        )
    else:
        why = f"stopped: {summary.stopped}; " if summary.stopped else ""
        console.print(
            f"{why}not finished; the same command continues it", highlight=False, soft_wrap=True
        )


def _print_lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def status(
    study_dir: StudyDir,
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Look again and again, until Ctrl-C."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="For scripts: a line of JSON instead of a table.")
    ] = False,
) -> None:
    """Show the state of a study, while it runs or after: trials, workers, pace, failures."""
    from search.terminal.status import show_status

    with contextlib.suppress(KeyboardInterrupt):  # the end of watching, not of anything else
        show_status(study_dir, Console(), watch, json_)


def report(
    study_dirs: StudyDirs,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write. Default: report.html in the study; of several studies "
            "comparison.html here.",
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="The report's tables, too: a CSV file each.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="The report's tables, too: one JSON file.")
    ] = False,
) -> None:
    """Write a study's report, one self-contained page; of several studies, a comparison."""
    from search.cli.pages import write_pages

    for line in write_pages(study_dirs, out, csv=csv, json=json_):
        Console().print(line, soft_wrap=True, highlight=False)


# In the order in which they are needed, which is that of the help.
_SEARCH = (run, doctor, status, report, score, confirm, export)
for _command in (*_SEARCH, train, evaluate, predict, clean):
    app.command()(_command)
app.add_typer(data_app, name="data")
