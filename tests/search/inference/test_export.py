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
from results.exports.export import ExportOptions
from results.records.study import load_study
from search.config.loading import config_from_tree, load_config
from search.inference.export import IMAGES, comparison_images, export_study
from tests.results.simulated_study import Simulation, space, write_study

pytestmark = pytest.mark.processor

SIZE = 32


@pytest.fixture
def study(tmp_path: Path, synthetic_folder: Path) -> Path:
    """A study whose config is one of ours, on real data that are prepared."""
    path = write_study(tmp_path / "study", Simulation(trials=4, running=0))
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
