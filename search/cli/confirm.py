"""The command ``confirm``: a study's top configs trained again over seeds and ranked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="resources.X=VALUE",
        help="Override a field of resources, or data.source and data.store_path; may be repeated.",
    ),
]


def confirm(
    study_dir: Annotated[str, typer.Argument(metavar="STUDY_DIR", help="A study's directory.")],
    top: Annotated[
        int | None,
        typer.Option(help="Best configs of the study to confirm. Default: as before, else 3."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Trainings of each config. Default: as before, else 5."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="For small data: score every image once, by a cross-validation over groups with "
            "so many folds, instead of the test split. At least 3."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A running Ray: auto or HOST:PORT; local: start one here. Default: the study's "
            "resources.ray_address, else RAY_ADDRESS, else local.",
        ),
    ] = None,
    set_: Overrides = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Take the confirmation from a process that is dead."),
    ] = False,
) -> None:
    """Train a study's best configs and its best baseline again over seeds, and rank them.

    Each is scored on the untouched test split, at the images' own size. Running again goes on where
    it stopped; with larger --top or --seeds it adds what is missing. ``export`` then prefers the
    config that confirmed best.

    Exit codes: 0 confirmed; 1 no config has a score over all of its seeds, or the scores of some
    trainings do not compare with the others'; 2 bad input; 75 the storage stayed out of reach, or
    another process took it over: try again later; 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    from search.confirm.confirming import ConfirmOptions, confirm_study
    from search.terminal import confirmation
    from search.terminal.display import preparation

    console = Console()
    overrides = [*(set_ or ()), *([f"resources.ray_address={address}"] if address else ())]
    options = ConfirmOptions(top, seeds, folds, tuple(overrides), take_over)
    directory = _directory(study_dir)
    with confirmation.confirmation_display(console) as observer, preparation(console) as show:
        outcome = confirm_study(directory, options, observer, show)
    for line in confirmation.ranking_lines(outcome.confirmation):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if outcome.confirmation.missing:
        why = f"stopped: {outcome.stopped}; " if outcome.stopped else ""
        console.print(f"{why}not finished; the same command continues it", highlight=False)
    elif outcome.confirmation.incumbent is not None:
        line = f"next: flexunet-search export {directory} {directory / 'best'}"
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _directory(text: str) -> Path:
    """Return the study directory.

    Raises:
        search.config.errors.ConfigError: for a URL.
    """
    from search.config.errors import ConfigError
    from search.config.locations import is_url

    if is_url(text):
        problem = (
            "expected a folder that every node sees, received a URL: copy the study into one (its "
            "study.yaml, data.json and trials/ are enough), confirm it there, copy confirm/ back "
            "for `report` and `export`"
        )
        raise ConfigError(text, [problem])
    return Path(text)
