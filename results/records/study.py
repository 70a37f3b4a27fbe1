"""Reads a study directory into plain frozen records; never touches the Optuna storage.

A study may be read while it runs: a trial whose folder has no ``trial.json`` yet is not counted,
an unfinished last line of ``metrics.jsonl`` is left out, and of an epoch that was trained twice
(the driver was killed between its line and its checkpoint) the later line counts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError

from foundation.errors import UserError
from results.records import file_names
from results.records.curves import Curve as Curve
from results.records.curves import curve_of, unknown_classes
from results.records.epochs import METRICS, read_lines
from results.records.repeats import TrainedConfig, leader, trained_configs
from results.records.schemas import (
    DataFile,
    Failure,
    ParameterValue,
    StudyFile,
    TrialCost,
    TrialFile,
    TrialState,
)

FORMAT = 1

_MOST_PROBLEMS_SHOWN = 50


class RecordError(UserError, ValueError):
    """A study directory that cannot be read.

    Attributes:
        problems: every problem found, each naming its file.
    """

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = [f"  - {problem}" for problem in self.problems[:_MOST_PROBLEMS_SHOWN]]
        if len(self.problems) > len(shown):
            shown.append(f"  ... and {len(self.problems) - len(shown)} more")
        super().__init__("\n".join([f"cannot read the study in {path}:", *shown]))


@dataclass(frozen=True, eq=False)
class TrialRecord:
    """One trial as its folder tells it.

    Attributes:
        number: the trial's number in the study.
        path: its folder.
        state: RUNNING, COMPLETE, PRUNED or FAIL.
        value: the objective at its best epoch; None before there is one.
        best_epoch: 1-based; None before there is one.
        epochs: finished epochs.
        params: searched fields by dotted name ("model.num_layers").
        baseline: the name of the baseline it is, None for a sampled trial.
        repeat_of: the trial whose config it trained again with another seed, None of a first one.
        reason: why it was pruned or failed.
        failures: each worker it lost: "epoch" finished before, "reason".
        started, finished: ISO times.
        cost: None where it was not estimated.
        values: every objective's value by name, in a study of several; else empty.
        curve: its epochs.
    """

    number: int
    path: Path
    state: TrialState
    value: float | None
    best_epoch: int | None
    epochs: int
    params: Mapping[str, ParameterValue]
    baseline: str | None
    repeat_of: int | None
    reason: str | None
    failures: tuple[Failure, ...]
    started: str | None
    finished: str | None
    seed: int | None
    cost: TrialCost | None
    values: Mapping[str, float]
    curve: Curve

    @property
    def model_epoch(self) -> int | None:
        """The epoch that best.keras is of: over folds, the best one of the first."""
        rows = np.flatnonzero((self.curve.fold == 0) & np.isfinite(self.curve.objective))
        if not self.curve.fold.any() or not rows.size:
            return self.best_epoch
        return int(self.curve.epoch[rows[np.argmax(self.curve.objective[rows])]])

    @cached_property
    def best_of_last(self) -> tuple[int, int] | None:
        """The best epoch and the last one, counted from 1 within their fold; None without any."""
        row = self.best_row
        if row is None:
            return None
        rows = np.flatnonzero(self.curve.fold == self.curve.fold[row])
        if not self.curve.fold.any():
            return int(self.curve.epoch[row]), int(self.curve.epoch[-1])
        return int(np.flatnonzero(rows == row)[0]) + 1, len(rows)

    def fold_words(self) -> str:
        """Say what each finished fold is worth alone; "" without folds."""
        values = self.curve.fold_values()
        if not values:
            return ""
        told = ", ".join(f"{value:.4f}" for value in values)
        return f"over {len(values)} fold{'s' if len(values) > 1 else ''}, alone {told}"

    @cached_property
    def best_row(self) -> int | None:
        """Row of the best epoch in the curve: ``best_epoch``, else the highest objective's.

        Of a RUNNING or FAIL trial it is the latter: its ``trial.json`` lags behind its epochs.
        """
        if self.best_epoch is not None and self.state in ("COMPLETE", "PRUNED"):
            rows = np.flatnonzero(self.curve.epoch == self.best_epoch)
            if rows.size:
                return int(rows[0])
        finite = np.flatnonzero(np.isfinite(self.curve.objective) & self.curve.telling())
        if finite.size:
            return int(finite[np.argmax(self.curve.objective[finite])])
        return len(self.curve) - 1 if len(self.curve) else None


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """A study directory as plain data.

    Attributes:
        path: the study directory.
        config: the whole resolved config, distributions included.
        classes: class names in index order, background first.
        data: the contents of data.json; empty before the data were prepared.
        trials: by number.
        hardware: the machine that it was last driven from; empty where not recorded.
    """

    path: Path
    name: str
    created: str
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    data_fingerprint: str | None
    versions: Mapping[str, str]
    git_revision: str | None
    objective: str
    pruning_metric: str | None
    data: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    hardware: Mapping[str, Any] = field(default_factory=dict)

    def with_state(self, state: TrialState) -> tuple[TrialRecord, ...]:
        return tuple(trial for trial in self.trials if trial.state == state)

    @cached_property
    def incumbent(self) -> TrialRecord | None:
        """The trial whose config leads (``results.records.repeats.leader``); None without one.

        Without repeats: the COMPLETE trial of the highest value, the earliest of equals.
        """
        found = leader(self.configs, self.repeats_wanted)
        return None if found is None else self._by_number[found.number]

    @cached_property
    def configs(self) -> tuple[TrainedConfig, ...]:
        """The configs with a value, by their first trial's number; a repeat is no config."""
        found = trained_configs((t.number, t.repeat_of, t.state, t.value) for t in self.trials)
        return tuple(config for config in found if config.number in self._by_number)

    def trainings(self, trial: TrialRecord) -> TrainedConfig:
        """Return what the trainings of a trial's config have reached, its repeats among them."""
        for config in self.configs:
            if config.number == trial.number:
                return config
        return TrainedConfig(trial.number, (), 0)

    @property
    def repeats_wanted(self) -> int:
        """How often a leading config was to be trained again."""
        search = self.config.get("search")
        wanted = search.get("repeats_of_best", 0) if isinstance(search, Mapping) else 0
        return wanted if isinstance(wanted, int) else 0

    @cached_property
    def _by_number(self) -> Mapping[int, TrialRecord]:
        return {trial.number: trial for trial in self.trials}

    @cached_property
    def baselines(self) -> tuple[TrialRecord, ...]:
        """The trials that are baselines, in whatever state."""
        return tuple(trial for trial in self.trials if trial.baseline is not None)

    def planned_epochs(self, trial: TrialRecord) -> int | None:
        """Return how many epochs a trial was to train at most; None where it is not known."""
        train = self.config.get("train")
        planned = train.get("epochs") if isinstance(train, Mapping) else None
        planned = trial.params.get("train.epochs", planned)
        return planned * self.folds if isinstance(planned, int) else None

    @property
    def folds(self) -> int:
        """How many folds a trial is trained on; 1 without folds."""
        search = self.config.get("search")
        folds = search.get("folds") if isinstance(search, Mapping) else None
        return folds if isinstance(folds, int) else 1


def best_of(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the trial of the highest finite value, the earliest of equals; None without one."""
    scored = [(t.value, -t.number, t) for t in trials if t.value is not None]
    finite = [row for row in scored if np.isfinite(row[0])]
    return max(finite, key=lambda row: row[:2])[2] if finite else None


def not_kept(study: StudyRecord, trial: TrialRecord) -> str:
    """Say why a trial's model may be missing, and how to have it again; "" where it should be.

    It begins with ": ", to follow what is missing.
    """
    if trial.state == "COMPLETE" or trial.baseline is not None:
        return ""
    if trial.state == "FAIL" or trial.value is None:
        return ": a trial that failed keeps no model"
    return (
        ": of trials that were stopped early only the best few keep their models "
        "(search.keep_models). To train it again:\n"
        f"flexunet-search export {shlex.quote(str(study.path))} OUT --trial {trial.number} "
        "--format yaml\nflexunet-search train OUT/best.yaml OUT_DIR"
    )


@dataclass
class StudyReading:
    """One pass over a study directory: collects its problems, so that all are reported at once."""

    root: Path
    problems: list[str] = field(default_factory=list)

    def problem(self, path: Path, message: str) -> None:
        self.problems.append(f"{path.relative_to(self.root).as_posix()}: {message}")

    def bytes_of(self, path: Path) -> bytes | None:
        """Return a file's contents; None where it cannot be read, which is a problem."""
        try:
            return path.read_bytes()
        except OSError as error:
            self.problem(path, f"cannot be read: {error.strerror or error}")
            return None

    def invalid(self, path: Path, error: ValidationError) -> None:
        """Add what pydantic found wrong with a file."""
        for detail in error.errors(include_url=False, include_input=True)[:5]:
            field_name = ".".join(str(part) for part in detail["loc"])
            if detail["type"] == "json_invalid":
                self.problem(path, f"expected JSON, received {detail['msg']}")
            else:
                received = repr(detail["input"])[:80]
                self.problem(path, f"{field_name}: {detail['msg']}, received {received}")


def load_study(path: Path | str) -> StudyRecord:
    """Read a study directory, finished or still running.

    Args:
        path: the directory that holds ``study.yaml``.

    Returns:
        The study with all its trials that have begun.

    Raises:
        RecordError: for a path that is no study directory, or files that are unreadable, torn or
            of an unknown format; lists every problem.
    """
    root = Path(path)
    reading = StudyReading(root)
    header = read_header(reading)
    data = _read_data(reading)
    if header is None:
        raise RecordError(root, reading.problems)
    classes = tuple(header.classes)
    trials = _read_trials(reading, classes)
    if reading.problems:
        raise RecordError(root, reading.problems)
    return StudyRecord(
        path=root,
        name=header.name,
        created=header.created,
        config=header.config,
        classes=classes,
        data_fingerprint=header.data_fingerprint,
        versions=header.versions,
        git_revision=header.git_revision,
        objective=header.objective,
        pruning_metric=header.pruning_metric,
        data=data,
        trials=trials,
        hardware=header.hardware,
    )


def read_header(reading: StudyReading) -> StudyFile | None:
    """Return what study.yaml says; None where it cannot be read, which is a problem."""
    path = reading.root / file_names.STUDY
    if not path.is_file():
        reading.problem(path, "not there; expected the directory of a study, which holds it")
        return None
    content = reading.bytes_of(path)
    if content is None:
        return None
    try:
        raw = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reading.problem(path, f"expected YAML, received {' '.join(str(error).split())}")
        return None
    if not isinstance(raw, dict):
        reading.problem(path, f"expected a mapping, received {type(raw).__name__}")
        return None
    if raw.get("format") != FORMAT:
        reading.problem(path, f"expected format {FORMAT}, received {raw.get('format')!r}")
        return None
    try:
        return StudyFile.model_validate(_iso_dates(raw))
    except ValidationError as error:
        reading.invalid(path, error)
        return None


def _iso_dates(raw: dict[str, Any]) -> dict[str, Any]:
    # YAML reads an unquoted time as a datetime.
    created = raw.get("created", "")
    return {**raw, "created": created.isoformat() if hasattr(created, "isoformat") else created}


def _read_data(reading: StudyReading) -> dict[str, Any]:
    path = reading.root / file_names.DATA
    if not path.is_file():
        return {}
    content = reading.bytes_of(path)
    if content is None:
        return {}
    try:
        data = json.loads(content)
    except ValueError as error:
        reading.problem(path, f"expected JSON, received {error}")
        return {}
    if not isinstance(data, dict):
        reading.problem(path, f"expected an object, received {type(data).__name__}")
        return {}
    try:
        DataFile.model_validate(data)
    except ValidationError as error:
        reading.invalid(path, error)
        return {}
    return data


def _read_trials(reading: StudyReading, classes: tuple[str, ...]) -> tuple[TrialRecord, ...]:
    folder = reading.root / "trials"
    if not folder.is_dir():
        return ()
    seen: dict[int, TrialRecord] = {}
    for path in sorted(folder.iterdir()):
        trial = _read_trial(reading, path, classes)
        if trial is None:
            continue
        if trial.number in seen:
            other = seen[trial.number].path.name
            reading.problem(
                path,
                f"expected one folder a trial, received {trial.number} twice: {other} has it too",
            )
        seen[trial.number] = trial
    return tuple(seen[number] for number in sorted(seen))


def _read_trial(reading: StudyReading, path: Path, classes: tuple[str, ...]) -> TrialRecord | None:
    file = path / file_names.TRIAL
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None  # about to begin, or no trial's folder
    except OSError as error:
        reading.problem(file, f"cannot be read: {error.strerror or error}")
        return None
    try:
        trial = TrialFile.model_validate_json(content)
    except ValidationError as error:
        reading.invalid(file, error)
        return None
    curve = _read_curve(reading, path / METRICS, classes)
    return TrialRecord(path=path, curve=curve, **dict(trial))


def _read_curve(reading: StudyReading, path: Path, classes: tuple[str, ...]) -> Curve:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        reading.problem(path, f"cannot be read: {error.strerror or error}")
        content = b""
    epochs = read_lines(
        content, lambda problem, number: reading.problem(path, f"line {number}: {problem}")
    )
    unknown = sorted(unknown_classes(epochs, classes))
    if unknown:
        reading.problem(path, f"expected classes among {list(classes)}, received {unknown}")
    return curve_of(epochs, classes)
