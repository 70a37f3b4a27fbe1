from __future__ import annotations

import csv
import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundation import files
from results.records.evaluation import Evaluation
from search.inference.evaluation import Evaluated, evaluate
from search.inference.evaluation_dataset import find_evaluation_dataset
from search.inference.evaluation_folder import (
    NAMES,
    check_folder,
    default_folder,
    draw,
    write_evaluation,
)
from tests.search.evaluated import Lookup, facts, write_data


@pytest.fixture
def done(tmp_path: Path) -> Evaluated:
    data = write_data(tmp_path / "my data")
    (tmp_path / "best.keras").write_bytes(b"weights")
    known = facts(tmp_path / "best.keras")
    return evaluate(Lookup(), known, find_evaluation_dataset(str(data), known), replicates=100)


def test_the_folder_holds_everything_and_replaces_an_earlier_one(
    done: Evaluated, tmp_path: Path
) -> None:
    out = default_folder(done.facts, done.held)
    assert out == tmp_path / "evaluation-test-my_data"
    assert write_evaluation(done, Lookup(), out, command="flexunet-search evaluate ...") == out
    assert {path.name for path in out.iterdir()} == set(NAMES)
    assert (out / "evaluation.csv").read_text() == (
        "categorical_crossentropy,0.5037\ndice_coef_multiclass,0.9688\n"
    )
    told = json.loads((out / "evaluation.json").read_text())
    assert told["scores"]["mean_foreground"]["dice"]["value"] == pytest.approx(0.75)
    assert told["scores"]["classes"]["hole"]["true_positives"] == 8
    assert told["model"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert told["data"]["classes"]["crack"] == [0, 0, 255]
    assert (told["data"]["images"], told["data"]["groups"]) == (2, 2)
    assert told["reference"]["dice_coef_multiclass"] == pytest.approx(0.96875, abs=1e-6)
    assert told["command"] == "flexunet-search evaluate ..."
    assert {"keras", "numpy"} <= told["versions"].keys()
    kept = Evaluation.load(out / "evaluation.npz")
    assert kept.cells.tolist() == done.evaluation.cells.tolist()
    rows = list(csv.DictReader((out / "classes.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["background", "hole", "crack"]
    assert (rows[1]["dice"], rows[1]["false_negatives"]) == ("0.5", "8")

    write_evaluation(done, Lookup(), out)
    assert json.loads((out / "evaluation.json").read_text())["command"] == ""
    assert [path.name for path in tmp_path.glob("*evaluation*")] == [out.name]


def test_the_page_shows_the_chosen_images_as_they_were_predicted(
    done: Evaluated, tmp_path: Path
) -> None:
    model = Lookup()
    html = (write_evaluation(done, model, tmp_path / "out") / "gallery.html").read_text()
    assert model.asked == 2  # each image is the worst, the median and the best of its class
    assert html.count("<figure>") == 2 * 4
    assert "test/a" in html
    assert "8 px missed, 8 px invented; the truth is 16 px" in html
    assert "No pixel is wrong; the truth is 16 px" in html


def test_a_folder_of_others_is_refused_and_left_alone(done: Evaluated, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"earlier evaluation, found thesis\.tex"):
        check_folder(out)
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        write_evaluation(done, Lookup(), out)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_disk_that_fills_leaves_what_stood_there(
    done: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_evaluation(done, Lookup(), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(OSError, match=r"No space left .*/out'"):
        write_evaluation(done, Lookup(), out, command="another")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".out.*"))


def test_pictures_are_of_the_images_they_are_named_after(done: Evaluated, tmp_path: Path) -> None:
    listing = draw(done, Lookup(), tmp_path, 2)
    assert set(listing) == set(done.evaluation.images)
    for name, picture in listing.items():
        truth = cv2.imread(str(picture.truth), cv2.IMREAD_UNCHANGED)
        seen = cv2.imread(str(picture.predictions[done.evaluation.name]), cv2.IMREAD_UNCHANGED)
        image = done.evaluation.images.index(name)
        hit = int(((truth == seen) & (truth > 0)).sum())
        assert hit == int(done.evaluation.counts[image, 1:, 0].sum())
        assert np.unique(truth).tolist() == [0, 1 if name == "test/a" else 2]


def test_each_file_of_a_model_has_a_folder_of_its_own_and_other_data_replace_none(
    done: Evaluated, tmp_path: Path
) -> None:
    path = tmp_path / "best_int8.tflite"
    out = default_folder(replace(done.facts, path=path), done.held)
    assert out == tmp_path / "evaluation-test-my_data-best_int8.tflite"
    write_evaluation(done, Lookup(), default_folder(done.facts, done.held))
    assert default_folder(done.facts, done.held) == tmp_path / "evaluation-test-my_data"
    mirrored = default_folder(done.facts, done.held, "all")
    assert mirrored == tmp_path / "evaluation-test-my_data-flips-all"
    elsewhere = replace(done.held, root=tmp_path / "elsewhere" / "my data")
    with pytest.raises(FileExistsError, match=r"elsewhere/my data to replace, found one of "):
        default_folder(done.facts, elsewhere)
