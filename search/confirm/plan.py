"""What is to be confirmed: which configs of a study, over how many seeds and folds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data_pipeline.config import SYNTHETIC
from data_pipeline.stores.cross_validation import FEWEST_FOLDS
from data_pipeline.stores.store import Store
from foundation.files import write_text
from results.analysis.baselines import baselines_by_rank
from results.analysis.confirmation import (
    FOLDER,
    PLAN,
    RUNS,
    ConfirmationPlan,
    PlannedConfig,
    Run,
    run_folder,
)
from results.records import file_names
from results.records.study import StudyRecord, TrialRecord
from search.config.errors import ConfigError
from search.config.loading import config_from_record, config_from_tree
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.config.yaml_source import parse_override, set_dotted
from search.study.attributes import derive_seed

TOP = 3
SEEDS = 5
SPLIT = "test"
# A class of fewer groups has no interval worth the name.
FEW_GROUPS = 3
SUGGESTED_FOLDS = 5
# Keeps the seeds apart from those of trials, derive_seed(study seed, number).
_CONFIRMING = 2
# What may differ from the study: none of it changes what a training's score means.
_OVERRIDABLE = ("resources", "data.source", "data.store_path")


def make_plan(
    study: StudyRecord,
    before: ConfirmationPlan | None = None,
    *,
    top: int | None = None,
    seeds: int | None = None,
    folds: int | None = None,
) -> ConfirmationPlan:
    """Plan the study's top configs and its best baseline; what was planned before stays.

    Args:
        study: The study's records.
        before: The plan that is continued.
        top: Configs of the highest values, no two of equal parameters; the earliest of equals.
            None: as before, else 3. Fewer than before: as before.
        seeds: Trainings of each; None: as before, else 5. Fewer than before: as before.
        folds: K of a cross-validation; None: as before, else the test split is scored.

    Raises:
        ConfigError: listing every problem: no COMPLETE trial, other folds or data than before,
            numbers out of range.
    """
    problems = list(_problems(study, before, top, seeds, folds))
    if problems:
        raise ConfigError(str(study.path), problems)
    top = max(top or 0, before.top if before else 0) or TOP
    return ConfirmationPlan(
        created=before.created if before else datetime.now(UTC).isoformat(timespec="seconds"),
        top=top,
        seeds=max(seeds or 0, before.seeds if before else 0) or SEEDS,
        folds=before.folds if before else folds,
        split=SPLIT,
        flips=before.flips if before else _flips(study),
        data_fingerprint=study.data_fingerprint,
        configs=_chosen(study, top, before.configs if before else ()),
    )


def _flips(study: StudyRecord) -> Any:
    return (study.config.get("search") or {}).get("score_flips", "none")


def _problems(
    study: StudyRecord,
    before: ConfirmationPlan | None,
    top: int | None,
    seeds: int | None,
    folds: int | None,
) -> Iterator[str]:
    for name, value, least in (
        ("top", top, 1),
        ("seeds", seeds, 1),
        ("folds", folds, FEWEST_FOLDS),
    ):
        if value is not None and value < least:
            yield f"--{name}: expected at least {least}, received {value}"
    if not _ranked(study):
        yield "expected a COMPLETE trial with a value to confirm, received none"
    if before is None:
        return
    if folds is not None and folds != before.folds:
        begun = "the test split" if before.folds is None else f"--folds {before.folds}"
        yield (
            f"--folds: expected {begun}, with which {FOLDER}/ was begun, received {folds}; move "
            f"{study.path / FOLDER} away to begin anew"
        )
    if before.data_fingerprint != study.data_fingerprint:
        yield (
            f"expected the data of {FOLDER}/{PLAN}, {before.data_fingerprint}, received "
            f"{study.data_fingerprint}"
        )


def _ranked(study: StudyRecord) -> list[TrialRecord]:
    """COMPLETE trials from best to worst, the earliest of equals first, no parameters twice.

    The incumbent goes first: where leading configs are trained again it leads by its mean.
    """
    means = {config.number: config.mean for config in study.configs}
    scored = [trial for trial in study.with_state("COMPLETE") if trial.number in means]
    ranked: dict[str, TrialRecord] = {}
    for trial in sorted(
        scored, key=lambda t: (t is not study.incumbent, -means[t.number], t.number)
    ):
        ranked.setdefault(_key(trial.params), trial)
    return list(ranked.values())


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _chosen(
    study: StudyRecord, top: int, before: Sequence[PlannedConfig]
) -> tuple[PlannedConfig, ...]:
    # Its training was stopped early, or ran: it can be trained. What has failed would again.
    baselines = [t for t in baselines_by_rank(study) if t.state in ("COMPLETE", "PRUNED")]
    names = {_key(trial.params): trial.baseline for trial in reversed(baselines)}
    chosen = {_key(config.params): config for config in before}
    for trial in (*_ranked(study)[:top], *baselines[:1]):
        key = _key(trial.params)
        chosen.setdefault(key, _planned(study, trial, names.get(key)))
    return tuple(sorted(chosen.values(), key=lambda c: (-_value(c), c.trial)))


def _planned(study: StudyRecord, trial: TrialRecord, baseline: str | None) -> PlannedConfig:
    trainings = study.trainings(trial)
    return PlannedConfig(
        trial=trial.number,
        baseline=baseline,
        value=trainings.mean if trainings.values else trial.value,
        params=dict(trial.params),
    )


def _value(config: PlannedConfig) -> float:
    return float("-inf") if config.value is None else config.value


def write_plan(study_dir: Path, plan: ConfirmationPlan) -> None:
    """Write the plan, in one step, and make the folder of the trainings."""
    (study_dir / FOLDER / RUNS).mkdir(parents=True, exist_ok=True)
    write_text(study_dir / FOLDER / PLAN, plan.model_dump_json(indent=1) + "\n")


def recorded_config(study: StudyRecord, overrides: Iterable[str] = ()) -> StudyConfig:
    """Return the config that a study has recorded, at the place where the study lies now.

    Args:
        study: The study's records.
        overrides: ``resources.x=value``; and data.source or data.store_path, where the data lie
            elsewhere now.

    Raises:
        ConfigError: listing every problem, such as an override of anything else.
    """
    source = str(study.path / file_names.STUDY)
    tree = config_from_record(study.config, source).to_tree()
    problems = []
    for override in overrides:
        try:
            path, value = parse_override(override)
            if not {path[0], ".".join(path)} & {*_OVERRIDABLE}:
                raise ValueError(f"expected a field of {', '.join(_OVERRIDABLE)}")
            set_dotted(tree, path, value)
        except ValueError as error:
            problems.append(f"--set {override}: {error}")
    if problems:
        raise ConfigError(source, problems)
    place = study.path.resolve()
    tree["study"] |= {"storage_path": str(place.parent)}
    if tree["data"]["source"] != SYNTHETIC:  # for processes that run elsewhere
        tree["data"]["source"] = str(Path(tree["data"]["source"]).expanduser().absolute())
    config = config_from_tree(tree, source)
    # A folder that was renamed may have a name that no new study could be given.
    moved = config.study.model_copy(update={"name": place.name})
    return config.model_copy(update={"study": moved})


def training_config(config: StudyConfig, planned: PlannedConfig, run: Run) -> TrialConfig:
    """Return the constants of one training; its seed is the same for every config.

    No trial has it: the seed that a config was lucky with must not confirm it.
    """
    return config.at(planned.params, derive_seed(config.study.seed, run.seed, _CONFIRMING))


def check_test_split(config: StudyConfig, plan: ConfirmationPlan, store: Store) -> list[str]:
    """Return the warnings about the images that confirm.

    Raises:
        ConfigError: without folds, where there is no test split.
    """
    if plan.folds is not None:
        return []
    split = store.splits.get(plan.split)
    if split is None or not split.count:
        problem = (
            f"expected a {plan.split} split, which chose no candidate and no epoch, received "
            f"none; "
            f"--folds {SUGGESTED_FOLDS} scores every image once by a cross-validation over groups"
        )
        raise ConfigError(config.data.source, [problem])
    thin = {
        name: groups
        for name, groups in groups_with(store, plan.split).items()
        if groups < FEW_GROUPS
    }
    if not thin:
        return []
    listed = ", ".join(f"{name} in {groups}" for name, groups in thin.items())
    return [
        f"few groups of the {plan.split} split show a class: {listed}; its score says little "
        f"beyond these (--folds {SUGGESTED_FOLDS} would score all images)"
    ]


def groups_with(store: Store, *splits: str) -> dict[str, int]:
    """Return how many groups show each foreground class in splits, at the source's resolution."""
    facts = store.survey
    rows = [row for split in splits for row in facts.rows(split)]
    return {
        name: len({facts.groups[row] for row in rows if facts.pixels[row, label] > 0})
        for label, name in enumerate(store.classes)
        if label
    }


def folder_of(study_dir: Path, run: Run) -> Path:
    """Return the folder of a training, made where the study is there."""
    folder = run_folder(study_dir, run)
    folder.mkdir(exist_ok=True)
    return folder
