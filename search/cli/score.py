"""The command that looks closer at a study's models: ``score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from results.records import file_names
from search.cli.options import StudyDir

if TYPE_CHECKING:
    from data_pipeline.stores.store import Store
    from results.records.study import StudyRecord
    from search.config.schema import StudyConfig

UNTOUCHED = (
    "the test split is for one look at the end: who chooses a config by it, or looks at it often, "
    "has no untouched test split any more"
)


def score(
    study_dir: StudyDir,
    trial: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="Score this trial beside the best one and the baselines; may be repeated.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="train, valid or test; see what is said of test.")
    ] = "valid",
    source: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the data set lies now, if not where it did."),
    ] = None,
) -> None:
    """Count image by image what the best models predict, at the images' own size.

    A run does so at its end; this does it for studies that ended otherwise, and for other trials.
    What is scored already is kept. The report reads it: intervals, confusion, pictures.
    """
    from results.records.study import load_study
    from search.scoring.study import models_of, scored_models
    from search.storage.object_store import fetch_models, push_back

    console = Console()
    study = load_study(study_dir)
    config, store = _data_of(study, source)
    if split == "test":
        console.print(UNTOUCHED, highlight=False, soft_wrap=True)
    candidates = models_of(study, has_model=lambda trial: True)
    candidates += [model for model, _ in scored_models(study, store.fingerprint, lambda t: True)]
    named = [t.path.name for t in study.trials if t.number in (trial or ())]
    fetch_models(study_dir, {*(model.trial.path.name for model in candidates), *named})
    files = _score(console, study_dir, config, store, trial or [], split)
    for name in files:
        push_back(study_dir, name)
    where = study_dir / "evaluation"
    console.print(
        f"scores: {where}" if files else f"nothing new to score: {where}",
        highlight=False,
        soft_wrap=True,
    )


def _score(
    console: Console,
    study_dir: Path,
    config: StudyConfig,
    store: Store,
    trials: list[int],
    split: str,
) -> tuple[str, ...]:
    """Score in this process; return what was written."""
    import os

    from search.process.resources import WorkerResources
    from search.process.setup import set_up_process
    from search.process.stderr_redirect import stderr_to
    from search.scoring.study import score_study

    def tell(message: str) -> None:
        console.print(message, highlight=False, soft_wrap=True, markup=False)

    threads = os.cpu_count() or 1
    with stderr_to(study_dir / "score.log"):
        set_up_process(WorkerResources(cpus=threads, gpus=1))
        return score_study(
            study_dir,
            config,
            store,
            trials=trials,
            split=split,
            threads=threads,
            tell=tell,
            warn=tell,
        ).files


def _data_of(study: StudyRecord, source: Path | None) -> tuple[StudyConfig, Store]:
    """Return a study's config and its prepared data, prepared again where they are gone.

    Raises:
        ConfigError: where the data are other ones than the study's.
        DataError: where there are neither data nor a prepared store.
        OSError: where the data cannot be read, and there is no prepared store.
    """
    from data_pipeline.problems import DataError
    from data_pipeline.stores.prepare import find_prepared, prepare
    from search.config.errors import ConfigError
    from search.config.loading import config_from_record

    recorded = config = config_from_record(study.config, str(study.path / file_names.STUDY))
    if source is not None:
        data = config.data.model_copy(update={"source": str(source)})
        config = config.model_copy(update={"data": data})
    try:
        store = prepare(config.data)
    except (DataError, OSError):
        found = find_prepared(recorded.data, study.data_fingerprint)
        if found is None:
            raise
        return config, found
    if store.fingerprint != study.data_fingerprint:
        raise ConfigError(
            str(study.path),
            [
                f"data: expected the data of fingerprint {(study.data_fingerprint or '')[:16]}, "
                f"received {store.fingerprint[:16]}; the files or their preparation changed"
            ],
        )
    return config, store
