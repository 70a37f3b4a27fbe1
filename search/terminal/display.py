"""What a person sees of a run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from search.terminal.table import TableContent, draw

LINE_EVERY_SECONDS = 20.0


@dataclass(frozen=True)
class LiveContent:
    """What a table shows at the moment, as large as the terminal is then.

    Attributes:
        content: Returns it.
    """

    content: Callable[[], TableContent]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A line is left for the cursor.
        yield draw(self.content(), options.max_width, console.height - 1)


class Display:
    """Shows a table in a terminal and prints lines elsewhere; warnings are printed in both.

    The table is drawn by rich's own thread, some times a second: a draw at every epoch of 200
    trials would keep the driver from its work.

    Args:
        console: Where it is shown.
        content: Returns what the table is to show.
        table: Whether to show one; None: where the console is a terminal.
    """

    def __init__(
        self, console: Console, content: Callable[[], TableContent], table: bool | None = None
    ) -> None:
        self._console = console
        wanted = console.is_terminal if table is None else table
        self.live = (
            Live(LiveContent(content), console=console, refresh_per_second=2) if wanted else None
        )

    def begin(self) -> None:
        """Begin to draw: when the study is open; a bar may show before how far the images are."""
        if self.live is not None:
            self.live.start()

    def line(self, text: str) -> None:
        """Print what the table shows by itself."""
        if self.live is None:
            self.note(text)

    def note(self, text: str, style: str = "") -> None:
        """Print a line, above the table where there is one."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def warn(self, text: str) -> None:
        self.note(text, "bold red")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.stop()


@contextlib.contextmanager
def image_progress(console: Console, title: str) -> Iterator[Callable[[float, int], None]]:
    """Yield a function of (done, total) that draws a bar; nothing but a line without a terminal.

    The bar begins with the first call and goes when all is done, or at the end of the block.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(title, total=None)

    def show(done: float, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done < total:
            bar.start()
        else:
            end()

    def end() -> None:
        if bar.live.is_started:
            bar.stop()

    try:
        yield show
    finally:
        end()


@contextlib.contextmanager
def preparation(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows how far the images are: a bar, or a line each tenth without a terminal."""
    if console.is_terminal:
        with image_progress(console, "preparing images") as show:
            yield show
        return
    said = -1

    def say(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(total, 1)
        if tenth != said:
            said = tenth
            console.print(f"preparing images: {done}/{total}", highlight=False)

    yield say
