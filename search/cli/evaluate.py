"""The command ``evaluate``: a saved model scored on images with masks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.cli.options import BatchSize, FlipsOption, ModelConfig, ModelPath, Threads


def evaluate(
    model: ModelPath,
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Folder of images and masks, or 'synthetic'."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to write. Default: evaluation-SPLIT-DATA beside the model, with "
            "its name at the end unless it is best.keras, and the flips if any.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="test, valid, train or all. Default: test; all of a folder that is not divided.",
        ),
    ] = None,
    config: ModelConfig = None,
    batch: BatchSize = 8,
    threads: Threads = None,
    bootstrap: Annotated[
        int, typer.Option(min=100, help="Draws of groups that the intervals are taken from.")
    ] = 2000,
    flips: FlipsOption = "none",
) -> None:
    """Score a model class by class at the images' own size, with intervals and a page of pictures.

    DIR gets evaluation.csv (the reference's two lines), evaluation.json, evaluation.npz,
    classes.csv and gallery.html.
    """
    from search.inference import evaluation, evaluation_folder
    from search.inference.evaluation_dataset import find_evaluation_dataset
    from search.inference.model_opening import open_model
    from search.terminal.display import image_progress

    console, workers = Console(), threads or os.cpu_count() or 1
    opened, facts = open_model(model, config, workers)
    held = find_evaluation_dataset(data, facts, split, believed=config is not None, workers=workers)
    folder = out or evaluation_folder.default_folder(facts, held, flips)
    evaluation_folder.check_folder(folder)
    with image_progress(console, "evaluating") as show:
        done = evaluation.evaluate(
            opened,
            facts,
            held,
            batch_size=batch,
            threads=workers,
            replicates=bootstrap,
            flips=flips,
            progress=show,
        )
    evaluation_folder.write_evaluation(done, opened, folder, command=_command(), threads=workers)
    _print(console, done, folder)


def _command() -> str:
    from results.pages.gallery import command_text

    return command_text(sys.argv[1:])


def _print(console: Console, done: Any, folder: Path) -> None:
    from results.analysis.model_scores import dice_says, pooled_says

    held, facts = done.held, done.facts
    said = facts.source or "nothing beside the model: resized by stretching, classes of the data"
    _line(console, f"model {facts.path}, described by {said}")
    _line(
        console,
        f"{held.split} of {held.root}: {len(done.items)} images, "
        f"{len(set(done.evaluation.groups))} groups, at their own size"
        f"{done.evaluation.mirrored}",
    )
    console.print(_table(done))
    _line(console, dice_says(done.table))
    _line(console, f"Misleading: {pooled_says(done.evaluation, done.reference)}")
    for caution in sorted(done.cautions, key=lambda each: not each.bad):
        style = "bold red" if caution.bad else "yellow"
        console.print(Text(f"{caution.text} {caution.action}", style=style), soft_wrap=True)
    _line(console, f"written: {folder} (gallery.html, evaluation.csv, evaluation.json, ...)")


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(done: Any) -> Table:
    from results.analysis.model_scores import text_rows

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("class", overflow="fold", min_width=12)
    for name in ("Dice", "95 %", "IoU", "precision", "recall", "images", "groups"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = text_rows(done.table)
    for place, row in enumerate(rows):
        # Names are a user's: square brackets in them are no markup. The background, then the mean.
        style = {len(rows) - 2: "dim", len(rows) - 1: "bold"}.get(place)
        name, dice, interval, *others = row
        table.add_row(Text(name), dice, interval.replace(" to ", "–"), *others, style=style)
    return table
