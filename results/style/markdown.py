"""Markdown from plain data: whatever a name holds, it stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What begins markup within a line; an underscore does so at a word's edge alone.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")


def one_line(text: object) -> str:
    """Return a text without line breaks."""
    return " ".join(str(text).split())


def plain(text: object) -> str:
    """Return a text that markdown shows as it is, in a paragraph or a table's cell."""
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda found: f"\\{found[0]}", escaped)


def code(text: object) -> str:
    """Return a text as code within a line."""
    line = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def block(text: str) -> str:
    """Return a text as a block of code."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def bullets(lines: Sequence[str]) -> str:
    """Return a list; its lines are markdown."""
    return "\n".join(f"- {line}" for line in lines)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Return a table of cells that are markdown.

    Args:
        heads: Of the columns.
        rows: Of cells.
        names: How many columns from the left hold text; the others are aligned as numbers.
    """
    rule = ["---"] * names + ["---:"] * (len(heads) - names)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))
