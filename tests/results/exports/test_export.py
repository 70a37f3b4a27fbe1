from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from results.analysis.confirmation import ConfirmationPlan, PlannedConfig, Run
from results.exports.export import (
    ExportError,
    ExportOptions,
    Services,
    best_config,
    export_best,
    models_to_export,
)
from results.exports.model_card import Conversion, FormatRow
from results.records.searched import searched_fields
from results.records.study import StudyRecord, load_study
from tests.results.confirmed import holes, write_plan, write_run
from tests.results.conftest import MakeStudy
from tests.results.simulated_study import study_yaml
from tests.results.simulated_trials import model_bytes


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
    config = exported(export_best(copy, tmp_path / "best").out)
    assert searched_fields(config) == {}
    for name, value in best.params.items():
        section, key = name.split(".")
        assert config[section][key] == value  # type: ignore[index]
    original = load_study(copy).config
    colors = load_study(copy).data["colors"]
    assert config["data"] == {**original["data"], "classes": colors}
    assert list(config["data"]["classes"]) == list(colors)  # type: ignore[index]
    text = (tmp_path / "best" / "best.yaml").read_text(encoding="utf-8")
    assert "    Blowhole: [255, 0, 0]\n" in text
    assert "train:\n  epochs: 27\n" in text
    assert config["train"]["batch_size"] == 8  # type: ignore[index]
    assert "baselines" not in config["search"]  # type: ignore[operator]
    assert "baselines" in original["search"]


def test_the_provenance_is_complete(copy: Path, tmp_path: Path) -> None:
    best = load_study(copy).incumbent
    assert best is not None
    provenance = exported(export_best(copy, tmp_path / "best").out)["provenance"]
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
    done = export_best(copy, tmp_path / "deep" / "best")
    out = done.out
    names = ["MODEL_CARD.md", "best.keras", "best.yaml"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert [name for name, _ in done.files] == names
    assert dict(done.files)["best.keras"] == (out / "best.keras").stat().st_size
    assert (out / "best.keras").read_bytes() == model_bytes(f"trial {best.number}")
    complete = len(load_study(copy).with_state("COMPLETE"))
    among = f"the best of {complete} COMPLETE trials (of 24)"
    assert done.choice.startswith(f"trial {best.number}, {among} by mean_")
    assert done.next_command == f"flexunet-search train {out / 'best.yaml'} OUT_DIR"
    header = (out / "best.yaml").read_text(encoding="utf-8").splitlines()[:4]
    assert "#   flexunet-search train best.yaml OUT_DIR" in header


def test_the_schema_lies_beside_the_config_that_names_it(copy: Path, tmp_path: Path) -> None:
    out = export_best(copy, tmp_path / "best", services=Services(schema="{}")).out
    assert (out / "best.schema.json").read_text(encoding="utf-8") == "{}"
    first = (out / "best.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=best.schema.json"


def test_an_earlier_export_is_replaced(copy: Path, tmp_path: Path) -> None:
    out = export_best(copy, tmp_path / "best").out
    (out / "best.yaml").write_text("old", encoding="utf-8")
    export_best(copy, out)
    assert "provenance" in exported(out)
    (out / "MODEL_CARD.md").rename(out / "README.md")  # as exports were before
    export_best(copy, out, ExportOptions(formats=("keras",)))
    assert sorted(path.name for path in out.iterdir()) == ["MODEL_CARD.md", "best.keras"]
    export_best(copy, out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_evaluations_beside_an_exported_model_are_kept(copy: Path, tmp_path: Path) -> None:
    out = export_best(copy, tmp_path / "best").out
    for name in ("evaluation-test-tiles", "evaluation-mine"):
        (out / name).mkdir()
    (out / "evaluation-test-tiles" / "evaluation.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ExportError, match=r"found evaluation-mine$"):  # no evaluation of ours
        export_best(copy, out)
    (out / "evaluation-mine").rmdir()

    done = export_best(copy, out, ExportOptions(formats=("yaml",)))

    assert done.kept == ("evaluation-test-tiles",)
    held = sorted(path.name for path in out.iterdir())
    assert held == ["MODEL_CARD.md", "best.yaml", "evaluation-test-tiles"]
    assert (out / "evaluation-test-tiles" / "evaluation.json").read_text() == "{}"
    assert "evaluation-test" not in (out / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_no_room_for_an_evaluation_leaves_all_as_it_was(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export_best(copy, tmp_path / "best", ExportOptions(formats=("yaml",))).out
    (out / "evaluation-test-tiles").mkdir()
    (out / "evaluation-test-tiles" / "evaluation.json").write_text("{}", encoding="utf-8")
    (out / "best.yaml").write_text("old", encoding="utf-8")

    def full(source: str, target: str, **_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("results.exports.folder.shutil.copyfile", full)
    with pytest.raises(OSError, match=r"evaluation\.json: cannot be kept: .*No space left"):
        export_best(copy, out, ExportOptions(formats=("yaml",)))
    assert (out / "best.yaml").read_text(encoding="utf-8") == "old"
    assert (out / "evaluation-test-tiles" / "evaluation.json").read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_evaluation_alone_is_no_earlier_export(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "evaluation-test-tiles").mkdir(parents=True)
    (tmp_path / "mine" / "evaluation-test-tiles" / "evaluation.json").touch()
    with pytest.raises(ExportError, match="found evaluation-test-tiles"):
        export_best(copy, tmp_path / "mine")


def test_an_empty_folder_is_taken(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    assert "provenance" in exported(export_best(copy, tmp_path / "best").out)


def test_a_folder_of_somebody_else_is_refused(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(ExportError, match=r"thesis\.tex"):
        export_best(copy, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text(encoding="utf-8") == "years"
    with pytest.raises(ExportError, match="received a file"):
        export_best(copy, tmp_path / "mine" / "thesis.tex")


def test_a_folder_of_the_references_trainer_is_no_earlier_export(
    copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("train_eval_infer.config", "best_model.h5", "README.md"):
        (tmp_path / "mine" / name).write_text("mine", encoding="utf-8")
    with pytest.raises(ExportError, match=r"found README\.md, best_model\.h5, train_"):
        export_best(copy, tmp_path / "mine")
    assert len(list((tmp_path / "mine").iterdir())) == 3


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


@pytest.mark.parametrize("cut", [True, False], ids=["cut short", "changed within"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_written(
    copy: Path, tmp_path: Path, cut: bool
) -> None:
    best = load_study(copy).incumbent
    assert best is not None
    path = best.path / "best.keras"
    whole = path.read_bytes()
    path.write_bytes(whole[:30] if cut else whole.replace(b"model of", b"MODEL OF"))
    with pytest.raises(ExportError, match=r"best\.keras: expected a whole \.keras file, received"):
        export_best(copy, tmp_path / "best")
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_export_leaves_the_earlier_one(
    copy: Path, tmp_path: Path, error: BaseException
) -> None:
    out = export_best(copy, tmp_path / "best").out
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(model: Path, folder: Path, formats: tuple[str, ...]) -> Conversion:
        (folder / "best.onnx").write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        export_best(
            copy, out, ExportOptions(formats=("keras", "onnx")), services=Services(convert=fail)
        )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_other_formats_come_from_who_can_write_them(copy: Path, tmp_path: Path) -> None:
    told = Conversion((FormatRow("ONNX", "best.onnx", 4, 1e-6, 1e-7, 1.0, 3.0),), "noise", 9.0, "x")
    asked: list[object] = []

    def write(model: Path, folder: Path, formats: tuple[str, ...]) -> Conversion:
        asked.append((model.parent.name, formats))
        (folder / "best.onnx").write_bytes(b"onnx")
        (folder / "saved_model").mkdir()
        (folder / "saved_model" / "saved_model.pb").write_bytes(b"12345")
        return told

    options = ExportOptions(formats=("onnx", "savedmodel"))
    done = export_best(copy, tmp_path / "best", options, Services(convert=write))
    best = load_study(copy).incumbent
    assert best is not None
    assert asked == [(f"{best.number:05d}", ("onnx", "savedmodel"))]
    assert [name for name, _ in done.files] == ["MODEL_CARD.md", "best.onnx", "saved_model"]
    assert dict(done.files)["saved_model"] == 5
    assert done.conversion == told
    assert done.next_command is None  # no config was exported
    assert "best.onnx" in (done.out / "MODEL_CARD.md").read_text(encoding="utf-8")
    with pytest.raises(ExportError, match="what writes the formats onnx"):
        export_best(copy, tmp_path / "other", ExportOptions(formats=("onnx",)))
    assert not (tmp_path / "other").exists()


def test_the_references_config_and_what_it_loses(copy: Path, tmp_path: Path) -> None:
    options = ExportOptions(formats=("flexunet",), images_root="../tiles", mask_format=".npz")
    done = export_best(copy, tmp_path / "best", options)
    text = (done.out / "train_eval_infer.config").read_text(encoding="utf-8")
    assert "../tiles/train/images/" in text
    assert '".npz"' in text or "'.npz'" in text
    assert any(line.startswith("train.loss: 'cross_entropy_dice'; nearest: ") for line in done.lost)
    card = (done.out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "cannot express everything" in card
    assert done.next_command is not None
    assert done.next_command.endswith("train_eval_infer.config OUT_DIR")

    strict = ExportOptions(formats=("flexunet",), strict=True)
    with pytest.raises(ExportError, match=f"received {len(done.lost)} that it cannot") as raised:
        export_best(copy, tmp_path / "strict", strict)
    assert all(line in str(raised.value) for line in done.lost)
    assert not (tmp_path / "strict").exists()


def test_the_reference_finds_the_images_where_the_study_did(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = yaml.safe_load((copy / "study.yaml").read_text(encoding="utf-8"))
    header["config"]["data"]["source"] = "data/tiles"
    (copy / "study.yaml").write_text(yaml.safe_dump(header), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    wanted = ExportOptions(formats=("flexunet",))

    done = export_best(copy, tmp_path / "best", wanted)
    assert [note for note in done.notes if "are not here" in note]

    for split in ("train", "valid"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / "tiles" / split / kind).mkdir(parents=True)
    done = export_best(copy, tmp_path / "best", wanted)
    text = (done.out / "train_eval_infer.config").read_text(encoding="utf-8")
    assert f"'{tmp_path}/data/tiles/train/images/'" in text
    (note,) = done.notes
    assert "has no test/images, test/masks: " in note
    assert f"; - {note}" in text


def test_a_config_that_was_broken_by_hand_is_told(copy: Path, tmp_path: Path) -> None:
    header = yaml.safe_load((copy / "study.yaml").read_text(encoding="utf-8"))
    header["config"]["train"]["batch_size"] = {}
    (copy / "study.yaml").write_text(yaml.safe_dump(header), encoding="utf-8")
    with pytest.raises(ExportError, match=r"study\.yaml: expected a config as a study has it"):
        export_best(copy, tmp_path / "best", ExportOptions(formats=("flexunet",)))


def test_classes_without_colours_have_no_rgb_map(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(trials=3, running=0, schema="first")
    with pytest.raises(ExportError, match=r"a colour of each class in .*data\.json"):
        export_best(path, tmp_path / "best", ExportOptions(formats=("flexunet",)))
    config = exported(export_best(path, tmp_path / "best").out)
    assert "classes" not in config["data"]  # type: ignore[operator]


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


CLASSES = ("background", "hole")


@pytest.fixture
def confirmed(make_study: MakeStudy, tmp_path: Path) -> Path:
    """A study in which another config than the search's best confirmed best."""
    study = Path(shutil.copytree(make_study(trials=8, classes=CLASSES), tmp_path / "confirmed"))
    best = load_study(study).incumbent
    assert best is not None
    configs = [PlannedConfig(trial=number) for number in (best.number, second_of(study))]
    plan = ConfirmationPlan(top=2, seeds=2, configs=tuple(configs))
    write_plan(study, plan)
    for run in plan.runs:
        found = 4 if run.trial == best.number else 8
        counts = holes({"a": (found, 0, 10 - found), "b": (found, 0, 10 - found)})
        write_run(study, run, counts, validation=0.3 + 0.1 * run.seed)
    return study


def second_of(study: Path) -> int:
    """The first COMPLETE trial that is not the best."""
    records = load_study(study)
    return next(t.number for t in records.with_state("COMPLETE") if t is not records.incumbent)


def test_the_confirmed_config_is_preferred_with_its_best_model_by_validation(
    confirmed: Path, tmp_path: Path
) -> None:
    number = second_of(confirmed)
    done = export_best(confirmed, tmp_path / "best", ExportOptions(confirmed=True))
    out = done.out
    provenance: Any = exported(out)["provenance"]
    assert provenance["trial"] == number
    name = Run(number, 1).name
    assert (out / "best.keras").read_bytes() == model_bytes(name)
    assert provenance["confirmed"] == {
        "mean": pytest.approx(16 / 18),
        "low": pytest.approx(16 / 18),
        "high": pytest.approx(16 / 18),
        "seeds": 2,
        "split": "test",
        "folds": None,
        "resolution": "native",
        "not_distinguishable_from": [],
        "model": name,
    }
    header = (out / "best.yaml").read_text(encoding="utf-8")
    assert f"that confirmed best: trial {number}, mean_foreground_dice 0.8889" in header
    assert "# (95 % interval 0.8889 to 0.8889, 2 seeds, test split).\n# Train it in full:" in header
    assert done.choice.startswith(f"trial {number}, whose config confirmed best: mean_fore")
    assert name in done.choice
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**Mean foreground Dice: 0.889 (95 % interval 0.889 to 0.889)**" in card
    assert "the mean over 2 seeds of training the config anew, on 2 images of 2 groups" in card
    assert f"The model is the training {name}, the best by its validation score" in card
    assert "the best of many" not in card.lower()


def test_the_searchs_own_best_and_any_other_trial_can_be_asked_for(
    confirmed: Path, tmp_path: Path
) -> None:
    best = load_study(confirmed).incumbent
    assert best is not None
    out = export_best(confirmed, tmp_path / "best", ExportOptions(searched=True)).out
    assert exported(out)["provenance"]["trial"] == best.number  # type: ignore[index]
    assert (out / "best.keras").read_bytes() == model_bytes(f"trial {best.number}")
    assert "confirmed" not in exported(out)["provenance"]  # type: ignore[operator]

    number = second_of(confirmed)
    export_best(confirmed, out, ExportOptions(trial=number))
    assert exported(out)["provenance"]["trial"] == number  # type: ignore[index]
    assert (out / "best.keras").read_bytes() == model_bytes(f"trial {number}")
    assert "as asked for" in (out / "best.yaml").read_text(encoding="utf-8").splitlines()[0]
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**Chosen:** by hand" in card
    assert "Chosen by hand: another trial may be better" in card
    (model,) = models_to_export(confirmed, ExportOptions(trial=number))
    assert model.parent.name == f"{number:05d}"


def test_before_all_trainings_have_ended_the_searchs_best_is_exported(
    confirmed: Path, tmp_path: Path
) -> None:
    number = second_of(confirmed)
    write_run(confirmed, Run(number, 0), None)
    (confirmed / "confirm" / "runs" / Run(number, 0).name / "evaluation.npz").unlink()
    best = load_study(confirmed).incumbent
    assert best is not None
    out = export_best(confirmed, tmp_path / "best").out
    assert exported(out)["provenance"]["trial"] == best.number  # type: ignore[index]
    with pytest.raises(ExportError, match=r"a finished confirmation .*not finished: 3 of 4"):
        export_best(confirmed, tmp_path / "best", ExportOptions(confirmed=True))


def test_a_study_that_was_never_confirmed_has_nothing_confirmed(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"finished confirmation .*received none: flexunet-"):
        export_best(copy, tmp_path / "best", ExportOptions(confirmed=True))


def test_a_tie_and_a_cross_validation_are_said(confirmed: Path, tmp_path: Path) -> None:
    best = load_study(confirmed).incumbent
    assert best is not None
    number = second_of(confirmed)
    configs = [PlannedConfig(trial=best.number), PlannedConfig(trial=number)]
    plan = ConfirmationPlan(top=2, seeds=1, folds=3, configs=tuple(configs))
    write_plan(confirmed, plan)
    found = {best.number: (9, 4, 4), number: (6, 6, 6)}  # better in one fold, worse in two
    for run in plan.runs:
        assert run.fold is not None
        hits = found[run.trial][run.fold]
        write_run(
            confirmed, run, holes({f"i{run.fold}": (hits, 0, 10 - hits)}), validation=run.fold
        )
    card = (export_best(confirmed, tmp_path / "best").out / "MODEL_CARD.md").read_text("utf-8")
    assert f"# Model card: magnetic-tile, trial {number}" in card
    assert f"It is not distinguishable from trial {best.number}." in card
    assert "the mean over 1 seed of training the config anew, on 3 images" in card
    assert "(all images, 3 folds)" in card
    assert "on images that chose no epoch;" in card
    assert "slightly optimistic" in card
    assert f"{Run(number, 0, 2).name}, of a part of the data" in card
    assert "this model" not in card  # its fold's images alone are no other's


def test_a_trial_or_a_model_that_is_not_there_is_refused(confirmed: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a trial with a value in .*, received 99; there are 0"):
        export_best(confirmed, tmp_path / "best", ExportOptions(trial=99))
    name = Run(second_of(confirmed), 1).name
    (confirmed / "confirm" / "runs" / name / "best.keras").unlink()
    with pytest.raises(ExportError, match=rf"the checkpoint of {name} at .*; it is missing"):
        export_best(confirmed, tmp_path / "best")
