"""The command ``train``: one config in full, by a trial's code path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from search.cli_options import Overrides


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML of constants, such as best.yaml.")
    ],
    out_dir: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="Folder of metrics and model.")
    ],
    set_: Overrides = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop after this many epochs without a better objective. Default: the config's "
            "early_stopping_patience, else a quarter of its epochs, at least 10.",
        ),
    ] = None,
) -> None:
    """Train one config in full, from scratch or from the last epoch in OUT_DIR."""
    from search.config import StudyConfig
    from search.drawing import describe_dice
    from search.production import TrainOptions, train_config
    from search.progress import preparation

    console = Console()
    with preparation(console) as show:
        best = train_config(
            StudyConfig.load(config, set_ or ()),
            out_dir,
            TrainOptions(patience=patience),
            on_epoch=lambda record: _print_epoch(console, record),
            progress=show,
        )

    console.print(
        f"best epoch {best['epoch']}: {describe_dice(best['dice'])}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"model: {out_dir / 'best.keras'}", highlight=False, soft_wrap=True)


def _print_epoch(console: Console, record: Mapping[str, Any]) -> None:
    from search.drawing import describe_dice

    value = record["mean_foreground_dice"]
    console.print(
        f"epoch {record['epoch']}: loss {record['train_loss']:.4f}, validation "
        f"{record['validation_loss']:.4f}, mean foreground Dice "
        f"{'–' if value is None else f'{value:.4f}'} ({describe_dice(record['dice'])}), "
        f"{record['seconds']['total']:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
