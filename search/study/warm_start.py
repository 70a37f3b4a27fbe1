"""Trials of earlier studies, for the sampler of this one to learn from.

Read from the earlier study's study.yaml and its Optuna storage, checked field by field, and added
to the study as they ended. They are no trials of this study: no folder, not counted in its
``num_trials``; a proposal with the parameters of one takes its result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from foundation.errors import named_line
from results.records import file_names
from search.config.errors import ConfigError
from search.config.limits import FIELDS, LATENCY, bounds, demand_of, excesses
from search.config.loading import config_from_record
from search.config.schema import SEARCHED, StudyConfig
from search.config.settings import redacted
from search.storage.database import open_database
from search.study import attributes

_KEPT = (
    attributes.BASELINE,
    attributes.BEST_EPOCH,
    attributes.BEST_VALUE,
    attributes.COST,
    attributes.EPOCHS,
    attributes.VALUES,
)
# What decides the meaning of a value, beside the data.
_MEANING = ("objective", "pruning_metric", "class_weights", "minimize", "folds")


@dataclass
class Earlier:
    """What one earlier study brings.

    Attributes:
        path: Its directory.
        trials: Ready to be added to the present study.
        notes: Sentences on what differs and what was left out.
    """

    path: Path
    trials: list[FrozenTrial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_earlier(config: StudyConfig, classes: Sequence[str], fingerprint: str) -> list[Earlier]:
    """Read the studies that ``search.warm_start`` names.

    Args:
        config: The present study.
        classes: Classes of its data.
        fingerprint: Of its prepared data.

    Raises:
        ConfigError: naming each study that cannot be read, and each difference of objective,
            classes, data or constant fields.
    """
    problems: list[str] = []
    found = []
    for path in config.search.warm_start:
        try:
            found.append(_read(config, path, classes, fingerprint))
        except ConfigError as error:
            problems += [f"search.warm_start: {path}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(config.study.name, problems)
    return found


def bring_in(study: optuna.Study, earlier: Sequence[Earlier]) -> int:
    """Add the trials that the study does not hold yet; return how many were added."""
    known = {
        _origin(trial)
        for trial in study.get_trials(deepcopy=False)
        if attributes.FROM_STUDY in trial.user_attrs
    }
    new = {_origin(t): t for one in earlier for t in one.trials if _origin(t) not in known}
    if new:
        study.add_trials(new.values())
    return len(new)


def _origin(trial: FrozenTrial) -> tuple[str, int]:
    origin = trial.user_attrs[attributes.FROM_STUDY]
    return str(origin["identity"]), int(origin["number"])


def _read(config: StudyConfig, path: Path, classes: Sequence[str], fingerprint: str) -> Earlier:
    record = _record(path)
    before = _config_of(record, path)
    problems = list(_difference_problems(config, before, record, classes, fingerprint))
    if problems:
        raise ConfigError(str(path), problems)
    earlier = Earlier(path, notes=[f"{path}: {note}" for note in _space_notes(config, before)])
    outside: Counter[str] = Counter()
    for trial in _open(config, before, path).get_trials(deepcopy=False):
        if not _is_finished(trial):
            continue
        values = {name: before.value_at(name, trial.params) for name in _fields()}
        params = {n: values[n] for n in config.space if config.is_searched(n, values)}
        wrong = [name for name, value in params.items() if not _fits(config, name, value)]
        wrong += [
            name
            for name in {*before.space, *config.space} - params.keys()
            if config.value_at(name, values) != values[name]
        ]
        outside.update(sorted(wrong))
        if not wrong:
            earlier.trials.append(_brought(config, record, trial, params, len(classes)))
    earlier.notes += [
        f"{path}: {name} of {count} of its trials lies outside this study's; they are left out"
        for name, count in outside.items()
    ]
    return earlier


def _record(path: Path) -> dict[str, Any]:
    file = path / file_names.STUDY
    try:
        record = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"expected a study's directory, received {error}"]) from None
    needed = ("identity", "name", "config", "classes", "data_fingerprint")
    if not isinstance(record, dict) or any(key not in record for key in needed):
        raise ConfigError(str(path), [f"study.yaml: expected the fields {', '.join(needed)}"])
    return record


def _config_of(record: Mapping[str, Any], path: Path) -> StudyConfig:
    """Return what the study searched; how it proposed and where it ran is of no interest."""
    tree = dict(record["config"])
    search = tree.get("search") or {}
    tree["search"] = {key: search[key] for key in _MEANING if key in search} | {"pruner": "none"}
    tree.pop("resources", None)
    return config_from_record(tree, str(path / file_names.STUDY))


def _difference_problems(
    config: StudyConfig,
    before: StudyConfig,
    record: Mapping[str, Any],
    classes: Sequence[str],
    fingerprint: str,
) -> Iterator[str]:
    for name in _MEANING:
        mine, theirs = getattr(config.search, name), getattr(before.search, name)
        if mine != theirs:
            yield f"search.{name}: expected {mine!r}, received {theirs!r}"
    if list(classes) != record["classes"]:
        yield f"classes: expected {', '.join(classes)}, received {', '.join(record['classes'])}"
    elif fingerprint != record["data_fingerprint"]:
        yield (
            f"data: expected the fingerprint {fingerprint[:16]}, received "
            f"{str(record['data_fingerprint'])[:16]}"
        )
    for name in _fields():
        if name not in config.space and name not in before.space:
            (mine,), (theirs,) = config.values(name), before.values(name)
            if mine != theirs:
                yield f"{name}: expected {mine!r}, received {theirs!r}"


def _fields() -> Iterator[str]:
    for section, cls in SEARCHED.items():
        yield from (f"{section}.{name}" for name in cls.model_fields)


def _space_notes(config: StudyConfig, before: StudyConfig) -> Iterator[str]:
    for name in _fields():
        mine = config.space.get(name)
        theirs = before.space.get(name)
        if mine != theirs:
            yield (
                f"{name} was {theirs.to_yaml() if theirs else before.values(name)[0]}, here it is "
                f"{mine.to_yaml() if mine else config.values(name)[0]}"
            )


def _is_finished(trial: FrozenTrial) -> bool:
    known = trial.user_attrs
    told = attributes.REFUSED in known or known.get(attributes.DUPLICATE_OF) is not None
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and not told


def _fits(config: StudyConfig, name: str, value: Any) -> bool:
    distribution = config.space[name].to_optuna()
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _brought(
    config: StudyConfig,
    record: Mapping[str, Any],
    trial: FrozenTrial,
    params: dict[str, Any],
    num_classes: int,
) -> FrozenTrial:
    origin = {"study": record["name"], "identity": record["identity"], "number": trial.number}
    known = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
    known.pop(attributes.BASELINE, None)  # a baseline of this study is trained here
    return optuna.trial.create_trial(
        state=trial.state,
        values=trial.values if trial.state is TrialState.COMPLETE else None,
        params=params,
        distributions={name: config.space[name].to_optuna() for name in params},
        user_attrs=known
        | {attributes.FROM_STUDY: trial.user_attrs.get(attributes.FROM_STUDY, origin)},
        intermediate_values=trial.intermediate_values,
        constraints=_constraints(config, trial, params, num_classes),
    )


def _constraints(
    config: StudyConfig, trial: FrozenTrial, params: Mapping[str, Any], num_classes: int
) -> dict[str, float]:
    """Return the excess of each limit of this study; of a latency that nobody measured, none."""
    if not bounds(config.search):
        return {}
    demand = demand_of(config.at(params), config.image_shape, num_classes)
    cost = trial.user_attrs.get(attributes.COST) or {}
    if LATENCY in cost:
        demand[LATENCY] = cost[LATENCY]
    found = excesses(config.search, demand)
    return {name: found.get(name, 0.0) for name in FIELDS if name in bounds(config.search)}


def _open(config: StudyConfig, before: StudyConfig, path: Path) -> optuna.Study:
    try:
        return optuna.load_study(
            study_name=before.study.name, storage=_storage(config, before, path)
        )
    except ConfigError as error:  # of its database
        raise ConfigError(str(path), error.problems) from None
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        problem = f"expected its Optuna study to be readable, received {named_line(error)}"
        raise ConfigError(str(path), [problem]) from error


def _storage(config: StudyConfig, before: StudyConfig, path: Path) -> BaseStorage:
    url = before.study.storage
    if url is not None:
        # study.yaml does not hold the password; this study's own storage may be the same one.
        mine = config.study.storage
        return open_database(mine if mine and redacted(mine) == url else url, before.study.name)
    journal = path / file_names.JOURNAL
    if not journal.is_file():  # opening would make an empty one
        raise FileNotFoundError(journal)
    return JournalStorage(JournalFileBackend(str(journal)))
