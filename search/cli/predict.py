"""The command ``predict``: masks of images, at their own size."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from search.cli.options import BatchSize, FlipsOption, ModelConfig, ModelPath, Threads


def predict(
    model: ModelPath,
    images: Annotated[
        str,
        typer.Argument(metavar="IMAGES", help="A folder, an image, or a pattern: 'new/*.png'."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    config: ModelConfig = None,
    tiles: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            help="never: the image is resized to the model's size, as in training. always: at its "
            "own scale, in overlapping tiles. auto: tiles where a side is over 8 times the model's."
        ),
    ] = "auto",
    overlap: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of a tile that neighbours overlap.")
    ] = 0.25,
    scale: Annotated[
        float,
        typer.Option(
            min=0.01, max=16, help="Size at which the model sees a tiled image: 0.5 half."
        ),
    ] = 1.0,
    flips: FlipsOption = "none",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write them, too: float32 [h, w, classes].")
    ] = False,
    overlays: Annotated[bool, typer.Option(help="Pictures of the masks over the images.")] = True,
    batch: BatchSize = 8,
    threads: Threads = None,
    device: Annotated[
        Literal["auto", "cpu", "gpu"],
        typer.Option(help="auto: a GPU where TensorFlow finds one."),
    ] = "auto",
) -> None:
    """Write the masks that a model predicts of images, under their names and at their own size.

    OUT gets masks/ (PNG in the classes' colours), overlays/, probabilities/ on request, and
    predictions.csv: a line an image. A bad file is reported and the rest goes on.

    Exit codes: 0 all are predicted; 1 some could not be read; 2 bad input, none could be read, or
    OUT cannot be written.
    """
    from search.inference.model_metadata import digest_of
    from search.inference.model_opening import open_model
    from search.inference.prediction import PredictOptions
    from search.inference.prediction_folder import Folder
    from search.inference.prediction_inputs import find_images

    console, workers = Console(), threads or os.cpu_count() or 1
    found = find_images(images, out)
    opened, facts = open_model(model, config, workers, device)
    options = PredictOptions(tiles, overlap, scale, flips, probabilities, overlays, batch, workers)
    folder = Folder(out, facts.classes, facts.colors)
    folder.begin(_record(facts, options, images, digest_of(model)))
    _describe(console, facts, found)
    started = time.perf_counter()
    outcomes = _run(console, opened, facts, folder, found.inputs, options)
    failed = _summarise(console, outcomes, out, time.perf_counter() - started)
    if failed:
        raise typer.Exit(2 if failed == len(outcomes) else 1)


def _record(facts: Any, options: Any, images: str, digest: str) -> dict[str, Any]:
    from dataclasses import asdict

    from search.process.hardware import git_revision, versions

    return {
        "model": {"path": str(facts.path), "sha256": digest},
        "classes": {
            name: list(color) for name, color in zip(facts.classes, facts.colors, strict=True)
        },
        "images": images,
        "options": asdict(options),
        "versions": versions(),
        "git_revision": git_revision(),
    }


def _describe(console: Console, facts: Any, found: Any) -> None:
    if facts.source is None:
        text = (
            "Which classes the model tells apart is recorded nowhere beside it: they are called "
            "class 1, class 2, ... in colours of our own; --config names a file that says it."
        )
        console.print(Text(text, style="yellow"), soft_wrap=True)
    for name in found.doubles:
        text = f"several images are called {name}: their suffixes stay in what is written"
        console.print(Text(text, style="yellow"), soft_wrap=True)


def _run(
    console: Console, model: Any, facts: Any, folder: Any, inputs: Sequence[Any], options: Any
) -> list[Any]:
    from search.inference.prediction import predict as predict_images
    from search.terminal.display import image_progress

    outcomes: list[Any] = []
    with image_progress(console, "predicting") as progress:
        progress(0, len(inputs))
        steps = predict_images(
            model.predict,
            facts,
            folder,
            inputs,
            options,
            lambda share: progress(len(outcomes) + share, len(inputs)),
        )
        for outcome in steps:
            outcomes.append(outcome)
            folder.note(outcome)
            progress(len(outcomes), len(inputs))
    return outcomes


def _summarise(console: Console, outcomes: Sequence[Any], out: Path, seconds: float) -> int:
    """Print what came of it; return how many images could not be read."""
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        text = Text(f"{outcome.image}: {outcome.error}", style="red")
        console.print(text, soft_wrap=True)
    done = [outcome for outcome in outcomes if not outcome.error]
    tiled = sum(outcome.how == "tiled" for outcome in done)
    parts = [f"{len(done)} of {len(outcomes)} images predicted in {seconds:.1f} s"]
    if tiled:
        parts.append(f"{tiled} of them in tiles, at their own scale")
    if len(done) > tiled:
        parts.append(f"{len(done) - tiled} resized to the model's size, as in training")
    console.print("; ".join(parts), highlight=False, soft_wrap=True)
    console.print(f"written: {out} (masks/, predictions.csv, ...)", highlight=False, soft_wrap=True)
    return len(failed)
