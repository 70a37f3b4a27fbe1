"""A run as one sees it: with its display, here or on the head of a cluster."""

from __future__ import annotations

from rich.console import Console

from search.config.schema import StudyConfig
from search.terminal.display import preparation
from search.terminal.progress import run_display
from search.tuning.remote import is_ray_client, run_remotely
from search.tuning.runner import RunSummary, run_and_describe


def run(
    config: StudyConfig, console: Console | None = None, *, take_over: bool = False
) -> RunSummary:
    """Run a study, or continue it: running again is resuming.

    Args:
        config: The study; :func:`search.load_config` reads one. Where its Ray address begins with
            ``ray://``, all of it runs on that cluster's head.
        console: Where its progress is shown; None: a table in a terminal, plain lines elsewhere.
        take_over: Whether to take the study from a process that gives no sign of life.

    Returns:
        The study directory, and how its trials ended.

    Raises:
        ConfigError: where the config does not fit the data or the study that is continued.
        data_pipeline.problems.DataError: listing every bad file.
        RunError: where it cannot run here, or stays unfinished; see
            :func:`search.tuning.runner.run_study`.
    """
    console = console or Console()
    with run_display(config, console) as observer, preparation(console) as show:
        if is_ray_client(config):
            return run_remotely(config, observer, show, take_over)
        return run_and_describe(config, observer, show, take_over)
