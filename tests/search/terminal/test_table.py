from __future__ import annotations

import pytest
from rich.cells import cell_len

from search.terminal.table import TableContent, TrialRow, clip, draw, flow

PARAMS = {"model.num_layers": 4, "train.learning_rate": 0.00123}
DICE = {"background": 0.9, "Blowhole": 0.5, "Break": None, "Crack": 0.25}


def row(number: int, **changes: object) -> TrialRow:
    fields = {"epoch": 3, "value": 0.4, "dice": DICE, "epochs": 40, **changes}
    return TrialRow(number, PARAMS, None, **fields)  # type: ignore[arg-type]


def drawn(*running: TrialRow, width: int = 120, height: int | None = None) -> list[str]:
    return str(draw(TableContent([["head"]], running, ()), width, height)).splitlines()


def test_a_row_shows_its_epoch_value_dice_and_parameters() -> None:
    head, titles, line = drawn(
        row(7, images_per_second=1234.5, waits=0.06, silent=95.0, place="node7:41")
    )

    assert head == "head"
    known = "Trial State Epoch Value img/s Wait Seen On Blowhole Break Crack Parameters"
    assert titles.split() == known.split()
    assert line.split()[:6] == ["7", "RUNNING", "3/40", "0.4000", "1,234", "6%"]
    assert line.endswith("0.50      –   0.25  num_layers 4, learning_rate 0.00123")


def test_narrower_terminals_lose_the_parameters_then_the_classes_then_the_rest() -> None:
    titles = {width: drawn(row(7, place="node7:41"), width=width)[1] for width in (90, 70, 50, 30)}

    assert "Parameters" in titles[90]
    assert "Parameters" not in titles[70]
    assert "Blowhole" in titles[70]
    assert "Blow" not in titles[50]
    assert "On" in titles[50]
    assert titles[30].split() == ["Trial", "State", "Epoch", "Value"]


def test_what_does_not_fit_in_the_height_is_told_in_a_line() -> None:
    rows = [row(n, epoch=n, value=n / 100, silent=float(n)) for n in range(50)]
    lines = drawn(*rows, height=20)

    assert len(lines) <= 20
    assert lines[-1].startswith("… and 34 more running, epochs 16–49, best 0.4900 (trial 49)")
    assert lines[-1].endswith("longest silent 49 s (trial 49)")


def test_wide_characters_count_as_wide() -> None:
    lines = drawn(row(1, dice={"background": 1.0, "裂纹": 0.5}), width=60)

    assert all(cell_len(line) <= 60 for line in lines)
    assert cell_len(lines[1][: lines[1].index("裂纹") + 2]) == lines[2].index("0.50") + 4


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("short", 9, "short"), ("rather long", 7, "rather…"), ("two\nlines", 20, "two lines")],
)
def test_a_clipped_text_is_one_line(text: str, width: int, expected: str) -> None:
    assert clip(text, width) == expected


def test_a_header_breaks_between_its_parts() -> None:
    assert flow(["one part", "another", "third"], 18) == ["one part · another", "  third"]
