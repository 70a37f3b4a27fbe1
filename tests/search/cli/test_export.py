from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from results.exports.export import Exported, ExportError, ExportOptions
from results.exports.folder import FILES
from results.exports.model_card import Conversion, FormatRow
from search.cli.main import app
from tests.results.conftest import MakeStudy, make_study  # noqa: F401  (a fixture)


def test_the_help_names_every_format() -> None:
    shown = CliRunner().invoke(app, ["export", "--help"], terminal_width=200).output

    assert [name for name in FILES if name not in shown] == []


def test_it_says_what_was_chosen_written_and_comes_next(
    make_study: MakeStudy,  # noqa: F811
    tmp_path: Path,
) -> None:
    out = tmp_path / "best"
    done = CliRunner().invoke(app, ["export", str(make_study(trials=6)), str(out)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("trial ")
    assert "the only COMPLETE trial (of 6) by mean_foreground_dice" in lines[0]
    assert lines[1] == f"exported: {out}"
    assert [line.split()[0] for line in lines[2:-1]] == [
        "MODEL_CARD.md",
        "best.keras",
        "best.schema.json",
        "best.yaml",
    ]
    assert lines[-1] == f"next: flexunet-search train {out / 'best.yaml'} OUT_DIR"


def test_what_is_lost_and_how_formats_compare_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = FormatRow("ONNX", "best.onnx", 1_970_000, 1.8e-6, 2.6e-8, 0.99238, 11.94)
    asked: list[ExportOptions] = []

    def export_study(study_dir: Path, out_dir: Path, options: ExportOptions) -> Exported:
        asked.append(options)
        return Exported(
            out_dir,
            "trial 3, as asked for",
            (("best.onnx", 1_970_000),),
            ("train.loss: '[red]dice'; nearest: cross-entropy",),
            Conversion((row,), "8 images", 25.5, "a CPU"),
        )

    monkeypatch.setattr("search.inference.export.export_study", export_study)
    arguments = ["export", str(tmp_path), str(tmp_path / "out"), "--trial", "3", "--images-root"]
    arguments += ["../tiles", "--mask-format", ".npz", "--format", "flexunet, onnx"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert asked == [
        ExportOptions(("flexunet", "onnx"), trial=3, images_root="../tiles", mask_format=".npz")
    ]
    assert "cannot express 1 settings" not in done.output
    assert "cannot express 1 setting:" in done.output
    assert "  - train.loss: '[red]dice'; nearest: cross-entropy" in done.output
    assert "99.238 %" in done.output
    assert "on 8 images; Keras: 25.5 ms an image, a CPU" in done.output
    assert "next:" not in done.output


def test_all_that_is_wrong_with_the_options_is_one_error(tmp_path: Path) -> None:
    arguments = ["export", str(tmp_path), str(tmp_path / "out"), "--format", "onx,keras"]
    done = CliRunner().invoke(app, [*arguments, "--strict", "--searched", "--confirmed"])
    assert isinstance(done.exception, ExportError)
    assert "did you mean 'onnx'" in str(done.exception)
    assert "--strict: expected --format flexunet" in str(done.exception)
    assert "received --searched and --confirmed" in str(done.exception)
