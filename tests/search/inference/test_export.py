"""Exports with all that they can hold, of a study that was drawn and a model that was built."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import find_prepared, prepare
from model.config import ModelConfig
from model.inference import ModelError
from model.runtimes import open_predictor
from results.analysis import scores
from results.analysis.confirmation import ConfirmationPlan, PlannedConfig, load_confirmation
from results.exports.export import ExportError, ExportOptions
from results.records.study import load_study
from search.config.loading import config_from_tree, load_config
from search.inference.export import IMAGES, comparison_images, export_study
from search.scoring.model import score_model
from tests.results.confirmed import holes, write_plan, write_run
from tests.results.simulated_study import Simulation, space, write_study

pytestmark = pytest.mark.processor

SIZE = 32


@pytest.fixture
def study(tmp_path: Path, synthetic_folder: Path) -> Path:
    return study_of(4, tmp_path, synthetic_folder)


@pytest.fixture
def larger(tmp_path: Path, synthetic_folder: Path) -> Path:
    return study_of(14, tmp_path, synthetic_folder)


def study_of(trials: int, tmp_path: Path, synthetic_folder: Path) -> Path:
    """A study whose config is one of ours, on real data that are prepared."""
    path = write_study(tmp_path / "study", Simulation(trials=trials, running=0))
    tree: dict[str, Any] = {
        "study": {"name": "magnetic-tile", "storage_path": str(tmp_path)},
        "data": {"source": str(synthetic_folder), "image_size": SIZE},
        "model": {},
        "train": {"epochs": 27},
    }
    for name, distribution in space().items():
        section, key = name.split(".")
        tree[section][key] = distribution
    config = config_from_tree(tree)
    store = prepare(config.data)
    record = yaml.safe_load((path / "study.yaml").read_text(encoding="utf-8"))
    record |= {"config": config.to_tree(), "data_fingerprint": store.fingerprint}
    (path / "study.yaml").write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    data = json.loads((path / "data.json").read_text(encoding="utf-8"))
    data |= {"image_shape": [SIZE, SIZE, 1], "fingerprint": store.fingerprint}
    data["source"] = store.source
    (path / "data.json").write_text(json.dumps(data), encoding="utf-8")
    return path


def with_model(study: Path, **config: Any) -> Path:
    """Give the best trial a real model."""
    from model.flexunet import build_flexunet

    best = load_study(study).incumbent
    assert best is not None
    made = ModelConfig(num_layers=2, base_filters=2, **config)
    build_flexunet(made, (SIZE, SIZE, 1), 6, seed=0).save(best.path / "best.keras")
    return study


def test_the_exported_config_stands_alone_and_obeys_the_schema_beside_it(
    study: Path, tmp_path: Path
) -> None:
    out = export_study(study, tmp_path / "best", ExportOptions()).out
    schema = json.loads((out / "best.schema.json").read_text(encoding="utf-8"))
    tree = yaml.safe_load((out / "best.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(tree, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**tree, "modle": {}}, schema)

    config = load_config(out / "best.yaml")
    best = load_study(study).incumbent
    assert best is not None
    constants = config.at({})
    assert constants.model.num_layers == best.params["model.num_layers"]
    colors = load_study(study).data["colors"]
    assert {name: list(color) for name, color in (config.data.classes or {}).items()} == colors
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**Licence:** Apache-2.0" in card  # from the data's own dataset.yaml


def test_formats_without_tensorflow_do_not_load_it(study: Path, tmp_path: Path) -> None:
    arguments = ["export", str(study), str(tmp_path / "out"), "--format", "yaml,keras,flexunet"]
    code = (
        "import sys; from search.cli.main import app; "
        f"app({arguments!r}, standalone_mode=False); "
        "print([n for n in ('ray', 'tensorflow', 'keras') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "out" / "train_eval_infer.config").is_file()


def test_formats_are_compared_on_the_studys_images_where_they_are(study: Path) -> None:
    record = load_study(study)
    data = DataConfig(**record.config["data"])
    store = find_prepared(data, record.data_fingerprint)
    assert store is not None
    images, told = comparison_images(record, data, (SIZE, SIZE, 1))
    assert told == f"{IMAGES} images of the study's valid split"
    assert images.shape == (IMAGES, SIZE, SIZE, 1)
    split = store.splits["valid"]
    own = {store.read("valid", row)[0].tobytes(): row for row in range(split.count)}
    rows = [own[image.tobytes()] for image in images]
    assert len(set(rows)) == IMAGES
    assert all(split.pixels[row, 1:].any() for row in rows)


@pytest.mark.parametrize("lost", ["fingerprint", "source", "shape"])
def test_without_the_studys_images_noise_stands_for_them(
    study: Path, tmp_path: Path, lost: str
) -> None:
    record = load_study(study)
    data = DataConfig(**record.config["data"])
    shape = (SIZE, SIZE, 3 if lost == "shape" else 1)
    if lost == "fingerprint":
        record = replace(record, data_fingerprint="f" * 64)
    if lost == "source":
        data = data.model_copy(update={"source": str(tmp_path / "nowhere")})
    images, told = comparison_images(record, data, shape)
    assert "seeded noise" in told
    assert images.shape == (IMAGES, *shape)
    assert np.array_equal(images, comparison_images(record, data, shape)[0])
    assert not (tmp_path / "nowhere.prepared").exists()


def test_the_references_weights_are_loaded_again_and_answer_alike(
    study: Path, tmp_path: Path
) -> None:
    with_model(study, normalization="none")
    done = export_study(study, tmp_path / "best", ExportOptions(formats=("h5",)))
    assert sorted(path.name for path in done.out.iterdir()) == ["MODEL_CARD.md", "best_model.h5"]
    assert done.conversion is not None
    (row,) = done.conversion.rows
    assert row.largest_difference < 1e-6
    assert row.same_class == 1.0
    assert row.size == (done.out / "best_model.h5").stat().st_size
    assert row.milliseconds is None


def test_a_model_that_a_format_cannot_hold_leaves_the_earlier_export(
    study: Path, tmp_path: Path
) -> None:
    with_model(study, normalization="group")
    out = export_study(study, tmp_path / "best", ExportOptions()).out
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ModelError, match="group or layer normalization"):
        export_study(study, out, ExportOptions(formats=("yaml", "h5")))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.soak
def test_every_format_answers_as_keras_does(study: Path, tmp_path: Path) -> None:
    from results.exports.folder import FILES, MODEL_FORMATS

    with_model(study)
    done = export_study(study, tmp_path / "best", ExportOptions(formats=tuple(FILES)))
    expected = {name for files in FILES.values() for name in files} | {"MODEL_CARD.md"}
    assert {name for name, _ in done.files} == expected
    assert done.conversion is not None
    rows = {row.file: row for row in done.conversion.rows}
    assert rows.keys() == {name for format_ in MODEL_FORMATS for name in FILES[format_]}
    for name, row in rows.items():
        assert row.largest_difference < (0.1 if "int8" in name else 1e-5), name
        assert row.same_class > (0.9 if "int8" in name else 0.999), name
    card = (done.out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "on 8 images of the study's valid split" in card


def with_models(study: Path, *seeds: int) -> Path:
    """Give the best trials a real model each."""
    from model.flexunet import build_flexunet

    loaded = load_study(study)
    ranked = sorted(loaded.configs, key=lambda config: -config.mean)
    for config, seed in zip(ranked, seeds, strict=False):
        made = ModelConfig(num_layers=2, base_filters=2)
        path = next(t.path for t in loaded.trials if t.number == config.number)
        build_flexunet(made, (SIZE, SIZE, 1), 6, seed=seed).save(path / "best.keras")
    return study


def test_the_best_trials_are_exported_as_one_model_beside_their_scores(
    larger: Path, tmp_path: Path
) -> None:
    with_models(larger, 0, 1)
    options = ExportOptions(formats=("yaml", "keras", "savedmodel"), ensemble="top:2")
    done = export_study(larger, tmp_path / "best", options)

    found = done.ensemble
    assert found is not None
    assert [score.name for score in found.scores][2] == "ensemble"
    assert [member.model.name for member in found.members] == ["best.keras"] * 2
    assert done.conversion is not None
    assert done.conversion.rows[0].largest_difference < 1e-3
    data = DataConfig.model_validate(load_study(larger).config["data"])
    store = find_prepared(data, load_study(larger).data_fingerprint)
    assert store is not None
    images = np.stack([store.read("valid", i)[0] for i in range(3)])
    joined, *members = (
        open_predictor(path).predict(images)
        for path in (done.out / "best.keras", *(m.model for m in found.members))
    )
    np.testing.assert_allclose(joined, np.mean(members, axis=0), atol=1e-5)
    # Its score is that of the model that was written.
    facts = {"name": "again", "trial": None, "epoch": None}
    again = score_model(done.out / "best.keras", store, data, "valid", **facts)
    dice = scores.mean_foreground(scores.dice(again.counts.sum(axis=0)))
    assert found.scores[2].mean_foreground_dice == pytest.approx(dice)
    card = (done.out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Ensemble" in card
    assert "averages the probabilities of 2 models" in card
    assert "| ensemble | " in card
    assert "ensemble: the mean of 2 models, mean foreground Dice" in found.line()


def test_what_cannot_be_joined_is_told(larger: Path, tmp_path: Path) -> None:
    with_models(larger, 0, 1)
    means = sorted(load_study(larger).configs, key=lambda config: -config.mean)
    second = next(t for t in load_study(larger).trials if t.number == means[1].number)
    (second.path / "best.keras").unlink()
    with pytest.raises(ExportError, match=r"top:2: expected the models of 2 trainings, missing"):
        export_study(larger, tmp_path / "best", ExportOptions(ensemble="top:2"))
    with pytest.raises(ExportError, match=r"top:99: expected 99 COMPLETE trials of different"):
        export_study(larger, tmp_path / "best", ExportOptions(ensemble="top:99"))
    with pytest.raises(ExportError, match=r"seeds: expected a finished confirmation.*--seeds 3"):
        export_study(larger, tmp_path / "best", ExportOptions(ensemble="seeds"))
    with pytest.raises(ExportError) as caught:
        ExportOptions(formats=("yaml", "h5"), ensemble="top:1", trial=3)
    assert "--ensemble: expected folds, seeds or top:K" in str(caught.value)
    assert "--trial: expected it without --ensemble top:1" in str(caught.value)
    assert "--format h5: expected a single model" in str(caught.value)


@pytest.mark.parametrize("folds", [None, 3])
def test_the_trainings_of_a_confirmed_config_are_exported_as_one_model(
    study: Path, tmp_path: Path, folds: int | None
) -> None:
    from model.flexunet import build_flexunet

    best = load_study(study).incumbent
    assert best is not None
    fingerprint = load_study(study).data_fingerprint
    plan = ConfirmationPlan(
        top=1,
        seeds=2,
        folds=folds,
        split="test" if folds is None else "valid",
        data_fingerprint=fingerprint,
        configs=(PlannedConfig(trial=best.number, value=best.value, params=dict(best.params)),),
    )
    write_plan(study, plan)
    classes = load_study(study).classes
    for place, run in enumerate(plan.runs):
        images = {f"test/{run.fold}": (8, 1, 1), f"test/{run.fold}b": (5, 2, 1)}
        facts = {"name": run.name, "trial": run.trial, "seed": run.seed, "fold": run.fold}
        scored = holes(images, classes=classes, fingerprint=fingerprint, **facts)
        folder = write_run(study, run, scored)
        made = ModelConfig(num_layers=2, base_filters=2)
        build_flexunet(made, (SIZE, SIZE, 1), 6, seed=place).save(folder / "best.keras")
    confirmation = load_confirmation(study)
    assert confirmation is not None
    assert confirmation.problems == ()
    assert confirmation.incumbent == best.number

    wish, other = ("seeds", "folds") if folds is None else ("folds", "seeds")
    with pytest.raises(ExportError, match=f"the confirmation trained over {wish}: --ensemble"):
        export_study(study, tmp_path / "best", ExportOptions(ensemble=other))
    found = export_study(study, tmp_path / "best", ExportOptions(ensemble=wish)).ensemble
    assert found is not None
    assert [m.name for m in found.members] == [run.name for run in plan.runs]
    assert len(found.scores) == (3 if folds is None else 0)
    if folds is not None:
        with pytest.raises(ExportError, match="which was trained on most of that"):
            export_study(study, tmp_path / "best", ExportOptions(class_bias=True))
    said = "none of them was trained on it" if folds is None else "the folds cover all"
    assert said in found.measured


def test_a_class_bias_is_part_of_the_model_where_it_helps_other_objects(
    larger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_models(larger, 0)
    options = ExportOptions(formats=("yaml", "keras", "onnx"), class_bias=True)
    done = export_study(larger, tmp_path / "best", options)
    found = done.class_bias
    assert found is not None
    # Of a model that was never trained nothing tells; what is written is what is said.
    best = load_study(larger).incumbent
    assert best is not None
    data = DataConfig.model_validate(load_study(larger).config["data"])
    store = find_prepared(data, load_study(larger).data_fingerprint)
    assert store is not None
    images = np.stack([store.read("valid", i)[0] for i in range(3)])
    before = open_predictor(best.path / "best.keras").predict(images)
    after = open_predictor(done.out / "best.keras").predict(images)
    shift = np.exp(list(found.bias.values())) if found.applied else np.ones(6)
    odds = before * shift
    np.testing.assert_allclose(after, odds / odds.sum(-1, keepdims=True), atol=1e-5)
    assert done.conversion is not None
    assert done.conversion.rows[0].largest_difference < 1e-3
    card = (done.out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Class bias" in card
    assert f"{found.held_out:.3f} with one fitted to other objects" in card
    with pytest.raises(ExportError, match="a mean of probabilities has no logits"):
        ExportOptions(class_bias=True, ensemble="top:2")
    monkeypatch.setattr("search.inference.class_bias.find_prepared", lambda *_: None)
    with pytest.raises(ExportError, match="--class-bias: expected the study's prepared data"):
        export_study(larger, tmp_path / "best", options)
