"""The study's best config and checkpoint in a folder of their own, ready for production."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from results.records import StudyRecord, TrialRecord, load_study
from results.searched import searched_fields

CONFIG_NAME = "best.yaml"
MODEL_NAME = "best.keras"
README_NAME = "README.md"
_NAMES = {CONFIG_NAME, MODEL_NAME, README_NAME}

_HEADER = """\
# The best trial of study {study}: trial {trial}, {objective} {value:.4f} on the validation split
# (chosen as the best of many: optimistic). Train it in full:
#
#   flexunet-search train {config} OUT_DIR
#
"""

_README = """\
# {study}: trial {trial}

The best of the study's {trials} trials by {objective}: **{value:.4f}** at epoch {epoch}, on the
validation split. The best score of many on the split that chose it is optimistic: score the model
on the untouched test split before quoting it.

| class | Dice |
|---|---|
{dice}

Train the config in full, from scratch:

    flexunet-search train {config} OUT_DIR

Or use the checkpoint of the trial's best epoch. Images are [batch, {height}, {width}, {channels}],
0-255 (the model scales them itself); it returns probabilities [batch, {height}, {width}, {classes}]
in the order of the table above:

    python -c "import keras; keras.saving.load_model('{model}').summary()"

`{config}` holds the whole config and, under `provenance`, the study, trial, data fingerprint,
versions and scores it comes from.
"""


class ExportError(ValueError):
    """A study without anything to export, or a folder that must not be replaced."""


def export_best(study_dir: Path | str, out_dir: Path | str) -> Path:
    """Write the incumbent's config, checkpoint and a README into ``out_dir``.

    The incumbent is the COMPLETE trial of the highest value. The folder appears in one step, whole;
    an earlier export there is replaced.

    Args:
        study_dir: the study directory.
        out_dir: folder to write: a new one, an empty one or an earlier export.

    Returns:
        ``out_dir``.

    Raises:
        RecordError: for a directory that cannot be read as a study.
        ExportError: if no trial is COMPLETE with a value, its checkpoint is missing, its parameters
            do not fit the config, or ``out_dir`` holds other files.
        OSError: where ``out_dir`` cannot be written.
    """
    study = load_study(study_dir)
    trial = _incumbent(study)
    config = best_config(study, trial)
    out = Path(out_dir)
    _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        shutil.copyfile(_checkpoint(trial), made / MODEL_NAME)
        (made / CONFIG_NAME).write_text(_config_text(study, trial, config), encoding="utf-8")
        (made / README_NAME).write_text(_readme_text(study, trial), encoding="utf-8")
        made.chmod(0o755)  # mkdtemp makes it private
        _move_into_place(made, out)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return out


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
    checkpoint = _checkpoint(trial)
    if not checkpoint.is_file():
        raise ExportError(
            f"expected the checkpoint of trial {trial.number}, the best one, at {checkpoint}; "
            "it is missing"
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


def _config_text(study: StudyRecord, trial: TrialRecord, config: dict[str, Any]) -> str:
    header = _HEADER.format(
        study=_one_line(study.name),
        trial=trial.number,
        objective=_one_line(study.objective),
        value=trial.value,
        config=CONFIG_NAME,
    )
    return header + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _readme_text(study: StudyRecord, trial: TrialRecord) -> str:
    dice = _scores(study, trial)["dice"].items()
    rows = [f"| {_cell(name)} | {_score(score)} |" for name, score in dice]
    height, width, channels = study.data.get("image_shape") or ("height", "width", "channels")
    return _README.format(
        study=_one_line(study.name),
        trial=trial.number,
        trials=len(study.trials),
        objective=_one_line(study.objective),
        value=trial.value,
        epoch=trial.best_epoch,
        dice="\n".join(rows),
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
