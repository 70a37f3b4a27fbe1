"""The pages as a reader has them: in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from results import palette
from results.comparing import write_comparison
from results.report import write_report
from tests.results.browser import CHROMIUM, chromium, opened
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.simulated_confirmation import write_confirmation
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the chromium command")

WIDTHS = (1920, 1280, 360)
# What is wider than its card must scroll inside it.
OUTSIDE = """[...document.querySelectorAll('main *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > window.innerWidth + 1
    && !e.closest('.scroller, .matrix-box, pre, svg');
}).map(e => e.outerHTML.slice(0, 120))"""
SHOWN = """parts => [...new Set(
  parts.filter(part => !part.hidden).map(part => part.dataset.shown))]"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(make_study: MakeStudy) -> dict[str, Path]:
    """Reports: a whole study, one of hostile names, one without a trial; and a comparison."""
    simulation = Simulation(trials=24, absent=("Fray",))
    whole = make_study(trials=24, absent=("Fray",))
    write_evaluations(whole, simulation)
    write_confirmation(whole, simulation, seeds=2, top=2)
    hostile_name = "<script>alert(3)</script>"
    hostile = make_study(trials=14, classes=HOSTILE_CLASSES, name=hostile_name)
    write_evaluations(hostile, Simulation(trials=14, classes=HOSTILE_CLASSES, name=hostile_name))
    empty = make_study(trials=0)
    return {
        "whole": write_report(whole),
        "hostile": write_report(hostile),
        "empty": write_report(empty),
        "comparison": write_comparison([whole, hostile], whole / "comparison.html"),
    }


@pytest.mark.parametrize("name", ["whole", "hostile", "empty", "comparison"])
def test_every_figure_is_drawn_and_nothing_overflows_or_is_fetched(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    with opened(browser, pages[name]) as watched:
        states = watched.run(
            "[...document.querySelectorAll('.chart')].map(c => "
            "[c.id, c.dataset.drawn, c.querySelectorAll('.main-svg').length > 0])"
        )
        assert [state for state in states if state[1:] != ["yes", True]] == []
        assert len(states) >= (0 if name == "empty" else 3)
        for width in WIDTHS:
            watched.page.set_viewport_size({"width": width, "height": 900})
            watched.page.wait_for_timeout(300)  # figures follow the window
            assert watched.overflow <= 0, width
            assert watched.run(OUTSIDE) == [], width
        assert watched.errors == []
        assert watched.requests == []
        assert watched.dialogs == []


def test_a_phone_gets_a_page_of_its_own_width(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["whole"], 360, touch=True) as watched:
        assert watched.overflow <= 0
        assert watched.run(OUTSIDE) == []
        # A finger that scrolls must not be caught by a figure.
        assert watched.run("document.querySelector('#history').layout.dragmode") is False


def test_the_colours_can_be_switched_and_follow_the_reader(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with opened(browser, pages["whole"], dark=True) as watched:
        ground = "getComputedStyle(document.body).backgroundColor"
        paper = "document.querySelector('#history').layout.paper_bgcolor"
        dark = watched.run(ground)
        assert watched.run(paper) == palette.DARK["paper"]
        watched.page.click("#theme")
        assert watched.run(paper) == palette.LIGHT["paper"]
        assert watched.run(ground) != dark
        watched.page.click("#theme")
        assert watched.run(ground) == dark
        assert watched.errors == []


def test_a_mark_tells_its_trial(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["whole"]) as watched:
        mark = watched.page.locator("#history .scatterlayer .trace .points path").first
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        assert box is not None
        watched.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        label = watched.page.locator("#history .hovertext")
        label.first.wait_for(timeout=5_000)
        assert "trial" in (label.first.text_content() or "")


def test_every_switch_shows_its_part_alone(browser: Browser, pages: dict[str, Path]) -> None:
    for name in ("whole", "comparison"):
        with opened(browser, pages[name]) as watched:
            groups = watched.page.locator("[data-switch]")
            assert groups.count() >= 1
            for group in groups.all():
                card = group.locator("xpath=ancestor::*[contains(@class, 'card')][1]")
                for button in group.locator("button").all():
                    button.press("Enter")  # by keyboard
                    wanted = button.get_attribute("data-show")
                    assert button.get_attribute("aria-pressed") == "true"
                    shown = card.locator("[data-shown]").evaluate_all(SHOWN)
                    assert shown in ([wanted], [])
            assert watched.errors == []


def test_trials_are_sorted_by_the_class_that_is_chosen(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with opened(browser, pages["whole"]) as watched:
        read = """() => {
          const heads = [...document.querySelectorAll('.matrix thead th')];
          const column = heads.findIndex(h => h.textContent.trim() === 'Crack');
          return [...document.querySelectorAll('.matrix tbody tr')]
            .map(row => row.cells[column].dataset.v).filter(v => v !== '').map(Number);
        }"""
        watched.page.locator(".matrix thead button", has_text="Crack").click()
        down = watched.run(read)
        assert down == sorted(down, reverse=True)
        watched.page.locator(".matrix thead button", has_text="Crack").click()
        assert watched.run(read) == sorted(down)


def test_the_keyboard_reaches_everything(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["whole"]) as watched:
        watched.page.keyboard.press("Tab")
        assert watched.run("document.activeElement.className") == "skip"
        unreachable = watched.run(
            """[...document.querySelectorAll('main button, main select, main input, main summary')]
               .filter(e => e.tabIndex < 0 && !e.closest('.js-plotly-plot'))
               .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert unreachable == []
        nameless = watched.run(
            """[...document.querySelectorAll('.scroller, [role=img], img, select, input')]
               .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('alt')
                              || (e.labels && e.labels.length)))
               .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert nameless == []


def test_it_prints_in_the_papers_colours_and_width(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    with opened(browser, pages["whole"], dark=True) as watched:
        watched.run("""() => { window.seen = []; window.addEventListener('beforeprint', () => {
          window.seen = [...document.querySelectorAll('.chart')].map(c => [
            c.layout ? c.layout.width : 0, c.layout ? c.layout.paper_bgcolor : '']); }) }""")
        watched.page.pdf(path=str(tmp_path / "report.pdf"), format="A4", print_background=True)
        seen = watched.run("window.seen")
        assert seen
        assert {tuple(each) for each in seen} == {(655, palette.LIGHT["paper"])}
        paper = "document.querySelector('#history').layout.paper_bgcolor"
        assert watched.run(paper) == palette.DARK["paper"]  # and back
