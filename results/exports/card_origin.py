"""A model card's last sections: how the model was trained, and how to make it again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from results.exports.choice import Choice
from results.flexunet.unread import unread_fields
from results.records.searched import searched_fields
from results.records.study import StudyRecord, TrialRecord
from results.sections.provenance import again_note, commands, hardware_rows
from results.style.markdown import block, bullets, code, plain, table
from results.style.words import magnitude, time_text, value_text

_SECTIONS = ("model", "train", "augment")
_OFF: tuple[object, ...] = (None, False, 0, "none", {}, [], ())
_ALWAYS = {"dropout_rate", "normalization"}  # whose off is as telling as their on


def training_section(
    study: StudyRecord, trial: TrialRecord, config: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the section of the training config in brief, and of what the model costs."""
    yield "## Training"
    fields = searched_fields(study.config)
    if fields:
        yield f"Searched, and what trial {trial.number} has:"
        rows = [
            [code(name), code(value_text(trial.params.get(name))), plain(field.text)]
            for name, field in fields.items()
        ]
        yield table(["field", "value", "searched over"], rows, names=3)
    yield "The rest, as all trials had it; what is off or not used is left out:"
    left_out = {*fields, *unread_fields(_dotted(config))}
    lines = [
        f"**{section}:** {told}"
        for section in _SECTIONS
        if (told := _told(section, config, left_out))
    ]
    yield bullets(lines or ["nothing"])
    cost = trial.cost
    if cost is not None:
        latency = (
            f" It took {cost.latency_ms:.3g} ms an image in the search."
            if cost.latency_ms is not None
            else ""
        )
        yield (
            f"**Cost:** {magnitude(cost.parameters)} parameters, {magnitude(cost.flops)}FLOP an "
            f"image forward, three times that to train on it.{latency}"
        )


def _dotted(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section in _SECTIONS
        if isinstance(fields := config.get(section), Mapping)
        for name, value in fields.items()
    }


def _told(section: str, config: Mapping[str, Any], left_out: Collection[str]) -> str:
    """Return a section's constants that are on: "optimizer adamw, batch_size 8"."""
    fields = config.get(section)
    return ", ".join(
        f"{plain(name)} {plain(_value(value))}"
        for name, value in (fields.items() if isinstance(fields, Mapping) else ())
        if f"{section}.{name}" not in left_out and (name in _ALWAYS or value not in _OFF)
    )


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return value_text(value)


def origin_section(study: StudyRecord, choice: Choice) -> Iterator[str]:
    """Yield the section of how to make it again: commands, versions, hardware."""
    yield "## How to reproduce"
    yield block("\n".join([_again(study), *_confirm(choice), _export(study, choice)]))
    yield plain(again_note(study))
    versions = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    settings = study.config.get("study")
    seed = settings.get("seed") if isinstance(settings, Mapping) else None
    rows = [
        ("Study", f"{study.name}, begun {time_text(study.created)}"),
        ("Data fingerprint", study.data_fingerprint or "not recorded"),
        ("Seed", f"{value_text(seed)} of the study, {value_text(choice.trial.seed)} of the trial"),
        ("Git revision", study.git_revision or "not recorded"),
        ("Versions", versions or "not recorded"),
        *hardware_rows(study),
    ]
    yield bullets([f"**{name}:** {plain(value)}" for name, value in rows])


def _again(study: StudyRecord) -> str:
    """Return the report's own commands for making a study again."""
    text = next(each["text"] for each in commands(study) if each["name"] == "Make it again")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return "\n".join(["# study.yaml: what STUDY_DIR/study.yaml has under config", *lines])


def _confirm(choice: Choice) -> Iterator[str]:
    if choice.confirmation is not None:
        plan = choice.confirmation.plan
        folds = f" --folds {plan.folds}" if plan.folds is not None else ""
        yield f"flexunet-search confirm STUDY_DIR --top {plan.top} --seeds {plan.seeds}{folds}"


def _export(study: StudyRecord, choice: Choice) -> str:
    asked = f" --trial {choice.trial.number}" if choice.asked else ""
    if choice.confirmation is None and not choice.asked:
        asked = " --searched"  # which a confirmation does not change
    return f"flexunet-search export STUDY_DIR OUT_DIR{asked}"
