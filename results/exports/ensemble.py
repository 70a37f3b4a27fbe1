"""An export of several models that answer as one: which they are, and what each scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from results.analysis.confirmation import run_folder
from results.exports.choice import MODEL_NAME, Choice, ExportError
from results.records.study import StudyRecord
from results.style.markdown import plain, table
from results.style.words import count, number

FEWEST = 2
_TOP = re.compile(r"top:(\d+)")


@dataclass(frozen=True)
class Member:
    """A model of an ensemble.

    Attributes:
        name: Of the trial or the training, as scores call it.
        model: Its ``.keras`` file.
        trial: Its trial.
    """

    name: str
    model: Path
    trial: int


@dataclass(frozen=True)
class MemberScore:
    """What a member, or the ensemble, scores.

    Attributes:
        name: The member's, or "ensemble".
        mean_foreground_dice: NaN where undefined.
        dice: By class.
    """

    name: str
    mean_foreground_dice: float
    dice: Mapping[str, float]


@dataclass(frozen=True)
class Ensemble:
    """A model that averages its members' probabilities.

    Attributes:
        model: Its ``.keras`` file.
        members: The models in it.
        scores: Of each member, then of the ensemble; empty where none could be measured.
        measured: On which images, or why on none, a sentence.
    """

    model: Path
    members: tuple[Member, ...]
    scores: tuple[MemberScore, ...]
    measured: str

    def line(self) -> str:
        """Say what was joined and what that brought, in a line."""
        joined = f"ensemble: the mean of {count(len(self.members), 'model')}"
        if not self.scores:
            return f"{joined}. {self.measured}"
        *members, own = self.scores
        values = [member.mean_foreground_dice for member in members]
        return (
            f"{joined}, mean foreground Dice {number(own.mean_foreground_dice)}, its members "
            f"{number(min(values))} to {number(max(values))}. {self.measured}"
        )


def ensemble_problem(wish: str) -> str | None:
    """Say what is wrong with ``--ensemble``; None: nothing."""
    top = _TOP.fullmatch(wish)
    if wish in ("folds", "seeds") or (top is not None and int(top[1]) >= FEWEST):
        return None
    return (
        f"--ensemble: expected folds, seeds or top:K with K of at least {FEWEST}, received {wish!r}"
    )


def members_of(study: StudyRecord, choice: Choice, wish: str) -> tuple[Member, ...]:
    """Return the models that an ensemble is to join, whether they are there or not.

    Args:
        study: The study's records.
        choice: What is exported.
        wish: folds or seeds: the trainings of the confirmed config; folds without a confirmation:
            those of the best trial of a search over folds. top:K: the best K trials.

    Raises:
        ExportError: where there are fewer than asked for.
    """
    top = _TOP.fullmatch(wish)
    found = tuple(_confirmed(study, choice, wish) if top is None else _best(study, int(top[1])))
    if len(found) < FEWEST:
        raise ExportError(
            f"--ensemble {wish}: expected at least {FEWEST} models, received {len(found)}"
        )
    return found


def check_members(members: Sequence[Member], wish: str) -> None:
    """Raise an ExportError that names every model that is missing."""
    missing = [str(member.model) for member in members if not member.model.is_file()]
    if missing:
        raise ExportError(
            f"--ensemble {wish}: expected the models of {count(len(members), 'training')}, missing "
            f"are {', '.join(missing)}"
        )


def _confirmed(study: StudyRecord, choice: Choice, wish: str) -> Iterator[Member]:
    found = choice.confirmation
    if found is None and wish == "folds" and study.folds > 1:
        for fold in range(study.folds):
            path = choice.trial.path / f"fold-{fold}"
            yield Member(
                f"{choice.trial.path.name}-{path.name}", path / MODEL_NAME, choice.trial.number
            )
        return
    command = f"flexunet-search confirm {study.path}"
    if found is None:
        raise ExportError(
            f"--ensemble {wish}: expected a finished confirmation, whose trainings it joins, "
            f"received none: {command}{' --folds 5' if wish == 'folds' else ' --seeds 3'}"
        )
    if (found.plan.folds is None) != (wish == "seeds"):
        other = "seeds" if found.plan.folds is None else "folds"
        raise ExportError(
            f"--ensemble {wish}: the confirmation trained over {other}: --ensemble {other}"
        )
    for run in found.plan.runs:
        if run.trial == choice.trial.number and run in found.evaluations:
            yield Member(run.name, run_folder(study.path, run) / MODEL_NAME, run.trial)


def _best(study: StudyRecord, most: int) -> list[Member]:
    ranked = sorted(study.configs, key=lambda config: (-config.mean, config.number))
    if len(ranked) < most:
        raise ExportError(
            f"--ensemble top:{most}: expected {most} COMPLETE trials of different configs, "
            f"received {len(ranked)}"
        )
    paths = {trial.number: trial.path for trial in study.trials}
    return [
        Member(f"trial-{config.number:05d}", paths[config.number] / MODEL_NAME, config.number)
        for config in ranked[:most]
    ]


def ensemble_section(ensemble: Ensemble | None, classes: Sequence[str]) -> Iterator[str]:
    """Yield the model card's section on an ensemble; nothing without one."""
    if ensemble is None:
        return
    yield "## Ensemble"
    yield (
        f"The model in this folder averages the probabilities of "
        f"{count(len(ensemble.members), 'model')}, and costs as much as all of them. The other "
        f"sections tell of one training of the config. {plain(ensemble.measured)}"
    )
    foreground = classes[1:]
    if ensemble.scores:
        yield table(
            ["model", "mean foreground Dice", *map(plain, foreground)],
            [
                [plain(s.name), number(s.mean_foreground_dice)]
                + [number(s.dice[name]) for name in foreground]
                for s in ensemble.scores
            ],
        )
