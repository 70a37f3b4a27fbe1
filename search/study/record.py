"""What a study directory says of a study: written at its start, checked when it is continued."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from data_pipeline.config import SYNTHETIC, DataConfig
from data_pipeline.datasets.dataset_yaml import read_dataset_yaml
from data_pipeline.datasets.synthetic import LICENSE as SYNTHETIC_LICENSE
from data_pipeline.problems import DataError
from data_pipeline.quality.audit import audit_store, describe
from data_pipeline.stores.store import Store
from foundation.files import write_json, write_text
from results.records import file_names
from search.config.errors import ConfigError
from search.config.loading import config_from_record
from search.config.schema import StudyConfig
from search.process.hardware import describe_machine, git_revision, versions

# What may differ when a study is continued: none of it changes what a trial's value means.
CONTINUABLE = {
    "study.storage_path",
    "study.cache_path",
    "study.tensorboard",
    "study.mlflow",
    "search.num_trials",
    "search.time_budget_minutes",
    "search.stop_when",
    "search.baselines",
    "search.prune_baselines",
    "search.repeats_of_best",
    "search.prior_share",
    "search.score_at_end",
    "search.score_flips",
    "search.keep_models",
    "search.warm_start",
    "resources",
    "pipeline",
    "provenance",
    "data.source",  # the fingerprint tells whether the data are the same
    "data.store_path",
}


def record_study(config: StudyConfig, store: Store) -> Recorded:
    """Write study.yaml and data.json, or check that the study continues with the same ones.

    Returns:
        The study's identity and what the audit found to leak.

    Raises:
        ConfigError: naming every field that differs from the study's, or a study.yaml that
            cannot be read.
    """
    path = config.directory / file_names.STUDY
    before = _read(path)
    if before is not None:
        _check_continues(path, before, config, store)
    record = {
        "format": 1,
        "name": config.study.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "identity": uuid.uuid4().hex,
        **({key: before[key] for key in ("created", "identity")} if before else {}),
        "objective": config.search.objective,
        "pruning_metric": config.search.pruning_metric,
        "classes": list(store.classes),
        "data_fingerprint": store.fingerprint,
        "versions": versions(),
        "git_revision": git_revision(),
        "hardware": describe_machine(),
        "config": config.to_tree(),
    }
    found = audit_store(store)
    # Made here once: later on, a folder that is missing is a storage that is gone.
    (config.directory / "trials").mkdir(exist_ok=True)
    write_text(path, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    write_json(config.directory / file_names.DATA, describe(store, found) | data_terms(config.data))
    leaks = tuple(f.message for f in found.findings if f.severity == "leak")
    return Recorded(str(record["identity"]), leaks)


def data_terms(data: DataConfig, source: str | None = None) -> dict[str, str]:
    """Return what dataset.yaml states of license and citation, by field; empty without it.

    Args:
        data: The data.
        source: Where a study says that its data come from: a folder that by now holds others has
            terms of its own. None: whatever is there.
    """
    if data.source == SYNTHETIC:  # a folder that was drawn earlier may not state it
        return {"license": SYNTHETIC_LICENSE}
    try:
        info = read_dataset_yaml(Path(data.source).expanduser())
    except DataError:
        return {}
    return info.terms if info and source in (None, info.source) else {}


@dataclass(frozen=True)
class Recorded:
    """What :func:`record_study` knows of a study.

    Attributes:
        identity: Tells the study from others of its name in a shared storage.
        leaks: What makes scores on these data untrue, in words.
    """

    identity: str
    leaks: tuple[str, ...]


def _read(path: Path) -> dict[str, Any] | None:
    """Return what study.yaml says, None where there is none."""
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    needed = ("created", "identity", "config", "data_fingerprint")
    if not isinstance(record, dict) or any(key not in record for key in needed):
        raise ConfigError(str(path), [f"expected the fields {', '.join(needed)}"])
    return record


def _check_continues(
    path: Path, before: Mapping[str, Any], config: StudyConfig, store: Store
) -> None:
    # Through the schema, so that a field that is newer than the study has its default.
    old = _flat(config_from_record(before["config"], str(path)).to_tree())
    new = _flat(config.to_tree())
    problems = [
        f"{name}: expected {old.get(name)!r} as in the study, received {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not {name, name.split(".")[0]} & CONTINUABLE
    ]
    if before["data_fingerprint"] != store.fingerprint:
        problems.append(
            f"data: expected the data of fingerprint {before['data_fingerprint'][:16]}, received "
            f"{store.fingerprint[:16]}; the files or their preparation changed"
        )
    if problems:
        problems.append("choose another study.name for another study")
        raise ConfigError(str(config.directory), problems)


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return {section.field: value} of a config tree."""
    return {
        f"{section}.{name}": value
        for section, fields in tree.items()
        if isinstance(fields, dict)
        for name, value in fields.items()
    }
