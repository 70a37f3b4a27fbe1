"""What an export says of its choice: the head of its config, and a line for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from results.analysis.confirmation import (
    FOLDS_CAVEAT,
    PREPARED_CAVEAT,
    interval_text,
    seeds_text,
    where,
)
from results.exports.choice import Choice
from results.records.study import StudyRecord
from results.style.markdown import one_line
from results.style.words import listed

_SCHEMA = "# yaml-language-server: $schema={schema}\n"

_COMMAND = """\
# Train it in full:
#
#   flexunet-search train {config} OUT_DIR
#
"""

_BEST = """\
# Of study {study} {among}: trial {trial}, {objective} {value:.4f}
# on the validation split, which chose it (optimistic). {command}"""

_ANY = """\
# Trial {trial} of study {study}, as asked for: {objective} {value:.4f} on the validation split.
{command}"""

_CONFIRMED = """\
# The config of study {study} that confirmed best: trial {trial}, {objective} {mean}
# ({confirmed}).
{command}"""

_BEST_LINE = (
    "trial {trial}, {among} by {objective}: {value:.4f} on the validation split, which chose it "
    "(optimistic)"
)
_ANY_LINE = "trial {trial}, as asked for: {objective} {value:.4f} on the validation split"
_CONFIRMED_LINE = (
    "trial {trial}, whose config confirmed best: {objective} {mean} ({confirmed}); the model of "
    "{model}, its best training on the validation split"
)


def config_text(
    study: StudyRecord,
    choice: Choice,
    config: Mapping[str, Any],
    name: str,
    schema: str | None = None,
) -> str:
    """Return the config as YAML with a head that says what it is and how to use it.

    Args:
        study: The study's records.
        choice: What is exported.
        config: Its config, of ``exported_config``.
        name: The file's name.
        schema: The name of the JSON schema beside it, for editors; None: there is none.
    """
    template = _ANY if choice.asked else _BEST if choice.confirmation is None else _CONFIRMED
    command = _COMMAND.format(config=name)
    if template is _BEST:
        command = command.removeprefix("# ")  # it goes on in the line
    head = template.format(command=command, **words(study, choice))
    first = _SCHEMA.format(schema=schema) if schema else ""
    return first + head + _yaml(config)


class _Dumper(yaml.SafeDumper):
    """Writes a list of plain values, such as a colour, in one line, and the rest in several."""

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        nested = any(isinstance(each, Mapping | list | tuple) for each in sequence)
        return super().represent_sequence(tag, sequence, flow_style=not nested)


def _yaml(config: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


def choice_line(study: StudyRecord, choice: Choice) -> str:
    """Return what is exported and why, in a line."""
    line = _CONFIRMED_LINE
    if choice.confirmation is None:
        line = _ANY_LINE if choice.asked else _BEST_LINE
    return line.format(model=choice.run.name if choice.run else "", **words(study, choice))


def among(study: StudyRecord) -> str:
    """Return what the search's best is the best of; a trial that was stopped may have a higher
    value.
    """
    complete = sum(trial.value is not None for trial in study.with_state("COMPLETE"))
    total = f" (of {len(study.trials):,})" if len(study.trials) > complete else ""
    best = "the only" if complete == 1 else f"the best of {complete:,}"
    return f"{best} COMPLETE trial{'' if complete == 1 else 's'}{total}"


def words(study: StudyRecord, choice: Choice) -> dict[str, Any]:
    """Return what texts say of a choice."""
    trial, row, found = choice.trial, choice.row, choice.confirmation
    told = {
        "study": one_line(study.name),
        "trial": trial.number,
        "among": among(study),
        "objective": one_line(study.objective),
        "value": math.nan if trial.value is None else trial.value,
        "epoch": trial.best_epoch,
    }
    if row is None or found is None:
        return told
    tied = found.ranking.loc[found.ranking["tied"], "trial"].astype(int).astype(str).tolist()
    caveats = [f"Not distinguishable from trial {listed(tied)}."] if tied else []
    if found.plan.folds is not None:
        caveats.append(f"But {FOLDS_CAVEAT}.")
    if found.resolution == "prepared":
        caveats.append(f"It was {PREPARED_CAVEAT}.")
    return told | {
        "mean": f"{row['mean']:.4f}",
        "unchosen": "no epoch" if found.plan.folds else "neither the candidates nor an epoch",
        "candidates": len(found.plan.configs),
        "confirmed": f"{interval_text(row['low'], row['high'])}, "
        f"{seeds_text(int(row['seeds']))}, {where(found.plan)}",
        "caveats": "".join(f" {caveat}" for caveat in caveats),
    }
