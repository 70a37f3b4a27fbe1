from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from results.analysis import scores
from results.analysis.baselines import shown_value
from results.records.study import RecordError, load_study
from tests.results.conftest import MakeStudy
from tests.results.simulated_study import CLASSES


@pytest.fixture
def copy(study_dir: Path, tmp_path: Path) -> Path:
    """A study that a test may break."""
    return Path(shutil.copytree(study_dir, tmp_path / "study"))


def metrics(study: Path, number: int) -> Path:
    return study / "trials" / f"{number:05d}" / "metrics.jsonl"


def test_a_study_is_read_whole(study_dir: Path) -> None:
    study = load_study(study_dir)
    assert study.classes == CLASSES
    assert [trial.number for trial in study.trials] == list(range(24))
    assert {trial.state for trial in study.trials} == {"COMPLETE", "PRUNED", "FAIL", "RUNNING"}
    assert study.config["model"]["num_layers"] == {"int": [3, 6]}
    assert study.data["splits"]["valid"]["images"] == 131
    assert [trial.baseline for trial in study.baselines] == ["reference"]


def test_the_incumbent_is_the_best_complete_trial(study_dir: Path) -> None:
    study = load_study(study_dir)
    values = {t.number: t.value for t in study.trials if t.state == "COMPLETE"}
    assert study.incumbent is not None
    assert study.incumbent.number == max(values, key=lambda number: values[number])


def test_curves_agree_with_their_counts(study_dir: Path) -> None:
    trial = load_study(study_dir).incumbent
    assert trial is not None
    assert trial.curve.dice.shape == (trial.epochs, len(CLASSES))
    for counts, dice in zip(trial.curve.counts, trial.curve.dice, strict=True):
        np.testing.assert_allclose(scores.dice(counts), dice)


def test_an_epoch_tells_when_and_where_it_was_trained(copy: Path) -> None:
    path = metrics(copy, 4)
    first, second, *_ = path.read_text(encoding="utf-8").splitlines()
    told = json.loads(first) | {
        "time": "1970-01-01T01:00:02+00:30",
        "worker": {"host": "a", "pid": 7},
        "seconds": {"train": 2.0, "validate": 1.0, "input": 0.25, "total": 3.5},
    }
    silent = json.loads(second) | {"seconds": {"train": 2.0}}
    silent.pop("time")
    silent.pop("worker", None)
    path.write_text("".join(json.dumps(line) + "\n" for line in (told, silent)), encoding="utf-8")
    curve = load_study(copy).trials[4].curve
    np.testing.assert_array_equal(curve.ended, [1802.0, np.nan])
    np.testing.assert_array_equal(curve.input_seconds, [0.25, np.nan])
    np.testing.assert_array_equal(curve.total_seconds, [3.5, np.nan])
    assert curve.workers == ("a/7", "")


def test_an_undefined_class_is_nan(study_dir: Path) -> None:
    collapsed = load_study(study_dir).trials[0]
    fray = CLASSES.index("Fray")
    assert np.isnan(collapsed.curve.dice[:, fray]).all()
    assert (collapsed.curve.dice[:, 1] == 0).all()


def test_the_best_row_is_the_best_epochs(study_dir: Path) -> None:
    trial = load_study(study_dir).incumbent
    assert trial is not None
    assert trial.best_row is not None
    assert trial.curve.epoch[trial.best_row] == trial.best_epoch
    assert trial.curve.objective[trial.best_row] == pytest.approx(trial.value)


def test_the_best_row_of_a_running_trial_is_its_best_so_far(study_dir: Path) -> None:
    running = load_study(study_dir).with_state("RUNNING")[0]
    assert running.best_epoch is None
    assert running.best_row == int(np.argmax(running.curve.objective))
    lagging = replace(running, best_epoch=1, value=float(running.curve.objective[0]))
    assert lagging.best_row == running.best_row
    assert shown_value(lagging) == running.curve.objective.max()


@pytest.mark.parametrize("torn", ['{"epoch": 99, "dice": {"backgr', '{"epoch": 99, "di\n'])
def test_a_torn_last_line_is_left_out(copy: Path, torn: str) -> None:
    before = len(load_study(copy).trials[4].curve)
    with metrics(copy, 4).open("a", encoding="utf-8") as file:
        file.write(torn)
    curve = load_study(copy).trials[4].curve
    assert len(curve) == before
    assert 99 not in curve.epoch


def test_of_an_epoch_trained_twice_the_later_line_stands(copy: Path) -> None:
    path = metrics(copy, 4)
    lines = path.read_text(encoding="utf-8").splitlines()
    again = json.loads(lines[-1]) | {"train_loss": 0.125}
    path.write_text("\n".join([*lines, json.dumps(again)]) + "\n", encoding="utf-8")
    curve = load_study(copy).trials[4].curve
    assert len(curve) == len(lines)
    assert curve.train_loss[-1] == 0.125


def test_a_trial_about_to_begin_is_not_counted(copy: Path) -> None:
    (copy / "trials" / "00024").mkdir()
    (copy / "trials" / "notes.txt").write_text("mine", encoding="utf-8")
    assert len(load_study(copy).trials) == 24


def test_a_trial_without_epochs_is_read(copy: Path) -> None:
    metrics(copy, 11).unlink()
    curve = load_study(copy).trials[11].curve
    assert len(curve) == 0
    assert curve.dice.shape == (0, len(CLASSES))


def test_a_study_before_its_first_trial_is_read(copy: Path) -> None:
    shutil.rmtree(copy / "trials")
    (copy / "data.json").unlink()
    study = load_study(copy)
    assert study.trials == ()
    assert study.incumbent is None


def test_not_finite_numbers_are_read(copy: Path) -> None:
    path = metrics(copy, 4)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"train_loss": float("nan")})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert np.isnan(load_study(copy).trials[4].curve.train_loss[0])


def test_another_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"study\.yaml: not there"):
        load_study(tmp_path / "nowhere")


def test_a_study_of_the_first_version_is_read(make_study: MakeStudy) -> None:
    old = load_study(make_study(schema="first"))
    new = load_study(make_study())
    assert old.versions == {}
    assert old.pruning_metric is None
    assert [trial.value for trial in old.trials] == [trial.value for trial in new.trials]
    assert {trial.cost for trial in old.trials} == {None}
    assert {trial.failures for trial in old.trials} == {()}
    one, other = old.trials[4].curve, new.trials[4].curve
    np.testing.assert_array_equal(one.dice, other.dice)
    for name in ("soft_dice", "counts", "pooled_dice", "ended", "input_seconds"):
        assert np.isnan(getattr(one, name)).all()
        assert np.isfinite(getattr(other, name)).all()
    assert set(one.workers) == {""}


def test_workers_train_one_epoch_at_a_time_and_lost_ones_are_told(make_study: MakeStudy) -> None:
    study = load_study(make_study(lost_every=5))
    spans: dict[str, list[tuple[float, float]]] = {}
    for trial in study.trials:
        begun = trial.curve.ended - trial.curve.total_seconds
        for worker, *span in zip(trial.curve.workers, begun, trial.curve.ended, strict=True):
            spans.setdefault(worker, []).append((span[0], span[1]))
    assert {worker.split("/")[0] for worker in spans} == {"node-1", "node-2"}
    for worked in spans.values():
        ordered = sorted(worked)
        # Times are in milliseconds.
        assert all(a[1] <= b[0] + 0.002 for a, b in pairwise(ordered))
    lost = study.trials[4]
    assert lost.failures[0].epoch == lost.epochs // 2
    assert len(set(lost.curve.workers)) == 2


def test_an_unknown_format_is_refused(copy: Path) -> None:
    header = yaml.safe_load((copy / "study.yaml").read_text(encoding="utf-8")) | {"format": 2}
    (copy / "study.yaml").write_text(yaml.safe_dump(header), encoding="utf-8")
    with pytest.raises(RecordError, match="expected format 1, received 2"):
        load_study(copy)


def test_python_objects_in_yaml_are_refused(copy: Path) -> None:
    text = "format: 1\nname: !!python/object/apply:os.getcwd []\n"
    (copy / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"study\.yaml: expected YAML"):
        load_study(copy)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"splits": 5}, "splits: Input should be a valid dictionary, received 5"),
        ({"splits": {"train": {"images": None}}}, "splits.train.images: Input should be a valid"),
        ({"splits": {"train": {"pixels": {"Fray": "x"}}}}, "splits.train.pixels.Fray: "),
        ({"colors": {"Fray": [0, 0, 256]}}, "colors.Fray.2: "),
        ({"image_shape": [1e300]}, "image_shape.0: "),
        ({"findings": [{"files": 3}]}, "findings.0.files: "),
    ],
)
def test_a_record_of_the_data_of_other_types_is_told(
    copy: Path, changed: dict[str, object], problem: str
) -> None:
    data = json.loads((copy / "data.json").read_text(encoding="utf-8"))
    (copy / "data.json").write_text(json.dumps(data | changed), encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        load_study(copy)
    assert caught.value.problems[0].startswith(f"data.json: {problem}")


def test_all_problems_are_told_at_once(copy: Path) -> None:
    (copy / "data.json").write_text("{", encoding="utf-8")
    (copy / "trials" / "00001" / "trial.json").write_text("[", encoding="utf-8")
    trial = json.loads((copy / "trials" / "00002" / "trial.json").read_text(encoding="utf-8"))
    changed = json.dumps(trial | {"state": "DONE"})
    (copy / "trials" / "00002" / "trial.json").write_text(changed, encoding="utf-8")
    lines = metrics(copy, 4).read_text(encoding="utf-8").splitlines()
    metrics(copy, 4).write_text("\n".join(["{", *lines]), encoding="utf-8")
    unknown = json.dumps(json.loads(lines[0]) | {"dice": {"Scratch": 0.5}})
    metrics(copy, 5).write_text(unknown + "\n", encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        load_study(copy)
    text = str(caught.value)
    for expected in (
        "data.json: expected JSON",
        "trials/00001/trial.json: expected JSON",
        "trials/00002/trial.json: state",
        "'DONE'",
        "trials/00004/metrics.jsonl: line 1: expected JSON",
        "trials/00005/metrics.jsonl: expected classes among",
        "Scratch",
    ):
        assert expected in text
    assert len(caught.value.problems) == 5


def test_two_folders_of_one_trial_are_refused(copy: Path) -> None:
    shutil.copytree(copy / "trials" / "00003", copy / "trials" / "00003-copy")
    with pytest.raises(RecordError, match="received 3 twice"):
        load_study(copy)


def test_many_problems_are_counted(make_study: MakeStudy) -> None:
    path = make_study(trials=60, epochs=3)
    for folder in (path / "trials").iterdir():
        (folder / "trial.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match="and 10 more") as caught:
        load_study(path)
    assert len(caught.value.problems) == 60


def test_results_load_neither_ray_nor_tensorflow(study_dir: Path) -> None:
    code = (
        "import sys, results.records.study, results.pages.report, results.exports.export\n"
        "results.pages.report.render_report(results.records.study.load_study(sys.argv[1]))\n"
        "loaded = {'ray', 'tensorflow', 'keras', 'search', 'model', 'data_pipeline'}\n"
        "sys.exit(', '.join(loaded & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(study_dir)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
