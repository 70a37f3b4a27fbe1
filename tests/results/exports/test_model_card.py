"""The card's words and numbers, on studies that were drawn, not trained."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.analysis.intervals import class_intervals
from results.analysis.scores import background_only
from results.exports.choice import choose, exported_config
from results.exports.model_card import CardFacts, Conversion, FormatRow, bytes_text, model_card
from results.records.study import load_study
from tests.results.simulated_confirmation import write_confirmation
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation, write_study
from tests.results.simulated_trials import model_bytes

HOSTILE = "<img src=x onerror=alert(1)>|**Fray**"


def card_of(path: Path, trial: int | None = None, **facts: Any) -> str:
    study = load_study(path)
    choice = choose(study, trial)
    return model_card(CardFacts(study, choice, exported_config(study, choice), **facts))


def rows_of(card: str, head: str) -> dict[str, list[str]]:
    """The cells of a table, by their row's first; ``head`` is the start of its first line."""
    lines = card[card.index(f"| {head}") :].split("\n\n")[0].splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len({len(row) for row in cells}) == 1, "every row has every column"
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    simulation = Simulation()
    path = write_study(tmp_path_factory.mktemp("card") / "scored", simulation)
    write_evaluations(path, simulation)
    return path


@pytest.fixture(scope="module")
def confirmed(scored: Path) -> Path:
    path = scored.with_name("confirmed")
    shutil.copytree(scored, path)
    for name in write_confirmation(path, Simulation(), seeds=2, top=2):
        (path / "confirm" / "runs" / name / "best.keras").write_bytes(model_bytes(name))
    return path


def test_it_has_the_sections_of_a_model_card(scored: Path) -> None:
    card = card_of(scored)
    heads = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert heads == [
        "Intended use",
        "Input and output",
        "Data",
        "Results",
        "Limits",
        "Training",
        "Files",
        "How to reproduce",
    ]
    assert "\n\n\n" not in card
    assert not re.search(r"\b(nan|None)\b", card)


def test_a_scored_model_has_its_own_counts_with_intervals(scored: Path) -> None:
    from results.records.evaluation import load_evaluations, of_trial

    study = load_study(scored)
    best = study.incumbent
    assert best is not None
    counts = of_trial(load_evaluations(scored)[0], best.number)
    assert counts is not None
    told = class_intervals(counts).set_index("class")
    rows = rows_of(card_of(scored), "class | Dice")
    for name in study.classes:
        dice, ends = rows[name][:2]
        assert dice == f"{told.loc[name, 'dice']:.3f}"
        assert ends == f"{told.loc[name, 'low']:.3f} to {told.loc[name, 'high']:.3f}"
    recall = class_intervals(counts, "recall").set_index("class")["recall"]
    assert rows["Crack"][4] == f"{recall['Crack']:.3f}"
    assert rows["**mean foreground**"][0] == f"{told.loc['mean foreground', 'dice']:.3f}"

    card = card_of(scored)
    assert "of the validation split at the images' own size; optimistic" in card
    assert "Not confirmed" in card
    assert "the test split was not scored" in card
    true = counts.counts.sum(axis=0)
    alone = background_only(true[:, 0] + true[:, 2]).pooled_dice
    assert "**Misleading:** the metric that pools all pixels of all classes" in card
    assert f"{counts.pooled_dice:.3f}. A model that marks nothing at all scores {alone:.3f}" in card


def test_the_search_alone_has_no_intervals(study_dir: Path) -> None:
    card = card_of(study_dir)
    best = load_study(study_dir).incumbent
    assert best is not None
    assert f"**Mean foreground Dice: {best.value:.3f} (no interval)**, at epoch" in card
    assert "Not scored image by image" in card
    assert set(rows_of(card, "class | Dice")["Crack"][1:2]) == {"–"}


def test_a_confirmed_config_is_measured_by_its_trainings(confirmed: Path) -> None:
    study = load_study(confirmed)
    choice = choose(study)
    row, run = choice.row, choice.run
    assert row is not None
    assert run is not None
    card = card_of(confirmed)
    assert f"**Mean foreground Dice: {row['mean']:.3f} (95 % interval {row['low']:.3f}" in card
    assert "the mean over 2 seeds of training the config anew, on 135 images of 23 groups" in card
    assert f"The model is the training {run.name}" in card
    assert "The gain over the baseline “reference” is" in card
    own = choice.confirmation.evaluations[run]  # type: ignore[union-attr]
    alone = class_intervals(own).set_index("class")["dice"]
    heads = rows_of(card, "class | Dice")["class"]
    place = heads.index("this model")
    assert rows_of(card, "class | Dice")["Fray"][place] == f"{alone['Fray']:.3f}"
    means = class_intervals(own).set_index("class")["dice"]
    own_mean = means["mean foreground"]
    assert f"**This model alone:** mean foreground Dice {own_mean:.3f}, worst class" in card
    assert "Not confirmed" not in card
    assert "--top 2 --seeds 2" in card


def test_another_trial_is_measured_as_what_it_is(confirmed: Path) -> None:
    study = load_study(confirmed)
    others = [t for t in study.with_state("COMPLETE") if t.baseline is None]
    other = next(t for t in others if t is not study.incumbent)
    card = card_of(confirmed, other.number)
    assert f"# Model card: magnetic-tile, trial {other.number}" in card
    assert f"**Mean foreground Dice: {other.value:.3f} (no interval)**" in card
    assert "**Chosen:** by hand" in card
    assert "the best of" not in card
    assert f"export STUDY_DIR OUT_DIR --trial {other.number}" in card


def test_what_leaves_a_confirmation_aside_says_so(confirmed: Path) -> None:
    study = load_study(confirmed)
    searched = choose(study, searched=True)
    card = model_card(CardFacts(study, searched, exported_config(study, searched)))
    for card_of_it in (card, card_of(confirmed, searched.trial.number)):
        assert "the test split was not scored" not in card_of_it
        assert "this training was not scored on them. The study's confirmation" in card_of_it
        assert "untouched test split" not in card_of_it
        assert (
            "measured on the images that chose its epoch: fresh ones will show less" in card_of_it
        )
    assert "left aside, as asked: quote its scores instead" in card
    assert "export STUDY_DIR OUT_DIR --searched\n" in card


def test_a_confirmation_that_is_not_finished_is_told(scored: Path, tmp_path: Path) -> None:
    path = tmp_path / "begun"
    shutil.copytree(scored, path)
    names = write_confirmation(path, Simulation(), seeds=2, top=2)
    shutil.rmtree(path / "confirm" / "runs" / names[-1])
    assert f"The confirmation is not finished: {len(names) - 1} of {len(names)}" in card_of(path)


def test_a_trial_that_was_stopped_with_a_higher_score_is_told(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "stopped", Simulation(trials=24, running=0)))
    best = study.incumbent
    assert best is not None
    pruned = study.with_state("PRUNED")[0]
    (pruned.path / "best.keras").write_bytes(b"a model")
    higher = replace(pruned, value=0.99)
    trials = tuple(higher if trial is pruned else trial for trial in study.trials)
    study = replace(study, trials=trials)
    card = model_card(CardFacts(study, choose(study), exported_config(study, choose(study))))
    assert f"Trial {pruned.number}, which the search stopped early, had a higher score" in card
    assert "0.990, and is no candidate." in card
    asked = choose(study, pruned.number)
    card = model_card(CardFacts(study, asked, exported_config(study, asked)))
    assert "by the number of its trial, which the search stopped early." in card


def test_a_baseline_was_not_found_by_the_search(study_dir: Path) -> None:
    study = load_study(study_dir)
    baseline = next(trial for trial in study.baselines if trial.value is not None)
    card = card_of(study_dir, baseline.number)
    assert f"Its config is the baseline “{baseline.baseline}”, given to a search of" in card
    assert "Its config was found by a search of" in card_of(study_dir)


def test_settings_that_nothing_reads_are_left_out(study_dir: Path) -> None:
    study = load_study(study_dir)
    choice = choose(study)
    config = exported_config(study, choice)
    config["train"] |= {"loss": "cross_entropy", "schedule": "cosine"}
    config["train"] |= {"focal_gamma": 2.5, "plateau_patience": 7, "warmup_steps": 3}
    card = model_card(CardFacts(study, choice, config))
    assert "warmup_steps 3" in card
    assert not re.search(r"focal_gamma|plateau_patience", card)


def test_a_leak_is_the_first_thing_that_it_says(tmp_path: Path) -> None:
    card = card_of(write_study(tmp_path / "leaking", Simulation(trials=4, running=0, leak=True)))
    top = card.split("## ")[0]
    assert "> **The data leak: do not trust the scores below.** 3 groups have images" in top
    assert "**leak: 3 groups have images in train and in valid**" in card
    assert "never divided between splits" not in card


def test_terms_are_those_of_the_record_or_it_says_that_there_are_none(study_dir: Path) -> None:
    card = card_of(study_dir)
    licence = (
        "**Licence:** not recorded (`license` in dataset.yaml states it); ask the data's owner"
    )
    assert licence in card
    card = card_of(study_dir, terms={"license": "no_commercial *use*", "citation": "A & B"})
    assert "**Licence:** no_commercial \\*use\\*" in card
    assert "**Cite:** A &amp; B" in card


def test_a_hostile_class_stays_text_in_its_cell(tmp_path: Path) -> None:
    classes = ("background", HOSTILE, "Break")
    path = write_study(tmp_path / "hostile", Simulation(trials=4, running=0, classes=classes))
    card = card_of(path)
    assert "<img" not in card
    escaped = "&lt;img src=x onerror=alert(1)&gt;\\|\\*\\*Fray\\*\\*"
    assert f"| 1 | {escaped} | 255, 0, 0 (#ff0000) |" in card
    assert escaped in rows_of(card, "class | Dice")


def test_undefined_and_rare_classes_are_said(tmp_path: Path) -> None:
    simulation = Simulation(trials=4, running=0, absent=("Fray",))
    path = write_study(tmp_path / "absent", simulation)
    card = card_of(path)
    assert "Nothing in the validation split shows Fray: not measured there." in card
    assert rows_of(card, "class | Dice")["Fray"][0] in ("–", "0.000")


def test_what_the_model_takes_is_as_its_data_were_prepared(study_dir: Path) -> None:
    study = load_study(study_dir)
    choice = choose(study)
    config = exported_config(study, choice)
    config["data"]["resize"] = "letterbox"
    config["model"]["input_scaling"] = "standardize"
    card = model_card(CardFacts(study, choice, config))
    assert "images [batch, 128, 128, 1] (grey), values 0-255" in card
    assert "its aspect kept and the border filled" in card
    assert "each image to zero mean and unit variance" in card


def test_files_formats_and_losses_are_listed(study_dir: Path) -> None:
    row = FormatRow("ONNX", "best.onnx", 1_970_000, 1.8e-6, 2.6e-8, 0.99238, 11.94)
    weights = replace(row, name="HDF5 weights", file="best_model.h5", milliseconds=None)
    told = Conversion((row, weights), "8 images of the study's valid split", 25.5, "a CPU")
    card = card_of(
        study_dir,
        files=[("best.yaml", 3790), ("best.onnx", 1_970_000), ("best.keras", 12)],
        lost=["train.loss: 'x|y'; nearest: z"],
        conversion=told,
    )
    cells = ["`best.onnx`", "1.97 MB", "1.8e-06", "2.6e-08", "99.238 %", "11.9"]
    assert rows_of(card, "format | file")["ONNX"] == cells
    assert rows_of(card, "format | file")["HDF5 weights"][-1] == "–"
    assert "on 8 images of the study's valid split" in card
    assert "Keras takes 25.5 ms an image" in card
    assert "- train.loss: 'x\\|y'; nearest: z" in card
    assert "flexunet-search train best.yaml OUT_DIR" in card
    assert "flexunet-search predict best.keras IMAGES OUT_DIR" in card


def test_a_study_of_the_first_version_has_a_card_too(tmp_path: Path) -> None:
    path = write_study(tmp_path / "old", Simulation(trials=4, running=0, schema="first"))
    card = card_of(path)
    assert "| 1 | Blowhole | not recorded |" in card
    assert "**Git revision:** not recorded" in card
    (path / "data.json").unlink()
    assert "**Source:** not recorded" in card_of(path)


@pytest.mark.parametrize(
    ("size", "text"),
    [(640, "640 B"), (12_345, "12.3 kB"), (1_970_000, "1.97 MB"), (2_500_000_000, "2.5 GB")],
)
def test_bytes_are_for_people(size: int, text: str) -> None:
    assert bytes_text(size) == text
