"""How it was made: what it takes to make these numbers again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from results.records.searched import searched_fields
from results.records.study import StudyRecord
from results.sections.material import Material
from results.style.words import NONE, count, time_text, value_text
from results.tables.data import input_account

_SECTIONS = ("study", "data", "augment", "model", "train", "search", "pipeline", "resources")
_MOST_HOSTS = 8
_KINDS = {"int": "whole number", "float": "number", "choice": "choice"}


def build(material: Material) -> dict[str, Any]:
    """Return what the section's template prints."""
    study = material.study
    return {
        "rows": provenance(study, material.generated),
        "hardware": hardware_rows(study),
        "space": space_table(study).to_dict("records"),
        "fixed": fixed_table(study).to_dict("records"),
        "commands": commands(study),
        "again": again_note(study),
        "config": config_text(study),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """Return the section's tables, for files."""
    return {"space": space_table(material.study), "fixed_fields": fixed_table(material.study)}


def provenance(study: StudyRecord, generated: str) -> list[tuple[str, str]]:
    """Return what made the study, for making it again."""
    versions = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    return [
        ("Study", study.name),
        ("Begun", time_text(study.created)),
        ("Report made", time_text(generated)),
        ("Data fingerprint", study.data_fingerprint or NONE),
        ("Seed", value_text(_section(study, "study").get("seed"))),
        ("Git revision", study.git_revision or NONE),
        ("Versions", versions or NONE),
    ]


def _section(study: StudyRecord, name: str) -> Mapping[str, Any]:
    found = study.config.get(name)
    return found if isinstance(found, Mapping) else {}


def hardware_rows(study: StudyRecord) -> list[tuple[str, str]]:
    """Return the machines: what drove the study, what trained it, what a trial was given."""
    rows = []
    if study.hardware:
        rows.append(("Driven from", _machine(study.hardware)))
    rows.append(("Trained on", _hosts(study)))
    given = {
        "cpus_per_trial": "CPU cores",
        "gpus_per_trial": "GPUs",
        "memory_per_trial": "GB of memory",
    }
    resources = _section(study, "resources")
    parts = [
        f"{words}: {value_text(resources[name])}"
        for name, words in given.items()
        if resources.get(name) is not None
    ]
    rows.append(("A trial was given", ", ".join(parts) or "not recorded"))
    most = resources.get("max_concurrent")
    rows.append(("Trials at a time", f"at most {most}" if most else "as many as there is room for"))
    return rows


def _machine(told: Mapping[str, Any]) -> str:
    memory = told.get("memory_gb")
    gpus = told.get("gpus")
    parts = [
        told.get("host"),
        told.get("os"),
        told.get("cpu"),
        told.get("processor"),
        f"{told['cores']} cores" if told.get("cores") else None,
        f"{memory:g} GB of memory" if isinstance(memory, int | float) else None,
        ", ".join(map(str, gpus)) if isinstance(gpus, list) and gpus else "no NVIDIA GPU",
    ]
    return "; ".join(str(part) for part in parts if part)


def _hosts(study: StudyRecord) -> str:
    workers = {worker for trial in study.trials for worker in trial.curve.workers if worker}
    if not workers:
        return "not recorded"
    hosts: dict[str, int] = {}
    for worker in sorted(workers):
        host = worker.rpartition("/")[0]
        hosts[host] = hosts.get(host, 0) + 1
    named = [f"{host} ({n:,} process{'es' if n > 1 else ''})" for host, n in hosts.items()]
    more = len(named) - _MOST_HOSTS
    text = ", ".join(named[:_MOST_HOSTS]) + (f" and {more:,} more" if more > 0 else "")
    return f"{count(len(hosts), 'host')}: {text}"


def space_table(study: StudyRecord) -> pd.DataFrame:
    """Return the searched fields.

    Returns:
        Columns field (dotted), kind, range (text); in the config's order.
    """
    rows = [
        {"field": name, "kind": _KINDS[field.kind], "range": field.text}
        for name, field in searched_fields(study.config).items()
    ]
    return pd.DataFrame(rows, columns=["field", "kind", "range"], dtype=object)


def fixed_table(study: StudyRecord) -> pd.DataFrame:
    """Return the fields that all trials shared.

    Returns:
        Columns field (dotted), value (text); the baselines, a list of configs, left out.
    """
    searched = searched_fields(study.config)
    rows = [
        {"field": f"{section}.{key}", "value": _value(value)}
        for section in _SECTIONS
        for key, value in _section(study, section).items()
        if f"{section}.{key}" not in searched and key != "baselines"
    ]
    return pd.DataFrame(rows, columns=["field", "value"], dtype=object)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_value(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_value(part) for part in value) or "none"
    return "none" if value is None else value_text(value)


def commands(study: StudyRecord) -> list[dict[str, str]]:
    """Commands to make the study again and to go on with it: name, text."""
    place = shlex.quote(study_place(study))
    again = shlex.quote(f"study.name={study.name}-again")
    lines = ["# study.yaml holds the config below"]
    if study.git_revision:
        revision = study.git_revision.removesuffix("-dirty")
        lines.append(f"git checkout {shlex.quote(revision)}")
    lines.append(f"flexunet-search run study.yaml --set {again}")
    return [
        {"name": "Make it again", "text": "\n".join(lines)},
        {"name": "Continue it", "text": "flexunet-search run study.yaml"},
        {"name": "This page anew", "text": f"flexunet-search report {place}"},
        {
            "name": "Confirm the best over seeds, on the test split",
            "text": f"flexunet-search confirm {place} --top 3 --seeds 5",
        },
        {"name": "Export the best", "text": f"flexunet-search export {place} best"},
    ]


def study_place(study: StudyRecord) -> str:
    """Return where the study is: an object store's URL where it is kept in one, else its
    directory.
    """
    storage = _section(study, "study").get("storage_path")
    if isinstance(storage, str) and "://" in storage:
        return f"{storage.rstrip('/')}/{study.name}"
    return str(study.path)


def again_note(study: StudyRecord) -> str:
    """Return how close a second run comes to this one."""
    account = input_account(study)
    text = "The same data have the same fingerprint."
    if study.git_revision and study.git_revision.endswith("-dirty"):
        text += " The code had changes that its revision does not hold."
    if account is not None and account.sharing == "service":
        text += " Trials shared one augmented stream, of which each sees other parts: a second run "
        text += "comes out alike, not equal. With pipeline.sharing: local each has a stream of its "
        text += "own, seeded."
    return f"{text} Trials that run at a time end in any order, so the sampler proposes others."


def config_text(study: StudyRecord) -> str:
    """Return the whole resolved config as YAML, which ``run`` reads."""
    return yaml.safe_dump(dict(study.config), sort_keys=False, allow_unicode=True)
