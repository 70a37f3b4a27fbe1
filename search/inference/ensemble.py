"""Joins the models of an export into one, and scores it beside its members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import find_prepared
from data_pipeline.stores.store import Store
from results.analysis import scores
from results.exports.ensemble import Ensemble, Member, MemberScore
from results.records.evaluation import Evaluation
from results.records.study import StudyRecord

_NOT_SCORED = "Neither it nor its members are scored here: {why}."


def join(
    study: StudyRecord,
    data: DataConfig | None,
    wish: str,
    members: Sequence[Member],
    folder: Path,
) -> Ensemble:
    """Write the model that averages its members, and score all of them.

    Args:
        study: The study.
        data: Its data; None where its record does not tell.
        wish: folds, seeds or top:K.
        members: The models.
        folder: Where the joined model goes.

    Raises:
        model.inference.ModelError: where the models do not go together.
    """
    from model.ensemble import average
    from model.inference import load_model

    path = folder / "ensemble.keras"
    average([load_model(member.model) for member in members]).save(path)
    store = None if data is None else find_prepared(data, study.data_fingerprint)
    of_trial = members[0].model.is_relative_to(study.path / "trials")
    split, told = _split(store, wish, of_trial)
    if split is None or store is None or data is None:
        return Ensemble(path, tuple(members), (), _NOT_SCORED.format(why=told))
    models = [*((member.name, member.model) for member in members), ("ensemble", path)]
    found = tuple(_score(name, model, store, data, split) for name, model in models)
    return Ensemble(path, tuple(members), found, told)


def _split(store: Store | None, wish: str, of_trial: bool) -> tuple[str | None, str]:
    """Return the split to score on, and what to say of it; None where no image is fit for it.

    Args:
        store: The study's data.
        wish: folds, seeds or top:K.
        of_trial: Whether the folds are those of a trial, not of a confirmation.
    """
    if wish == "folds" and of_trial and store is not None and "test" in store.splits:
        return "test", "Measured on the test split, which no fold trains or chooses on."
    if wish == "folds":
        return None, (
            "the folds cover all images, so each was trained on by most of the members; the "
            "confirmation has the members' scores on the images that each did not see"
        )
    if store is None:
        return None, "the prepared data are out of reach"
    if wish == "seeds":
        return "test", (
            "Measured on the test split: none of them was trained on it, and their config was "
            "confirmed on it."
        )
    return "valid", (
        "Measured on the validation split, by which the members were chosen: images that chose "
        "nothing will show less of all of them."
    )


def _score(name: str, model: Path, store: Store, data: DataConfig, split: str) -> MemberScore:
    from search.scoring.model import score_model

    found: Evaluation = score_model(model, store, data, split, name=name, trial=None, epoch=None)
    dice = scores.dice(found.counts.sum(axis=0))
    by_class = dict(zip(store.classes, map(float, dice), strict=True))
    return MemberScore(name, scores.mean_foreground(dice), by_class)
