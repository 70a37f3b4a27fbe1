"""The pages as a reader has them: in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from results.pages.comparison import write_comparison
from results.pages.report import write_report
from results.style import palette
from tests.results.browser import CHROMIUM, Watched, chromium, opened
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
    odd = {
        "trials": 14,
        "classes": HOSTILE_CLASSES,
        "name": "<script>alert(3)</script>",
        "stem": "<script>alert(4)</script>",  # of its files
    }
    hostile = make_study(**odd)
    write_evaluations(hostile, Simulation(**odd))  # type: ignore[arg-type]
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


def test_the_colours_follow_the_reader_and_the_paper(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
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

        watched.run(PRINTED)
        watched.page.pdf(path=str(tmp_path / "report.pdf"), format="A4", print_background=True)
        seen = watched.run("window.seen")
        assert seen
        assert {tuple(each) for each in seen} == {(655, palette.LIGHT["paper"])}
        assert watched.run(paper) == palette.DARK["paper"]  # and back
        assert watched.errors == []


PRINTED = """() => { window.seen = []; window.addEventListener('beforeprint', () => {
  window.seen = [...document.querySelectorAll('.chart')].map(chart => [
    chart.layout ? chart.layout.width : 0, chart.layout ? chart.layout.paper_bgcolor : '']); }) }"""


# One page for all that a reader does with it: drawing it anew for each takes seconds.


@pytest.fixture(scope="module")
def whole(browser: Browser, pages: dict[str, Path]) -> Iterator[Watched]:
    with opened(browser, pages["whole"]) as watched:
        yield watched
        assert watched.errors == []
        assert watched.requests == []


def test_every_figure_says_what_it_shows(whole: Watched) -> None:
    silent = whole.run(
        """[...document.querySelectorAll('.chart')].filter(chart => {
             const before = chart.closest('.scroller').previousElementSibling;
             return !(before && before.matches('.says') && before.textContent.trim());
           }).map(chart => chart.id)"""
    )
    assert silent == []


def test_a_mark_tells_its_trial(whole: Watched) -> None:
    mark = whole.page.locator("#history .scatterlayer .trace .points path").first
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box is not None
    whole.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = whole.page.locator("#history .hovertext")
    label.first.wait_for(timeout=5_000)
    assert "trial" in (label.first.text_content() or "")


def test_every_switch_shows_its_part_alone(whole: Watched) -> None:
    groups = whole.page.locator("[data-switch]")
    assert groups.count() >= 5
    for group in groups.all():
        card = group.locator("xpath=ancestor::*[contains(@class, 'card')][1]")
        buttons = group.locator("button").all()
        for button in [*buttons, buttons[0]]:  # and back
            button.press("Enter")  # by keyboard
            wanted = button.get_attribute("data-show")
            assert button.get_attribute("aria-pressed") == "true"
            assert card.locator("[data-shown]").evaluate_all(SHOWN) in ([wanted], [])


def test_a_figure_that_was_hidden_fills_its_card_once_shown(whole: Watched) -> None:
    group = whole.page.locator("[data-switch]", has=whole.page.locator("[data-show=epochs]"))
    group.first.locator("[data-show=epochs]").click()
    whole.page.wait_for_function(  # Plotly follows in its own time
        """() => {
          const figure = document.querySelector('#history-epochs');
          const drawn = figure.querySelector('.main-svg').getBoundingClientRect().width;
          return Math.abs(drawn - figure.getBoundingClientRect().width) < 2 }""",
        timeout=10_000,
    )
    group.first.locator("[data-show=trials]").click()


def test_lines_are_brushed_by_a_class(whole: Watched) -> None:
    brush = whole.page.locator("#brush")
    said = brush.locator(".kept")
    everything = said.text_content()
    brush.locator("select.target").select_option(label="Uneven")
    brush.locator("input.least").fill("0.3")
    brush.locator("input.least").press("Tab")
    whole.page.wait_for_function(
        "before => document.querySelector('#brush .kept').textContent !== before", arg=everything
    )
    kept, total = re.findall(r"\d+", said.text_content() or "")[:2]
    assert 0 < int(kept) < int(total)
    brush.locator(".clear").click()
    assert said.text_content() == everything


def test_dragging_along_an_axis_keeps_a_part(whole: Watched) -> None:
    said = whole.page.locator("#brush .kept")
    before = said.text_content()
    axis = whole.page.locator("#parallel .axis-brush").first
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2
    whole.page.mouse.move(middle, box["y"] + 0.05 * box["height"])
    whole.page.mouse.down()
    whole.page.mouse.move(middle, box["y"] + 0.45 * box["height"], steps=8)
    whole.page.mouse.up()
    whole.page.wait_for_function(
        "before => document.querySelector('#brush .kept').textContent !== before", arg=before
    )
    assert "are kept" in (said.text_content() or "")
    whole.page.locator("#brush .clear").click()


def test_slices_show_the_class_that_is_chosen(whole: Watched) -> None:
    whole.page.locator("#slices select.target").select_option(label="Crack")
    titles = whole.run(
        """[...document.querySelectorAll('#slices .chart')].map(
          chart => chart.layout.yaxis.title.text)"""
    )
    assert titles
    assert set(titles) == {"Dice of Crack"}


def test_trials_are_sorted_by_the_class_that_is_chosen(whole: Watched) -> None:
    read = """() => {
      const heads = [...document.querySelectorAll('.matrix thead th')];
      const column = heads.findIndex(h => h.textContent.trim() === 'Crack');
      return [...document.querySelectorAll('.matrix tbody tr')]
        .map(row => row.cells[column].dataset.v).filter(v => v !== '').map(Number);
    }"""
    whole.page.locator(".matrix thead button", has_text="Crack").click()
    down = whole.run(read)
    assert down == sorted(down, reverse=True)
    whole.page.locator(".matrix thead button", has_text="Crack").click()
    assert whole.run(read) == sorted(down)


def test_pictures_are_there(whole: Watched) -> None:
    widths = whole.run("[...document.querySelectorAll('#pictures img')].map(i => i.naturalWidth)")
    assert len(widths) >= 30
    assert min(widths) > 0


def test_a_command_is_copied(whole: Watched) -> None:
    button = whole.page.locator("[data-copy]").first
    before = button.text_content()
    source = whole.page.locator(f"#{button.get_attribute('data-copy')}").text_content()
    button.click()
    whole.page.wait_for_function(
        "before => document.querySelector('[data-copy]').textContent !== before", arg=before
    )
    assert whole.run("navigator.clipboard.readText()") == source


def test_the_keyboard_reaches_everything(whole: Watched) -> None:
    whole.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    unreachable = whole.run(
        """[...document.querySelectorAll('main button, main select, main input, main summary')]
           .filter(e => e.tabIndex < 0 && !e.closest('.js-plotly-plot'))
           .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert unreachable == []
    nameless = whole.run(
        """[...document.querySelectorAll('.scroller, [role=img], img, select, input')]
           .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('alt')
                          || (e.labels && e.labels.length)))
           .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert whole.run("document.querySelector('a.skip').hash") == "#content"
