from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from results.export import ExportError, best_config, export_best
from results.records import StudyRecord, load_study
from results.searched import searched_fields
from tests.results.conftest import MakeStudy
from tests.results.simulated_study import study_yaml


@pytest.fixture
def copy(study_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study_dir, tmp_path / "study"))


def exported(out: Path) -> dict[str, object]:
    loaded = yaml.safe_load((out / "best.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_the_config_is_the_studys_with_the_incumbents_constants(copy: Path, tmp_path: Path) -> None:
    study = load_study(copy)
    best = study.incumbent
    assert best is not None
    config = exported(export_best(copy, tmp_path / "best"))
    assert searched_fields(config) == {}
    for name, value in best.params.items():
        section, key = name.split(".")
        assert config[section][key] == value  # type: ignore[index]
    original = load_study(copy).config
    assert config["data"] == original["data"]
    assert config["train"]["batch_size"] == 8  # type: ignore[index]
    assert "baselines" not in config["search"]  # type: ignore[operator]
    assert "baselines" in original["search"]


def test_the_provenance_is_complete(copy: Path, tmp_path: Path) -> None:
    best = load_study(copy).incumbent
    assert best is not None
    provenance = exported(export_best(copy, tmp_path / "best"))["provenance"]
    assert isinstance(provenance, dict)
    assert provenance["study"] == "magnetic-tile"
    assert provenance["trial"] == best.number
    assert provenance["best_epoch"] == best.best_epoch
    assert provenance["scores"]["mean_foreground_dice"] == best.value
    assert set(provenance["scores"]["dice"]) == set(load_study(copy).classes)
    assert provenance["data_fingerprint"] == "8f1c02a97be6d4435c0e"
    assert provenance["versions"]["tensorflow"] == "2.21.0"
    assert provenance["git_revision"].startswith("4b825dc")
    assert provenance["exported"].endswith("+00:00")


def test_the_checkpoint_and_the_commands_come_along(copy: Path, tmp_path: Path) -> None:
    best = load_study(copy).incumbent
    assert best is not None
    out = export_best(copy, tmp_path / "deep" / "best")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "best.keras", "best.yaml"]
    assert (out / "best.keras").read_bytes() == b"keras model of trial %d" % best.number
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert "flexunet-search train best.yaml OUT_DIR" in readme
    assert "keras.saving.load_model('best.keras')" in readme
    assert "[batch, 128, 128, 1]" in readme
    header = (out / "best.yaml").read_text(encoding="utf-8").splitlines()[:4]
    assert "#   flexunet-search train best.yaml OUT_DIR" in header


def test_an_earlier_export_is_replaced(copy: Path, tmp_path: Path) -> None:
    out = export_best(copy, tmp_path / "best")
    (out / "best.yaml").write_text("old", encoding="utf-8")
    export_best(copy, out)
    assert "provenance" in exported(out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_empty_folder_is_taken(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    assert "provenance" in exported(export_best(copy, tmp_path / "best"))


def test_a_folder_of_somebody_else_is_refused(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(ExportError, match=r"thesis\.tex"):
        export_best(copy, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text(encoding="utf-8") == "years"
    with pytest.raises(ExportError, match="received the file"):
        export_best(copy, tmp_path / "mine" / "thesis.tex")


def test_a_study_without_a_complete_trial_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(trials=3, running=1, states={0: "FAIL", 1: "PRUNED"})
    with pytest.raises(ExportError, match="1 FAIL, 1 PRUNED, 1 RUNNING"):
        export_best(path, tmp_path / "best")
    assert not (tmp_path / "best").exists()


def test_a_missing_checkpoint_is_refused(copy: Path, tmp_path: Path) -> None:
    best = load_study(copy).incumbent
    assert best is not None
    (best.path / "best.keras").unlink()
    with pytest.raises(ExportError, match=r"checkpoint of trial \d+.*best\.keras; it is missing"):
        export_best(copy, tmp_path / "best")


def test_an_interrupted_export_leaves_the_earlier_one(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export_best(copy, tmp_path / "best")
    before = (out / "best.yaml").read_bytes()

    def full_disk(*_: object) -> str:
        raise OSError("No space left on device")

    monkeypatch.setattr("results.export._readme_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        export_best(copy, out)
    assert (out / "best.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda params: params.pop("train.loss"), "no value for train.loss"),
        (lambda params: params.update({"model.depth": 3}), "a value for model.depth, which"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    study_dir: Path, change: object, message: str
) -> None:
    study: StudyRecord = load_study(study_dir)
    trial = study.trials[4]
    change(trial.params)  # type: ignore[operator]
    with pytest.raises(ExportError, match=message):
        best_config(study, trial)


def test_the_simulated_header_is_as_a_study_writes_it() -> None:
    # The tests above stand on it: every searched field is one of model, train or augment.
    from tests.results.simulated_study import Simulation

    header = study_yaml(Simulation())
    assert set(searched_fields(header["config"])) == set(
        header["config"]["search"]["baselines"]["reference"]
    )
