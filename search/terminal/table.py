"""Trials as lines of a terminal: as many as fit its height, as much of each as fits its width.

Laid out by hand and not by rich's tables, which wrap what is too long, and measure every cell of
every row again at each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from results.records.epochs import Epoch
from results.records.pace import TrainingNode

STATE_STYLES = {"RUNNING": "cyan", "COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red"}
FINISHED_ROWS = 12
GAP = 2
# A class' column shows "0.48"; its name is cut to as little as that.
DICE_WIDTH = 4
NAME_WIDTH = 16
PARAMS_WIDTH = 16
# Beside many running trials the finished ones keep so many rows.
FEWEST_FINISHED = 3


@dataclass
class TrialRow:
    """What is known of one trial.

    Attributes:
        epoch: Epochs trained; ``epochs`` those asked for.
        value: The objective at its best epoch, where its Dice per class are from, too.
        waits: Share of its training that it waited for images.
        silent: Seconds since its worker's last sign of life.
        place: Where it is trained.
        started: When it began here, by time.monotonic().
        node: Where it is trained; None before its first epoch.
        label: What it is called; None: by its number and baseline.
    """

    number: int
    params: Mapping[str, Any]
    baseline: str | None
    state: str = "RUNNING"
    epoch: int = 0
    value: float | None = None
    dice: Mapping[str, float | None] = field(default_factory=dict)
    reason: str | None = None
    epochs: int | None = None
    images_per_second: float | None = None
    waits: float | None = None
    silent: float | None = None
    place: str | None = None
    started: float | None = None
    node: TrainingNode | None = None
    label: str | None = None

    epochs_of_fold: list[Epoch] = field(default_factory=list)

    def show_if_best(self, epoch: Epoch) -> None:
        """Show the scores of an epoch that is the best so far; over folds, of those finished."""
        if self.epochs_of_fold and self.epochs_of_fold[-1].fold != epoch.fold:
            self.epochs_of_fold.clear()
        self.epochs_of_fold.append(epoch)
        scored = [each for each in self.epochs_of_fold if each.objective is not None]
        if scored and (epoch.fold in (None, 0) or epoch.fold_done):
            best = max(scored, key=lambda each: (each.objective or 0.0, -each.epoch))
            self.value, self.dice = best.objective, best.dice
            self.epochs_of_fold = [best] if epoch.fold is None else self.epochs_of_fold


@dataclass(frozen=True)
class TableContent:
    """What is to be drawn.

    Attributes:
        header: Lines above the table, each a list of parts; broken between parts alone.
        running: All running trials.
        finished: The best of the finished ones, in order.
        hidden: How many more are COMPLETE or PRUNED.
        notes: The latest warnings and failures, the newest last.
        best: Number of the trial to emphasise.
    """

    header: Sequence[Sequence[str]]
    running: Sequence[TrialRow]
    finished: Sequence[TrialRow]
    hidden: int = 0
    notes: Sequence[str] = ()
    best: int | None = None


def draw(picture: TableContent, width: int, height: int | None = None) -> Text:
    """Return the picture as text whose lines are at most ``width`` cells wide.

    Args:
        picture: What to draw.
        width: Cells in a line.
        height: Lines at most; None: as many as there are.
    """
    header = [line for parts in picture.header for line in flow(parts, width)]
    notes = [Text(clip(note, width), style="red") for note in picture.notes]
    free = None if height is None else max(3, height - len(header) - len(notes) - 1)
    running, finished = _share(len(picture.running), len(picture.finished), picture.hidden, free)
    rows = [*picture.running[:running], *picture.finished[:finished]]
    lines = [Text(line) for line in header]
    if rows:
        columns = _fitting(rows, width)
        titles = _joined([column.heading for column in columns], columns)
        lines.append(Text(_cut(titles, width), style="bold"))
        drawn = [_line(row, columns, width, row.number == picture.best) for row in rows]
        lines += drawn[:running]
        lines += _summary(picture.running[running:], width)
        lines += drawn[running:]
    hidden = picture.hidden + len(picture.finished) - finished
    if hidden:
        lines.append(Text(clip(f"… and {hidden} more finished trials", width), style="dim"))
    return Text("\n", no_wrap=True, overflow="crop").join([*lines, *notes][:height])


def _share(running: int, finished: int, hidden: int, free: int | None) -> tuple[int, int]:
    """Return how many rows running and finished trials get of those that are free."""
    if free is None or running + finished + bool(hidden) <= free:
        return running, finished
    # A line each may be needed to say how many are not shown.
    few = min(finished, max(FEWEST_FINISHED, free - running - 2))
    kept = running if running + few + 1 <= free else max(0, free - few - 2)
    return kept, few


def _summary(rows: Sequence[TrialRow], width: int) -> list[Text]:
    """Say in a line what the running trials do that are not shown."""
    if not rows:
        return []
    epochs = [row.epoch for row in rows]
    parts = [f"… and {len(rows)} more running", f"epochs {min(epochs)}–{max(epochs)}"]
    scored = [(row.value, -row.number) for row in rows if row.value is not None]
    if scored:
        parts.append(f"best {max(scored)[0]:.4f} (trial {-max(scored)[1]})")
    silent = [(row.silent, row.number) for row in rows if row.silent is not None]
    if silent:
        parts.append(f"longest silent {duration(max(silent)[0])} (trial {max(silent)[1]})")
    return [Text(clip(", ".join(parts), width), style="dim")]


@dataclass(frozen=True)
class _Column:
    heading: str
    width: int
    cell: Callable[[TrialRow], str]
    right: bool = False
    style: Callable[[TrialRow], str] = lambda row: ""


def _fitting(rows: Sequence[TrialRow], width: int) -> list[_Column]:
    """Return the columns for a width: parameters go first where it is narrow, then Dice."""
    columns = [
        _column("Trial", _name, rows),
        _column(
            "State", lambda row: row.state, rows, style=lambda r: STATE_STYLES.get(r.state, "")
        ),
        _column("Epoch", _epoch, rows, right=True),
        _column("Value", _value, rows, right=True),
        *_measured(rows),
    ]
    while sum(c.width + GAP for c in columns) - GAP > width and len(columns) > 4:
        columns.pop()
    left = width - sum(c.width + GAP for c in columns)
    dice = _dice_columns(rows, left)
    left -= sum(c.width + GAP for c in dice)
    columns += dice
    if left >= PARAMS_WIDTH and any(row.params for row in rows):
        columns.append(_Column("Parameters", left, lambda row: describe_params(row.params)))
    return columns


def _measured(rows: Sequence[TrialRow]) -> list[_Column]:
    """Return the columns of what workers are measured by, where anything is known."""
    cells: dict[str, Callable[[TrialRow], str]] = {
        "img/s": lambda r: "" if r.images_per_second is None else f"{r.images_per_second:,.0f}",
        "Wait": lambda row: "" if row.waits is None else f"{row.waits:.0%}",
        "Seen": lambda row: "" if row.silent is None else duration(row.silent),
        "On": lambda row: row.place or "",
    }
    return [
        _column(heading, cell, rows, right=heading != "On")
        for heading, cell in cells.items()
        if any(map(cell, rows))
    ]


def _dice_columns(rows: Sequence[TrialRow], left: int) -> list[_Column]:
    """Return a column a class, with names as whole as fits; none where not even digits fit."""
    names = list(next((row.dice for row in rows if row.dice), {}))[1:]
    longest = max(map(cell_len, names), default=0)
    for most in range(max(longest, DICE_WIDTH), DICE_WIDTH - 1, -1):
        columns = [_dice_column(name, most) for name in names]
        if sum(column.width + GAP for column in columns) <= left:
            return columns
    return []


def _dice_column(name: str, most: int) -> _Column:
    width = max(DICE_WIDTH, min(cell_len(name), most))
    return _Column(_cut(name, most), width, _dice_of(name), right=True)


def _dice_of(name: str) -> Callable[[TrialRow], str]:
    return lambda row: score(row.dice[name]) if name in row.dice else ""


def _column(
    heading: str,
    cell: Callable[[TrialRow], str],
    rows: Iterable[TrialRow],
    right: bool = False,
    style: Callable[[TrialRow], str] = lambda row: "",
) -> _Column:
    width = max(cell_len(heading), *(cell_len(cell(row)) for row in rows))
    return _Column(heading, width, cell, right, style)


def _name(row: TrialRow) -> str:
    if row.label is not None:
        return row.label
    return clip(f"{row.number}{f' {row.baseline}' if row.baseline else ''}", NAME_WIDTH)


def _epoch(row: TrialRow) -> str:
    return str(row.epoch) if row.epochs is None else f"{row.epoch}/{row.epochs}"


def _value(row: TrialRow) -> str:
    return "" if row.value is None else f"{row.value:.4f}"


def _line(row: TrialRow, columns: Sequence[_Column], width: int, emphasised: bool) -> Text:
    text = Text(style="bold" if emphasised else "")
    for index, column in enumerate(columns):
        text.append(" " * GAP if index else "")
        text.append(_fitted(column.cell(row), column), style=column.style(row))
    text.truncate(width)
    text.rstrip()
    return text


def _joined(cells: Sequence[str], columns: Sequence[_Column]) -> str:
    pairs = zip(cells, columns, strict=True)
    return (" " * GAP).join(_fitted(cell, column) for cell, column in pairs).rstrip()


def _fitted(cell: str, column: _Column) -> str:
    cell = clip(cell, column.width)
    space = " " * (column.width - cell_len(cell))
    return space + cell if column.right else cell + space


def clip(text: str, width: int) -> str:
    """Return text in one line of at most ``width`` cells, '…' where it was cut."""
    text = " ".join(text.split())
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _cut(text: str, width: int) -> str:
    """Return text cut to a width without a sign of it: '…' would take a quarter of a column."""
    return text if cell_len(text) <= width else set_cell_size(text, width)


def flow(parts: Sequence[str], width: int) -> list[str]:
    """Join parts with ' · ' into lines of at most ``width`` cells; further lines are indented."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + 3 + cell_len(part) <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(clip(part, width) if not lines else "  " + clip(part, width - 2))
    return lines


def duration(seconds: float) -> str:
    """Return seconds as '45 s', '12 min' or '3 h 05 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe_params(params: Mapping[str, Any]) -> str:
    """Return the searched values, each by its field's own name."""
    return ", ".join(param_parts(params))


def param_parts(params: Mapping[str, Any]) -> list[str]:
    """Return each searched value with its field's own name."""
    return [
        f"{name.rpartition('.')[2]} {value:.3g}"
        if isinstance(value, float)
        else f"{name.rpartition('.')[2]} {value}"
        for name, value in params.items()
    ]


def describe_dice(dice: Mapping[str, float | None]) -> str:
    """Return Dice per class, the background left out; '–' where undefined."""
    return ", ".join(dice_parts(dice))


def dice_parts(dice: Mapping[str, float | None]) -> list[str]:
    """Return each class with its Dice, the background left out."""
    return [f"{name} {score(value)}" for name, value in list(dice.items())[1:]]


def describe_input(summary: Mapping[str, Any]) -> list[str]:
    """Return the parts of a line about the training images; none before an epoch.

    Args:
        summary: As ``search.study.throughput.Throughput.summary`` returns it and pipeline.json has
            it.
    """
    numbers = {n: v for n, v in summary.items() if isinstance(v, int | float)}
    if not numbers.get("images") or not numbers.get("train_seconds"):
        return []
    waited = numbers.get("input_seconds", 0) / numbers["train_seconds"]
    parts = []
    if numbers.get("images_per_second"):  # while trials run
        parts.append(f"trials read {numbers['images_per_second']:,.0f} images/s")
        if "hit_rate" in numbers:
            parts[0] += f", {numbers.get('made_per_second', 0):,.0f} made"
    if "hit_rate" in numbers:
        parts.append(f"{numbers['hit_rate']:.0%} from the shared cache")
    return [*parts, f"{waited:.0%} of training waits for images"]


def titled(title: str, parts: Sequence[str]) -> list[str]:
    """Return the parts of a header's line with its title before the first."""
    return [f"{title}: {parts[0]}", *parts[1:]] if parts else []


def score(value: float | None) -> str:
    """Return a Dice with two digits; '–' where undefined."""
    return "–" if value is None or value != value else f"{value:.2f}"
