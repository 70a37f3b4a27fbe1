from __future__ import annotations

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from results.analysis.pareto import pareto_table
from results.pages.report import render_report, report_tables, write_report
from results.records.study import RecordError, load_study
from results.sections import SECTIONS, Material
from tests.results.analysis.test_pareto import several
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation, class_names


class Page(HTMLParser):
    """The tags and texts of a report, plotly.js left out."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(self.html.replace(get_plotlyjs(), "plotly"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style" and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def rows(self, table: str) -> list[str]:
        body = re.search(f'<table class="{table}">.*?<tbody>(.*?)</tbody>', self.html, re.S)
        assert body is not None
        rows = [re.sub(r"<[^>]+>", " ", row) for row in body[1].split("</tr>")]
        return [" ".join(row.split()) for row in rows if row.strip()]


@pytest.fixture(scope="module")
def page(study_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    copy = shutil.copytree(study_dir, tmp_path_factory.mktemp("report") / "study")
    return Page(write_report(copy))


def test_the_headline_is_the_best_trial_against_the_baseline(page: Page, study_dir: Path) -> None:
    best = load_study(study_dir).incumbent
    assert best is not None
    assert best.value is not None
    assert f"{best.value:.3f}" in page.texts
    assert "0.000 baseline “reference”, trial 0" in page.text
    assert f"Best configuration: trial {best.number}" in page.text


def test_the_best_score_of_many_is_called_optimistic(page: Page) -> None:
    assert "An optimistic number." in page.text
    assert "untouched test split" in page.text


def test_dice_per_class_with_undefined_shown_as_such(page: Page, study_dir: Path) -> None:
    assert [row.split()[0] for row in page.rows("duel unmeasured")] == [
        *("Blowhole", "Break", "Crack", "Fray", "Uneven", "background")
    ]
    assert page.rows("duel unmeasured")[3].endswith(
        "– –"
    )  # Fray: undefined for the collapsed baseline


def test_every_trial_has_a_row_the_best_first(page: Page, study_dir: Path) -> None:
    rows = page.rows("matrix")
    best = load_study(study_dir).incumbent
    assert best is not None
    assert len(rows) == 24
    assert rows[0].startswith(f"{best.number} best COMPLETE")
    assert sum("baseline" in row for row in rows) == 1


def test_states_and_failures_are_listed(page: Page) -> None:
    for state in ("COMPLETE", "PRUNED", "RUNNING", "FAIL"):
        assert state in page.text
    assert "ResourceExhaustedError: out of memory" in page.text


def test_every_chart_has_its_data(page: Page) -> None:
    charts = [a["data-figure"] for t, a in page.tags if t == "div" and "data-figure" in a]
    data = [a["id"] for t, a in page.tags if t == "script" and str(a.get("id")).endswith("-data")]
    assert charts == data
    assert len(charts) >= 6
    assert len(set(charts)) == len(charts)


def test_the_page_fetches_nothing(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form")
        assert "src" not in attributes
        assert attributes.get("href", "#")[0] == "#"  # type: ignore[index]
    own = page.html.replace(get_plotlyjs(), "")
    assert "http:" not in own
    assert "https:" not in own
    assert "url(" not in own
    assert page.html.count(get_plotlyjs()) == 1


def test_the_policy_allows_exactly_the_pages_own_scripts(page: Page) -> None:
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    scripts = re.findall(r"<script>(.*?)</script>", page.html, re.S)
    hashes = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert hashes == allowed


def test_plotly_uploads_nothing(page: Page) -> None:
    # Since plotly.js 4 the button that uploads a chart is on by default.
    assert any("showSendToCloud: false" in script for script in page.scripts)


def test_hostile_names_are_text(make_study: MakeStudy) -> None:
    path = make_study(trials=4, running=0, classes=HOSTILE_CLASSES, name="<b>x</b></title>")
    hostile = Page(write_report(path))
    assert {tag for tag, _ in hostile.tags} & {"img", "b"} <= {"b"}
    assert not any(name.startswith("on") for _, attributes in hostile.tags for name in attributes)
    data = [a for t, a in hostile.tags if t == "script"]
    assert [a.get("type") for a in data[-2:]] == [None, None]
    assert sum(a.get("type") is None for a in data) == 2
    assert HOSTILE_CLASSES[1] in hostile.texts
    assert "{{ 7*7 }}" in hostile.text
    assert "<b>x</b></title>" in hostile.texts


def test_a_leak_is_told_first(make_study: MakeStudy) -> None:
    leaking = Page(write_report(make_study(trials=3, leak=True)))
    alarm = leaking.text.index("do not trust the scores of this study")
    assert alarm < leaking.text.index("Best mean foreground Dice")
    assert "3 groups have images in train and in valid" in leaking.text


def test_no_leak_is_no_alarm(page: Page) -> None:
    assert "do not trust" not in page.text


@pytest.mark.parametrize(
    ("options", "statement"),
    [
        ({"trials": 0}, "No trial has begun."),
        ({"trials": 2, "running": 2}, "No trial is complete yet; the study is still running."),
        ({"trials": 1, "running": 0}, "No searched trial beats the baseline “reference”"),
        (
            {"trials": 3, "running": 0, "states": dict.fromkeys(range(3), "FAIL")},
            "All 3 trials failed",
        ),
        (
            {"trials": 2, "running": 0, "states": dict.fromkeys(range(2), "PRUNED")},
            "No trial is complete with a value.",
        ),
    ],
)
def test_studies_without_a_result_say_why(
    make_study: MakeStudy, options: dict[str, object], statement: str
) -> None:
    assert statement in Page(write_report(make_study(**options))).text


def test_a_study_without_data_or_baseline_is_reported(make_study: MakeStudy) -> None:
    path = make_study(trials=4, running=0)
    (path / "data.json").unlink()
    shutil.rmtree(path / "trials" / "00000")
    text = Page(write_report(path)).text
    assert "holds no description of its data" in text
    assert "Nothing to compare yet." in text


def test_all_classes_undefined_is_reported(make_study: MakeStudy) -> None:
    path = make_study(trials=3, running=0, classes=("background", "a"), absent=("a",))
    assert "Dice per class" in Page(write_report(path)).text


def test_large_studies_show_their_best_rows(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.sections.classes.MOST_ROWS", 5)
    report = Page(write_report(make_study(trials=24)))
    assert len(report.rows("matrix")) == 6  # and the baseline
    assert "The best 6 of 24 trials" in report.text


def test_the_report_replaces_an_earlier_one_whole(make_study: MakeStudy) -> None:
    path = make_study(trials=2, running=0)
    (path / "report.html").write_text("old", encoding="utf-8")
    assert write_report(path) == path / "report.html"
    assert "FlexUNet search" in (path / "report.html").read_text(encoding="utf-8")
    assert not [file for file in path.iterdir() if file.name.startswith(".")]


def test_another_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        write_report(tmp_path)


def test_several_objectives_have_their_front_drawn_and_listed(make_study: MakeStudy) -> None:
    path = several(make_study(), "parameters", "gflops")
    (path / "refused.jsonl").write_text('{"limits": ["max_parameters"]}\n')
    report = Page(write_report(path))
    charts = [a["data-figure"] for t, a in report.tags if t == "div" and "data-figure" in a]
    front = pareto_table(load_study(path))

    assert {"pareto-parameters-data", "pareto-gflops-data"} <= set(charts)
    rows = report.rows("plain pareto")
    assert len(rows) == front["front"].sum()
    assert rows[0].startswith(str(front["number"][0]))
    assert "1 proposal refused: 1 by max_parameters" in report.text


def test_one_objective_has_no_front(page: Page) -> None:
    assert "Pareto" not in page.text


KINDS: dict[str, dict[str, object]] = {
    "not begun": {"trials": 0},
    "one trial": {"trials": 1, "running": 0},
    "running": {"trials": 2, "running": 2},
    "failures alone": {"trials": 3, "running": 0, "states": dict.fromkeys(range(3), "FAIL")},
    "two classes": {"trials": 14, "classes": class_names(2)},
    "thirty classes": {"trials": 14, "classes": class_names(30)},
    "a class undefined": {"trials": 14, "absent": ("Crack",)},
    "first schema": {"trials": 14, "schema": "first"},
    "workers lost": {"trials": 14, "lost_every": 3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_makes_every_section(make_study: MakeStudy, kind: str) -> None:
    path = make_study(**KINDS[kind])
    study = load_study(path)
    if study.incumbent is not None:
        write_evaluations(path, Simulation(**KINDS[kind]))  # type: ignore[arg-type]
    report = Page(write_report(path))

    assert "cannot be made" not in report.text
    names = re.findall(r'<section id="(\w+)">', report.html)
    assert names == [section.name for section in SECTIONS]
    assert report_tables(Material(study, "2026-01-01T00:00:00+00:00"))


def test_a_section_that_cannot_be_made_says_why_and_the_rest_stands(
    study_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(material: Material) -> dict[str, object]:
        raise KeyError("<pixels>")

    sections = [replace(s, build=broken) if s.name == "data" else s for s in SECTIONS]
    monkeypatch.setattr("results.pages.report.SECTIONS", sections)
    html = render_report(load_study(study_dir))

    assert "This section cannot be made: KeyError: &#39;&lt;pixels&gt;&#39;" in html
    assert html.count("This section cannot be made") == 1
    assert 'id="provenance"' in html
    assert "section data cannot be made" in caplog.text
