from __future__ import annotations

from pathlib import Path

import pytest

from results.figures import classes
from results.records import load_study
from results.tables import StudyTables, tabulate
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def data(study_dir: Path) -> StudyTables:
    return tabulate(load_study(study_dir))


def test_an_undefined_class_has_no_curve(make_study: MakeStudy) -> None:
    study = load_study(make_study(trials=1, running=0, absent=("Fray",)))
    drawn = classes.class_curves_figure(study).figure.data
    assert [trace.name for trace in drawn] == ["Blowhole", "Break", "Crack", "Uneven"]
