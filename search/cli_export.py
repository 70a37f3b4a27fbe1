"""The command ``export``: a study's best config and model in a folder of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search.cli_options import StudyDir


def export(
    study_dir: StudyDir,
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder to write.")],
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", help="Export this trial instead.")
    ] = None,
    searched: Annotated[
        bool, typer.Option("--searched", help="The search's own best, whatever was confirmed.")
    ] = False,
) -> None:
    """Write the best config (best.yaml), a model of it (best.keras) and how to use them.

    The best is the config that `confirm` found; before that the best trial of the search.
    """
    from results.export import export_best
    from search.remote_store import fetch_model

    fetch_model(study_dir, trial, searched)
    out = export_best(study_dir, out_dir, trial=trial, searched=searched)
    Console().print(f"exported: {out}", soft_wrap=True, highlight=False)
