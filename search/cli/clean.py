"""The command ``clean``: what a study has left and nothing needs any more."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from search.cli.options import StudyDir

if TYPE_CHECKING:
    from search.study.cleaning import Leftover


def clean(
    study_dir: StudyDir,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Name it, and remove nothing.")
    ] = False,
    prepared: Annotated[
        bool,
        typer.Option(
            "--prepared",
            help="The study's prepared data, too; other studies of the data share them.",
        ),
    ] = False,
    machine: Annotated[
        bool,
        typer.Option(
            "--machine",
            help="This machine's copies of data and studies that lie elsewhere, too, where they "
            "were not used for two days, and Ray's folders of searches that ended.",
        ),
    ] = False,
) -> None:
    """Remove files that neither resuming nor any command needs.

    These are checkpoints of trials that have ended, and models of trials that were stopped early
    and are not among the best (search.keep_models); a run removes them by itself as trials end. A
    study that a run is at work on is left alone.
    """
    from results.records.study import load_study
    from search.study import cleaning

    console = Console()
    load_study(study_dir)  # holding what is no study would make a folder
    kept: list[Leftover] = []
    with contextlib.nullcontext() if dry_run else cleaning.holding(study_dir):
        found = _found(console, study_dir, prepared, machine)
        if dry_run:
            for each in found:
                _say(console, f"{each.path}: {_size(each.bytes)}")
        else:
            for each, why in cleaning.remove_all(found):
                kept.append(each)
                _say(console, f"{each.path} stays: {why}")
    gone = [each for each in found if each not in kept]
    _say_totals(console, gone, "would be removed" if dry_run else "removed")


def _found(console: Console, study_dir: Path, prepared: bool, machine: bool) -> list[Leftover]:
    from search.study import cleaning

    found = cleaning.leftovers_of_study(study_dir)
    if not (prepared or machine):
        return found
    if cleaning.may_be_in_use():
        _say(console, "a Ray node may run on this machine, so data, copies and Ray's folders stay")
        return found
    found += cleaning.prepared_data(study_dir) if prepared else []
    return found + (cleaning.leftovers_of_machine() if machine else [])


def _say_totals(console: Console, found: list[Leftover], done: str) -> None:
    from search.study.cleaning import totals

    for kind, (count, size) in totals(found).items():
        _say(console, f"{kind}: {count}, {_size(size)}")
    total = sum(each.bytes for each in found)
    _say(console, f"{done}: {_size(total)}" if found else "nothing to remove")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
