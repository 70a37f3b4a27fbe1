"""The command ``train``: one config in full, by a trial's code path."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from results.records import file_names
from results.records.epochs import Epoch
from search.cli.options import Overrides
from search.errors import INTERRUPTED


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A config of constants, such as best.yaml.")
    ],
    out_dir: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="Folder of metrics and model.")
    ],
    set_: Overrides = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop after this many epochs without a better early_stopping_metric. Default: the "
            "config's early_stopping_patience, else a quarter of its epochs, at least 10.",
        ),
    ] = None,
    final: Annotated[
        bool,
        typer.Option(
            "--final", help="Train on the training and the validation images, without validation."
        ),
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of --final. Default: the config's provenance.best_epoch."),
    ] = None,
    epochs_from: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT_DIR", help="Take the epochs of --final from this training's best epoch."
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs that share each batch, a worker. Default: one, if any."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes that share each batch, on a node each where it can."),
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The running Ray of --workers: auto or HOST:PORT."),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits each time; may be slower.")
    ] = False,
    pictures: Annotated[
        int, typer.Option(min=0, help="Images that are predicted as the training goes on.")
    ] = 4,
    pictures_every: Annotated[
        int, typer.Option(min=1, metavar="K", help="Predict them after every K epochs.")
    ] = 1,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard/--no-tensorboard", help="Write its event files.")
    ] = True,
) -> None:
    """Train one config in full, from scratch or from the last epoch in OUT_DIR.

    Running again is resuming. Exit codes: 0 trained; 2 bad input, or a disk that stayed full; 75 a
    worker was lost, 130 stopped by Ctrl-C: the same command goes on.
    """
    from search.config.loading import load_config
    from search.terminal.display import preparation
    from search.training.plan import TrainOptions
    from search.training.train import train_config

    console = Console()
    study = load_config(config, set_ or (), alone=True)
    options = TrainOptions(
        patience=patience,
        final=final,
        epochs=epochs,
        epochs_from=epochs_from,
        gpus=gpus,
        workers=workers,
        address=address,
        deterministic=deterministic,
        pictures=pictures,
        pictures_every=pictures_every,
        tensorboard=tensorboard,
    )
    lines = EpochLines(console, out_dir)
    try:
        with preparation(console) as show:
            best = train_config(
                study, out_dir, options, on_epoch=lines.show, progress=show, note=lines.note
            )
    except KeyboardInterrupt:
        lines.note("stopped; the same command goes on after the last epoch that is told above")
        raise typer.Exit(INTERRUPTED) from None
    lines.end(best, study.data.source)


class EpochLines:
    """Prints a training: a line an epoch, and what came of it.

    Args:
        console: Where to print.
        out_dir: The training's folder.
    """

    def __init__(self, console: Console, out_dir: Path) -> None:
        self._console = console
        self._out_dir = out_dir
        self._seconds: list[float] = []
        self._started = time.monotonic()

    def note(self, message: str) -> None:
        """Print what the user should know."""
        self._print(message, style="yellow")

    def show(self, epoch: Epoch) -> None:
        """Print an epoch, and how long the rest takes at most."""
        from search.terminal.table import describe_dice, duration, score

        self._seconds.append(epoch.seconds.total or 0.0)
        parts = [f"loss {epoch.train_loss:.4f}"]
        if epoch.dice:
            parts += [
                f"validation {epoch.validation_loss:.4f}",
                f"mean foreground Dice {score(epoch.mean_foreground_dice)} "
                f"({describe_dice(epoch.dice)})",
            ]
        last = self._last_epoch()
        parts.append(f"{self._seconds[-1]:.1f} s")
        left = (last or epoch.epoch) - epoch.epoch
        if left > 0:
            usual = statistics.median(self._seconds[-5:])  # the first one compiles the model
            parts.append(f"at most {duration(left * usual)} left")
        of = f"/{last}" if last else ""
        self._print(f"epoch {epoch.epoch}{of}: {', '.join(parts)}")

    def end(self, best: Epoch, data: str) -> None:
        """Print the epoch of the model, the files, and what to do next."""
        from search.terminal.table import describe_dice, duration

        out, model = self._out_dir, self._out_dir / file_names.MODEL
        if self._seconds:
            took = duration(time.monotonic() - self._started)
            count = len(self._seconds)
            self._print(f"{count} epoch{'s' if count > 1 else ''} in {took}")
        if best.dice:
            self._print(f"best epoch {best.epoch}: {describe_dice(best.dice)}")
        else:
            self._print(f"trained on training and validation images for {best.epoch} epochs")
        self._print(f"model: {model}")
        self._print(f"curves: {out / 'training.html'}, numbers: {out / 'metrics.csv'}")
        if (out / "predictions.html").exists():
            self._print(f"predictions by epoch: {out / 'predictions.html'}")
        self._print(f"next: flexunet-search evaluate {model} {data}")
        self._print(f"      flexunet-search predict {model} IMAGES OUT")

    def _last_epoch(self) -> int | None:
        """Return the epoch that the training ends with at the latest, as its record tells."""
        import yaml

        try:
            told = yaml.safe_load((self._out_dir / file_names.TRAINING).read_text(encoding="utf-8"))
            return int(told.get("epochs") or told["config"]["train"]["epochs"])
        except (OSError, LookupError, TypeError, ValueError, yaml.YAMLError):
            return None

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)
