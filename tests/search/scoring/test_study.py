"""Which models the pictures are of, and what is said of them; nothing is trained or drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_pipeline.problems import DataError, Problem
from results.records.study import StudyRecord, load_study
from search.scoring import study as study_scoring
from search.scoring.model import Images
from search.scoring.study import ScoredModel, _Scores, models_of, scored_before, scored_models
from tests.results.simulated_study import Simulation, write_study
from tests.search.scoring.test_pictures import evaluation


@pytest.fixture
def study(tmp_path: Path) -> StudyRecord:
    """A study of which every trial has a model, and two were scored: the best and another."""
    study = load_study(write_study(tmp_path / "study", Simulation(trials=6)))
    for trial in study.trials:
        (trial.path / "best.keras").touch()
    for model in (best_of(study), other_of(study)):
        found = replace(
            evaluation(name=model.name),
            trial=model.trial.number,
            epoch=model.epoch,
            fingerprint=study.data_fingerprint,
        )
        (study.path / "evaluation").mkdir(exist_ok=True)
        found.save(study.path / model.place("valid"))
    return study


def best_of(study: StudyRecord) -> ScoredModel:
    return models_of(study)[0]


def other_of(study: StudyRecord) -> ScoredModel:
    chosen = {model.name for model in models_of(study)}
    others = (models_of(study, [trial.number])[-1] for trial in study.trials)
    return next(m for m in others if m.name not in chosen and m.epoch is not None)


def names(study: StudyRecord, fingerprint: str | None) -> set[str]:
    return {model.name for model, _ in scored_models(study, fingerprint)}


def test_a_model_that_was_scored_counts_while_it_is_the_one_scored(study: StudyRecord) -> None:
    best, other = best_of(study), other_of(study)
    assert names(study, study.data_fingerprint) == {best.name, other.name}
    assert names(study, "of other data") == set()
    other.path.unlink()
    assert names(study, study.data_fingerprint) == {best.name}


def test_a_model_that_was_scored_with_other_flips_is_scored_again(study: StudyRecord) -> None:
    best, fingerprint = best_of(study), study.data_fingerprint
    assert scored_before(study.path, best, "valid", fingerprint, "none") is not None
    assert scored_before(study.path, best, "valid", fingerprint, "all") is None


def test_pictures_keep_models_scored_by_hand_and_tell_of_the_records_size(
    study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[set[str]] = []

    def draw(
        _: Path, images: Images, files: dict[str, Path], found: list[Any], **_b: Any
    ) -> list[str]:
        if images.originals is not None:
            raise DataError([Problem("a.png", "damaged")])
        assert {e.name for e in found} == set(files)
        drawn.append(set(files))
        return []

    monkeypatch.setattr(study_scoring.pictures, "draw_pictures", draw)
    monkeypatch.setattr(study_scoring.pictures, "draw_augmentation", lambda *_: [])
    monkeypatch.setattr(study_scoring, "_forget", lambda: None)
    warnings: list[str] = []
    store: Any = SimpleNamespace(fingerprint=study.data_fingerprint)
    images = Images(store, None, "valid", object())  # type: ignore[arg-type]
    config: Any = SimpleNamespace(
        at=lambda _: SimpleNamespace(augment=None), search=SimpleNamespace(score_flips="none")
    )
    scores = _Scores(study.path, config, images, 1, lambda _: None, warnings.append)
    scores.take(best_of(study))
    scores.draw(scored_models(study, study.data_fingerprint))
    assert drawn == [{best_of(study).name, other_of(study).name}]
    assert warnings == ["pictures are of the prepared data's size: a.png: damaged"]
