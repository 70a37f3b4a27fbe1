"""The study's best config and checkpoint in a folder of their own, ready for production."""

from __future__ import annotations

import copy
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from results.confirmation import (
    FOLDS_CAVEAT,
    PREPARED_CAVEAT,
    Confirmation,
    Run,
    interval_text,
    load_confirmation,
    run_folder,
    seeds_text,
    where,
)
from results.records import StudyRecord, TrialRecord, load_study
from results.searched import searched_fields
from results.words import listed

CONFIG_NAME = "best.yaml"
MODEL_NAME = "best.keras"
README_NAME = "README.md"
_NAMES = {CONFIG_NAME, MODEL_NAME, README_NAME}

_COMMAND = """\
# Train it in full:
#
#   flexunet-search train {config} OUT_DIR
#
"""

_HEADER = """\
# The best trial of study {study}: trial {trial}, {objective} {value:.4f} on the validation split
# (chosen as the best of many: optimistic). Train it in full:
#
#   flexunet-search train {config} OUT_DIR
#
"""

_HEADER_OF_ANY = """\
# Trial {trial} of study {study}, as asked for: {objective} {value:.4f} on the validation split.
"""

_HEADER_CONFIRMED = """\
# The config of study {study} that confirmed best: trial {trial}, {objective} {mean}
# ({confirmed}).
"""

_BEST = """\
The best of the study's {trials} trials by {objective}: **{value:.4f}** at epoch {epoch}, on the
validation split. The best score of many on the split that chose it is optimistic: score the model
on the untouched test split before quoting it."""

_ANY = """\
One of the study's {trials} trials, chosen by hand: {objective} **{value:.4f}** at epoch {epoch}, on
the validation split."""

_CONFIRMED = """\
The study's best configs were trained again over seeds, and this one confirmed best: {objective}
**{mean}** ({confirmed}), of images that chose {unchosen}; the best of {candidates} on these images,
so still slightly optimistic.{caveats}
In the search it had {value:.4f} on the validation split."""

_README = """\
# {study}: trial {trial}

{chosen}

| class | {column} |
|---|---|
{dice}

Train the config in full, from scratch:

    flexunet-search train {config} OUT_DIR

Or use {checkpoint}. Images are [batch, {height}, {width}, {channels}],
0-255 (the model scales them itself); it returns probabilities [batch, {height}, {width}, {classes}]
in the order of the table above:

    python -c "import keras; keras.saving.load_model('{model}').summary()"

`{config}` holds the whole config and, under `provenance`, the study, trial, data fingerprint,
versions and scores it comes from.
"""


class ExportError(ValueError):
    """A study without anything to export, or a folder that must not be replaced."""


@dataclass(frozen=True)
class _Choice:
    """What is exported: a trial's config, a model of it, and what confirmed it, if anything did."""

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


def export_best(
    study_dir: Path | str,
    out_dir: Path | str,
    *,
    trial: int | None = None,
    searched: bool = False,
) -> Path:
    """Write the best config, a checkpoint of it and a README into ``out_dir``.

    Of a study that was confirmed it is the config that confirmed best, with the model of its
    training of the highest *validation* value: what it scored on the test split chooses nothing.
    Else it is the COMPLETE trial of the highest value. The folder appears in one step, whole; an
    earlier export there is replaced.

    Args:
        study_dir: the study directory.
        out_dir: folder to write: a new one, an empty one or an earlier export.
        trial: number of another trial to export instead, with its own model.
        searched: whether to take the search's own best, whatever was confirmed.

    Returns:
        ``out_dir``.

    Raises:
        RecordError: for a directory that cannot be read as a study.
        ExportError: if no trial is COMPLETE with a value, there is no such trial, its checkpoint is
            missing, its parameters do not fit the config, or ``out_dir`` holds other files.
        OSError: where ``out_dir`` cannot be written.
    """
    study = load_study(study_dir)
    choice = _choose(study, trial, searched)
    config = best_config(study, choice.trial)
    config["provenance"] |= _confirmed_facts(choice)
    out = Path(out_dir)
    _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        shutil.copyfile(choice.model, made / MODEL_NAME)
        (made / CONFIG_NAME).write_text(_config_text(study, choice, config), encoding="utf-8")
        (made / README_NAME).write_text(_readme_text(study, choice), encoding="utf-8")
        made.chmod(0o755)  # mkdtemp makes it private
        _move_into_place(made, out)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return out


def model_to_export(study_dir: Path, trial: int | None = None, searched: bool = False) -> Path:
    """Return where the model is that ``export_best`` copies, below the study directory.

    Raises:
        RecordError, ExportError: as ``export_best``, but for a model that is missing.
    """
    return _chosen(load_study(study_dir), trial, searched).model


def _choose(study: StudyRecord, trial: int | None, searched: bool) -> _Choice:
    choice = _chosen(study, trial, searched)
    if not choice.model.is_file():
        which = ", the best one," if trial is None else ""
        of = f"trial {choice.trial.number}{which}" if choice.run is None else choice.run.name
        raise ExportError(f"expected the checkpoint of {of} at {choice.model}; it is missing")
    return choice


def _chosen(study: StudyRecord, trial: int | None, searched: bool) -> _Choice:
    if trial is not None:
        if searched:
            raise ExportError("expected --trial or --searched, received both")
        asked = _trial(study, trial)
        return _Choice(asked, _checkpoint(asked), asked=True)
    found = None if searched else load_confirmation(study.path, study)
    if found is not None and found.incumbent is not None:
        run = found.best_run(found.incumbent)
        if run is not None:
            model = run_folder(study.path, run) / MODEL_NAME
            return _Choice(_trial(study, found.incumbent), model, found, run)
    best = _incumbent(study)
    return _Choice(best, _checkpoint(best))


def _trial(study: StudyRecord, number: int) -> TrialRecord:
    """The trial of a number.

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


def _confirmed_facts(choice: _Choice) -> dict[str, Any]:
    """What provenance says of the confirmation; nothing without one."""
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


def best_config(study: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    """The study's config with the trial's parameters as constants, and its provenance.

    Args:
        study: the study's records.
        trial: one of its trials.

    Returns:
        The config: every searched field a constant, ``search.baselines`` and
        ``search.warm_start`` dropped, ``provenance`` added.

    Raises:
        ExportError: if the trial has no value for a searched field, or one for another.
    """
    config = copy.deepcopy(dict(study.config))
    searched = searched_fields(config)
    problems = [f"no value for {name}" for name in searched if name not in trial.params]
    problems += [
        f"a value for {name}, which the study's config does not search"
        for name in trial.params
        if name not in searched
    ]
    if problems:
        raise ExportError(
            f"expected trial {trial.number} to fit {study.path / 'study.yaml'}, received "
            + "; ".join(problems)
        )
    for name in searched:
        section, _, key = name.partition(".")
        config[section][key] = trial.params[name]
    if isinstance(config.get("search"), Mapping):
        dropped = ("baselines", "warm_start")
        config["search"] = {k: v for k, v in config["search"].items() if k not in dropped}
    config["provenance"] = _provenance(study, trial)
    return config


def _incumbent(study: StudyRecord) -> TrialRecord:
    trial = study.incumbent
    if trial is None:
        states = [f"{len(study.with_state(state))} {state}" for state in _listed_states(study)]
        raise ExportError(
            f"expected a COMPLETE trial with a value in {study.path}, received "
            + (", ".join(states) or "no trials")
        )
    return trial


def _listed_states(study: StudyRecord) -> list[Any]:
    return sorted({trial.state for trial in study.trials})


def _checkpoint(trial: TrialRecord) -> Path:
    return trial.path / MODEL_NAME


def _provenance(study: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    return {
        "study": study.name,
        "trial": trial.number,
        "best_epoch": trial.best_epoch,
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


def _config_text(study: StudyRecord, choice: _Choice, config: dict[str, Any]) -> str:
    template = _HEADER
    if choice.asked:
        template = _HEADER_OF_ANY + _COMMAND
    elif choice.confirmation is not None:
        template = _HEADER_CONFIRMED + _COMMAND
    header = template.format(config=CONFIG_NAME, **_words(study, choice))
    return header + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _words(study: StudyRecord, choice: _Choice) -> dict[str, Any]:
    """What the texts say of the choice."""
    trial, row, found = choice.trial, choice.row, choice.confirmation
    words = {
        "study": _one_line(study.name),
        "trial": trial.number,
        "trials": len(study.trials),
        "objective": _one_line(study.objective),
        "value": math.nan if trial.value is None else trial.value,
        "epoch": trial.best_epoch,
    }
    if row is None or found is None:
        return words
    tied = found.ranking.loc[found.ranking["tied"], "trial"].astype(int).astype(str).tolist()
    caveats = [f"Not distinguishable from trial {listed(tied)}."] if tied else []
    if found.plan.folds is not None:
        caveats.append(f"But {FOLDS_CAVEAT}.")
    if found.resolution == "prepared":
        caveats.append(f"It was {PREPARED_CAVEAT}.")
    return words | {
        "mean": f"{row['mean']:.4f}",
        "unchosen": "no epoch" if found.plan.folds else "neither the candidates nor an epoch",
        "candidates": len(found.plan.configs),
        "confirmed": f"{interval_text(row['low'], row['high'])}, "
        f"{seeds_text(int(row['seeds']))}, {where(found.plan)}",
        "caveats": "".join(f"\n{caveat}" for caveat in caveats),
    }


def _readme_text(study: StudyRecord, choice: _Choice) -> str:
    row, run = choice.row, choice.run
    template = _ANY if choice.asked else _BEST if row is None else _CONFIRMED
    words = _words(study, choice)
    dice = _scores(study, choice.trial)["dice"]
    column, checkpoint = "Dice", "the checkpoint of the trial's best epoch"
    if row is not None and run is not None:
        dice = {name: _or_none(float(row[f"dice {name}"])) for name in study.classes}
        column = "Dice, mean over seeds"
        part = " (of a part of the data)" if run.fold is not None else ""
        checkpoint = f"the checkpoint of {run.name}{part}, the best of its trainings on validation"
    height, width, channels = study.data.get("image_shape") or ("height", "width", "channels")
    return _README.format(
        study=words["study"],
        trial=words["trial"],
        chosen=template.format(**words),
        column=column,
        dice="\n".join(f"| {_cell(name)} | {_score(score)} |" for name, score in dice.items()),
        checkpoint=checkpoint,
        config=CONFIG_NAME,
        model=MODEL_NAME,
        height=height,
        width=width,
        channels=channels,
        classes=len(study.classes),
    )


def _score(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.4f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|").replace("<", "&lt;")


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"expected a folder to write, received the file {out}")
    others = sorted(path.name for path in out.iterdir() if path.name not in _NAMES)
    if others:
        raise ExportError(
            f"expected a new or empty folder or an earlier export, received {out}, which holds "
            + ", ".join(others[:5])
            + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        )


def _move_into_place(made: Path, out: Path) -> None:
    if not out.exists():
        os.rename(made, out)
        return
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    os.rename(out, aside)  # onto the empty folder just made
    try:
        os.rename(made, out)
    except BaseException:
        os.rename(aside, out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
