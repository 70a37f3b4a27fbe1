"""Which config of a study is exported, and which model of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.errors import UserError
from results.analysis.confirmation import Confirmation, Run, load_confirmation, run_folder
from results.records import file_names
from results.records.searched import searched_fields
from results.records.study import StudyRecord, TrialRecord, not_kept

MODEL_NAME = file_names.MODEL


class ExportError(UserError, ValueError):
    """A study without anything to export, options that do not fit, or a folder to be kept."""


@dataclass(frozen=True)
class Choice:
    """What is exported: a trial's config and a model of it.

    Attributes:
        trial: The trial.
        model: The file of the model.
        confirmation: What confirmed the config; None where it was chosen without.
        run: The training of the confirmation that the model is of.
        asked: Whether the trial was asked for by its number.
    """

    trial: TrialRecord
    model: Path
    confirmation: Confirmation | None = None
    run: Run | None = None
    asked: bool = False

    @property
    def row(self) -> pd.Series | None:
        """The trial's row of the confirmation's ranking."""
        if self.confirmation is None:
            return None
        ranking = self.confirmation.ranking
        return ranking.loc[ranking["trial"] == self.trial.number].iloc[0]


def choose(
    study: StudyRecord, trial: int | None = None, searched: bool = False, confirmed: bool = False
) -> Choice:
    """Choose a config and a model of it that is there.

    Args:
        study: The study's records.
        trial, searched, confirmed: As :class:`results.exports.options.ExportOptions` has them.

    Raises:
        ExportError: where no trial fits, or its model is missing.
    """
    choice = chosen(study, trial, searched, confirmed)
    if not choice.model.is_file():
        which = ", the best one," if trial is None else ""
        of = f"trial {choice.trial.number}{which}" if choice.run is None else choice.run.name
        why = "" if choice.run is not None else not_kept(study, choice.trial)
        raise ExportError(f"expected the checkpoint of {of} at {choice.model}; it is missing{why}")
    return choice


def chosen(
    study: StudyRecord, trial: int | None = None, searched: bool = False, confirmed: bool = False
) -> Choice:
    """Choose as ``choose``, whether the model is there or not."""
    if trial is not None:
        asked = _trial(study, trial)
        return Choice(asked, _checkpoint(asked), asked=True)
    found = None if searched else load_confirmation(study.path, study)
    if found is not None and found.incumbent is not None:
        run = found.best_run(found.incumbent)
        if run is not None:
            model = run_folder(study.path, run) / MODEL_NAME
            return Choice(_trial(study, found.incumbent), model, found, run)
    if confirmed:
        raise ExportError(_unconfirmed(study, found))
    best = _incumbent(study)
    return Choice(best, _checkpoint(best))


def _unconfirmed(study: StudyRecord, found: Confirmation | None) -> str:
    received = "none" if found is None else "; ".join(found.verdict())
    if found is not None and found.incumbent is not None:
        received = f"no training of trial {found.incumbent} with a validation score"
    return (
        f"expected a finished confirmation of {study.path}, received {received}: "
        f"flexunet-search confirm {study.path} runs it or goes on with it"
    )


def _trial(study: StudyRecord, number: int) -> TrialRecord:
    """Return the trial of a number.

    Raises:
        ExportError: where there is none, or it has no value.
    """
    for trial in study.trials:
        if trial.number == number and trial.value is not None:
            return trial
    known = [str(trial.number) for trial in study.trials if trial.value is not None]
    raise ExportError(
        f"expected a trial with a value in {study.path}, received {number}; there are "
        + (", ".join(known[:20]) + (" ..." if len(known) > 20 else "") or "none")
    )


def _incumbent(study: StudyRecord) -> TrialRecord:
    trial = study.incumbent
    if trial is None:
        states = sorted({trial.state for trial in study.trials})
        counts = [f"{len(study.with_state(state))} {state}" for state in states]
        raise ExportError(
            f"expected a COMPLETE trial with a value in {study.path}, received "
            + (", ".join(counts) or "no trials")
        )
    return trial


def _checkpoint(trial: TrialRecord) -> Path:
    return trial.path / MODEL_NAME


def exported_config(study: StudyRecord, choice: Choice) -> dict[str, Any]:
    """Return the config of a choice as it is written: constants, the classes, where it comes
    from.
    """
    config = best_config(study, choice.trial)
    config["provenance"] |= _confirmed_facts(choice)
    return config


def best_config(study: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    """Return the study's config with the trial's parameters as constants, and its provenance.

    Args:
        study: the study's records.
        trial: one of its trials.

    Returns:
        The config: every searched field a constant, ``data.classes`` stated with their colours
        where the study's record knows them, ``search.baselines`` and ``search.warm_start``
        dropped, ``provenance`` added.

    Raises:
        ExportError: if the trial has no value for a searched field, or one for another.
    """
    config = copy.deepcopy(dict(study.config))
    searched = searched_fields(config)
    problems = [
        f"no value for {name}"
        for name, field in searched.items()
        if name not in trial.params and not field.when
    ]
    problems += [
        f"a value for {name}, which the study's config does not search"
        for name in trial.params
        if name not in searched
    ]
    if problems:
        raise ExportError(
            f"expected trial {trial.number} to fit {study.path / file_names.STUDY}, received "
            + "; ".join(problems)
        )
    for name, field in searched.items():
        section, _, key = name.partition(".")
        config[section][key] = trial.params.get(name, field.otherwise)
    classes = class_colors(study)
    if classes and isinstance(config.get("data"), Mapping):
        config["data"] = {**config["data"], "classes": classes}
    if isinstance(config.get("search"), Mapping):
        dropped = ("baselines", "warm_start")
        config["search"] = {k: v for k, v in config["search"].items() if k not in dropped}
    config["provenance"] = _provenance(study, trial)
    return config


def class_colors(study: StudyRecord) -> dict[str, list[int]]:
    """RGB colour of each class in masks, background first; empty where the record lacks one."""
    told = study.data.get("colors")
    if not isinstance(told, Mapping):
        data = study.config.get("data")
        told = data.get("classes") if isinstance(data, Mapping) else None
    if not isinstance(told, Mapping) or any(name not in told for name in study.classes):
        return {}
    return {name: [int(part) for part in told[name]] for name in study.classes}


def _provenance(study: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    return {
        "study": study.name,
        "trial": trial.number,
        "best_epoch": trial.model_epoch,
        "scores": _scores(study, trial),
        "data_fingerprint": study.data_fingerprint,
        "versions": dict(study.versions),
        "git_revision": study.git_revision,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _scores(study: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    row, curve = trial.best_row, trial.curve
    if row is None:
        return {study.objective: trial.value, "dice": {}}
    dice = zip(study.classes, curve.dice[row].tolist(), strict=True)
    scores = {"mean_foreground_dice": _or_none(float(curve.mean_foreground_dice[row]))}
    scores[study.objective] = trial.value
    return {**scores, "dice": {name: _or_none(score) for name, score in dice}}


def _or_none(score: float) -> float | None:
    return None if score != score else score  # NaN: undefined


def _confirmed_facts(choice: Choice) -> dict[str, Any]:
    """Return what provenance says of the confirmation; nothing without one."""
    found, row = choice.confirmation, choice.row
    if found is None or row is None or choice.run is None:
        return {}
    tied = found.ranking.loc[found.ranking["tied"], "trial"]
    facts = {name: _or_none(float(row[name])) for name in ("mean", "low", "high")}
    return {
        "confirmed": {
            **facts,
            "seeds": int(row["seeds"]),
            "split": found.plan.split,
            "folds": found.plan.folds,
            "resolution": found.resolution,
            "not_distinguishable_from": [int(number) for number in tied],
            "model": choice.run.name,
        }
    }
