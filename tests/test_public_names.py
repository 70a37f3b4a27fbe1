"""What ``import search, results, model, data_pipeline`` offers, and at what cost."""

from __future__ import annotations

import importlib
import os
import pydoc
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from foundation.errors import UserError

ROOT = Path(__file__).parents[1]
TOUR = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
NAMES = {
    "search": ["ConfigError", "RunError", "StudyConfig", "load_config", "run"],
    "results": ["RecordError", "Study", "best_config", "load_study", "write_report"],
    "model": ["ModelConfig", "ModelError", "build"],
    "data_pipeline": ["DataConfig", "DataError", "Store", "prepare"],
}


@pytest.mark.parametrize("package", NAMES)
def test_a_package_offers_a_few_documented_names(package: str) -> None:
    module = importlib.import_module(package)

    assert module.__all__ == NAMES[package] == dir(module)
    assert all(getattr(module, name).__doc__ for name in module.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize("package", NAMES)
def test_help_shows_these_names(package: str) -> None:
    text = pydoc.plain(pydoc.render_doc(importlib.import_module(package)))

    shown = {name for name in NAMES[package] if re.search(rf"^    (class )?{name}\b", text, re.M)}
    assert shown == set(NAMES[package])


def test_importing_is_light() -> None:
    code = (
        "import sys, search, results, model, data_pipeline\n"
        "search.load_config, results.load_study, results.best_config, model.ModelConfig\n"
        "print([n for n in ('ray', 'tensorflow', 'keras', 'optuna') if n in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert loaded.stdout.strip() == "[]", loaded.stderr


def test_errors_that_speak_to_the_user_say_how_a_command_ends() -> None:
    from data_pipeline.problems import DataError
    from model.inference import ModelError
    from model.training import NonFiniteLoss
    from results.exports.choice import ExportError
    from results.records.evaluation import EvaluationError
    from results.records.study import RecordError
    from search.config.errors import ConfigError
    from search.errors import RunError

    own: tuple[type[UserError], ...] = (
        *(ConfigError, DataError, EvaluationError, ExportError, ModelError, NonFiniteLoss),
        *(RecordError, RunError),
    )
    assert {kind.exit_code for kind in own} == {2}
    assert RunError("taken over", 75).exit_code == 75


def test_a_study_is_tables_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    import results

    study = results.load_study(ROOT / "tests" / "data" / "saved" / "saved")

    assert repr(study).startswith("<Study 'saved': 5 trials, best trial 2, 0.09")
    assert all(isinstance(frame, pd.DataFrame) for frame in study.tables.values())
    assert all(isinstance(figure, go.Figure) for figure in study.figures.values())
    assert {"search curves", "classes map", "parameters slices"} <= study.figures.keys()
    assert len(study.figures) > 15
    assert results.best_config(study)["provenance"]["trial"] == 2
    assert results.best_config(study, trial=0)["provenance"]["trial"] == 0


@pytest.mark.usefixtures("ray_session")
def test_the_tour_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    known: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TOUR, re.S):
        exec(compile(block, "docs/python.md", "exec"), known)

    assert sum(known["summary"].states.values()) == 3
    assert known["unet"].output_shape == (None, 32, 32, 6)
    assert known["image"].shape == (32, 32, 1)
    assert "model.depth: unknown field" in capsys.readouterr().out
