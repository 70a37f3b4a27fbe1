from __future__ import annotations

import io

import pytest
from rich.console import Console

from results.analysis.confirmation import Run
from results.records.epochs import Epoch
from search.terminal.confirmation import confirmation_display
from tests.epochs import epoch_of

ONE, TWO = Run(3, 0), Run(7, 0)


def record(epoch: int, objective: float | None) -> Epoch:
    dice = {"background": 1.0, "hole": objective}
    return epoch_of(epoch, objective=objective, dice=dice)


def console_of(terminal: bool, **options: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, color_system=None, **options), out  # type: ignore[arg-type]


def test_plain_lines_tell_starts_ends_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("search.terminal.confirmation.time.monotonic", lambda: now[0])
    console, out = console_of(terminal=False, width=100)
    with confirmation_display(console) as observer:
        observer.opened({ONE: 4, TWO: 4, Run(3, 1): 4}, [Run(3, 1)])
        observer.started(ONE)
        for epoch, value in enumerate((0.1, 0.5, 0.3, None), start=1):
            now[0] += 10
            observer.epoch_ended(ONE, record(epoch, value))
        observer.ended(ONE, None)
        observer.ended(TWO, "NonFiniteLoss: nan")
        observer.warn("careful")
    assert out.getvalue().splitlines() == [
        "3 trainings, 1 ended before",
        "trial-00003-seed-0 started",
        "trial-00003-seed-0 epoch 2/4: best 0.50",
        "trial-00003-seed-0 epoch 4/4: best 0.50",
        "trial-00003-seed-0 best 0.50 on validation, scored",
        "  2/3 trainings ended · 40 s elapsed · about 40 s left",
        "trial-00007-seed-0 failed: NonFiniteLoss: nan",
        "  3/3 trainings ended · 40 s elapsed · about 0 s left · 1 failed",
        "careful",
    ]


def test_the_live_table_fits_the_terminal() -> None:
    console, out = console_of(terminal=True, width=80, height=8)
    runs = [Run(3, seed) for seed in range(20)]
    with confirmation_display(console) as observer:
        observer.opened(dict.fromkeys(runs, 4), [])
        for run in runs:
            observer.started(run)
        observer.epoch_ended(runs[1], record(1, 0.25))
        observer.warn("careful")
        observer._display.live.refresh()  # type: ignore[union-attr]
    text = out.getvalue()
    assert "0/20 trainings ended" in text
    assert "trial-00003-seed-1" in text
    assert "1/4" in text
    assert "0.2500" in text
    assert "hole" in text
    assert "trial-00003-seed-9" not in text
    assert "careful" in text
