from __future__ import annotations

from pathlib import Path

import pytest

from results.pages.comparison import write_comparison
from results.records.study import RecordError
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.pages.test_report import Page
from tests.results.simulated_confirmation import write_confirmation
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation


def test_scored_and_confirmed_studies_stand_side_by_side(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    paths = []
    for name in ("one", "two"):
        simulation = Simulation(trials=12, name=name)
        paths.append(make_study(trials=12, name=name))
        write_evaluations(paths[-1], simulation)
    write_confirmation(paths[0], simulation, seeds=2, top=1)
    page = Page(write_comparison(paths, tmp_path / "new" / "comparison.html"))

    assert "one · two" in page.texts
    assert "The data are the same: files, preparation and split." in page.text
    assert "two against one: +0.000" in page.text
    assert "not distinguishable" in page.text
    assert "Scored on" in page.texts
    assert not any(a.get("role") == "alert" for _, a in page.tags)
    charts = [a["id"] for t, a in page.tags if t == "div" and "data-figure" in a]
    assert charts == [
        "incumbents-chart",
        "differences-chart",
        "history-trials",
        "history-epochs",
        "history-time",
    ]


def test_other_classes_and_studies_without_a_trial_still_make_a_page(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    hostile = make_study(
        trials=4, classes=HOSTILE_CLASSES, name="</title><script>alert(1)</script>"
    )
    page = Page(write_comparison([make_study(trials=0), hostile], tmp_path / "comparison.html"))

    assert any(a.get("role") == "alert" for _, a in page.tags)
    assert "has other classes than magnetic-tile" in page.text
    assert "has the highest" not in page.text
    assert "no value yet" in page.text
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds.count(None) == 2  # plotly.js and the page's own


def test_what_is_no_study_is_told_of_each(make_study: MakeStudy, tmp_path: Path) -> None:
    good = make_study(trials=2)
    (tmp_path / "a").mkdir()
    with pytest.raises(RecordError) as caught:
        write_comparison([tmp_path / "a", good, tmp_path / "b"], tmp_path / "c.html")
    assert str(tmp_path / "a") in str(caught.value)
    assert str(tmp_path / "b") in str(caught.value)

    with pytest.raises(RecordError, match="each study once"):
        write_comparison([good, good], tmp_path / "c.html")
    with pytest.raises(ValueError, match="expected two studies or more"):
        write_comparison([good], tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()


def test_what_cannot_be_read_of_a_study_is_told_and_the_rest_stands(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    paths = [make_study(trials=4, running=0, name=name) for name in ("one", "two")]
    (paths[1] / "confirm").mkdir()
    (paths[1] / "confirm" / "confirm.json").write_text("{}")
    (paths[0] / "evaluation").mkdir()
    (paths[0] / "evaluation" / "valid-trial-00000.npz").write_bytes(b"torn")
    page = Page(write_comparison(paths, tmp_path / "comparison.html"))

    assert "one: " in page.text
    assert "valid-trial-00000.npz: expected the counts of a model" in page.text
    assert "two: confirm/confirm.json: top" in page.text
    with pytest.raises(RecordError, match="each study once"):
        write_comparison([paths[0], paths[0] / ".." / paths[0].name], tmp_path / "c.html")


def test_a_class_may_be_called_like_the_mean(make_study: MakeStudy, tmp_path: Path) -> None:
    paths = [
        make_study(trials=3, running=0, classes=("ground", "mean foreground", "b"), name=name)
        for name in ("one", "two")
    ]
    page = Page(write_comparison(paths, tmp_path / "comparison.html"))
    assert page.texts.count("mean foreground") >= 2
