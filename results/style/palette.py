"""The report's colours: one blue, one orange, greys; told apart by colour-blind readers too."""

from __future__ import annotations

import math

INK = "#17212b"
MUTED = "#5a6773"
FAINT = "#aab4bd"
LINE = "#dde3e8"
PAPER = "#ffffff"
GROUND = "#f5f7f9"
ACCENT = "#0b5394"
BASELINE = "#c2660c"
ALERT = "#a32a1c"

STATE_COLORS = {
    "COMPLETE": ACCENT,
    "PRUNED": "#9aa7b2",
    "RUNNING": "#6fb1e0",
    "FAIL": ALERT,
}

# Many thin lines: paler than the marks, so that the two in front stand out.
CURVE_COLORS = {"COMPLETE": "#85b4da", "PRUNED": "#c9d0d6", "RUNNING": "#a9d3ef", "FAIL": "#d9a49d"}

# Okabe & Ito's colours without the yellow, which is lost on white; background in grey.
CLASS_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#332288")
CLASS_DASHES = ("solid", "dash", "dot", "dashdot")
BACKGROUND_COLOR = FAINT

# The page's own colours by name, and what becomes of each in the dark. Figures are drawn in the
# light ones; the page's script exchanges them.
LIGHT = {
    "ink": INK,
    "muted": MUTED,
    "faint": FAINT,
    "line": LINE,
    "paper": PAPER,
    "ground": GROUND,
    "accent": ACCENT,
    "baseline": BASELINE,
    "alert": ALERT,
    "note": "#fbf5ee",
}
DARK = {
    "ink": "#e6ebf0",
    "muted": "#a3afba",
    "faint": "#5d6a76",
    "line": "#2c3742",
    "paper": "#161d24",
    "ground": "#0e1318",
    "accent": "#6db3ea",
    "baseline": "#eb9a4d",
    "alert": "#f07f70",
    "note": "#2a2219",
}

# One hue from pale to deep: rank is read from lightness alone.
SEQUENTIAL = ("#eef3f7", "#c8dcec", "#8dbbdd", "#3f86be", "#0b5394")
# The same for lines on white, whose palest must still be seen.
LINE_SCALE = ("#cfd8df", "#a8c6dd", "#71a8d2", "#2f7ab6", "#083d6e")


def class_style(index: int) -> tuple[str, str]:
    """Colour and line dash of a class, distinct for 28 foreground classes."""
    if index == 0:
        return BACKGROUND_COLOR, "dot"
    turn, place = divmod(index - 1, len(CLASS_COLORS))
    return CLASS_COLORS[place], CLASS_DASHES[turn % len(CLASS_DASHES)]


def cell_colors(score: float) -> tuple[str, str] | None:
    """Fill and text colour for a score in 0..1; None where it is undefined."""
    if math.isnan(score):
        return None
    fill = _interpolated(min(max(score, 0.0), 1.0))
    # One of black and white has a contrast of 4.5 with any colour; the page's ink has not.
    return fill, max("#000000", PAPER, key=lambda text: contrast(text, fill))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two "#rrggbb" colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    parts = [part / 255 for part in _rgb(color)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _interpolated(position: float) -> str:
    place = position * (len(SEQUENTIAL) - 1)
    lower = min(int(place), len(SEQUENTIAL) - 2)
    part = place - lower
    ends = (_rgb(SEQUENTIAL[lower]), _rgb(SEQUENTIAL[lower + 1]))
    mixed = [round(a + (b - a) * part) for a, b in zip(*ends, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


DARK_OF = {LIGHT[name]: DARK[name] for name in LIGHT} | {
    # Marks and lines that stand on paper.
    "#9aa7b2": "#7d8b98",
    "#6fb1e0": "#3f86be",
    "#85b4da": "#3f74a3",
    "#c9d0d6": "#46525d",
    "#a9d3ef": "#2f6491",
    "#d9a49d": "#8a4a42",
    "#332288": "#a79bf0",
    "#0072b2": "#3d7fe0",
    # The scale of one hue: in the dark, high is light.
    "#eef3f7": "#1d2832",
    "#c8dcec": "#1f3d57",
    "#8dbbdd": "#2a5d88",
    "#3f86be": "#458cc2",
    # The scale of lines, likewise.
    "#cfd8df": "#36434f",
    "#a8c6dd": "#355a7b",
    "#71a8d2": "#3f7fb5",
    "#2f7ab6": "#6cb0e8",
    "#083d6e": "#cde6fa",
}
