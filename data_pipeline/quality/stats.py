"""What a data set holds: images, pixels and objects per class and split."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from data_pipeline.config import SPLITS
from data_pipeline.stores.survey import Survey

# The share button, on by default since plotly.js 4, would upload a figure of the user's data.
_PLOTLY = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""}
_COLORS = ("#3b6ea5", "#e08e45", "#5b9b6b")  # of train, valid, test


def statistics(survey: Survey) -> pd.DataFrame:
    """Return the table of a data set, one row for each split and class.

    Returns:
        Columns split; class; images, that show the class; groups, objects photographed in
        them; pixels, at the resolution of the source files; share, of the split's pixels;
        objects, 8-connected regions (none are counted for the background).
    """
    rows = []
    for split in (name for name in SPLITS if name in survey.splits):
        chosen = survey.rows(split)
        pixels, objects = survey.pixels[chosen], survey.objects[chosen]
        total = int(pixels.sum())
        for index, name in enumerate(survey.classes):
            shown = chosen[pixels[:, index] > 0]
            count = int(pixels[:, index].sum())
            rows.append(
                {
                    "split": split,
                    "class": name,
                    "images": len(shown),
                    "groups": len({survey.groups[row] for row in shown}),
                    "pixels": count,
                    "share": count / total if total else 0.0,
                    "objects": int(objects[:, index].sum()),
                }
            )
    return pd.DataFrame(rows)


def write_page(survey: Survey, path: Path, title: str = "Data set") -> Path:
    """Write the table and its charts as one HTML file that needs no network.

    Args:
        survey: The facts.
        path: File to write.
        title: Heading, any text.

    Returns:
        The path.
    """
    frame = statistics(survey)
    charts = [
        _bars(frame, "images", "Images that show a class"),
        _bars(frame, "objects", "Objects of a class (8-connected regions)"),
        _bars(frame, "share", "Share of all pixels, logarithmic", logarithmic=True),
        _sizes(survey),
    ]
    parts = [
        chart.to_html(full_html=False, include_plotlyjs=number == 0, config=_PLOTLY)
        for number, chart in enumerate(charts)
    ]
    table = frame.assign(share=[f"{share:.3%}" for share in frame["share"]])
    page = _PAGE.format(
        title=html.escape(title),
        summary=html.escape(_summary(survey)),
        table=table.to_html(index=False, border=0, escape=True, justify="left"),
        charts="\n".join(f"<section>{part}</section>" for part in parts),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _summary(survey: Survey) -> str:
    counts = ", ".join(f"{len(survey.rows(s))} {s}" for s in SPLITS if s in survey.splits)
    objects = len(set(survey.groups))
    return f"{survey.count} images ({counts}) of {objects} groups, {len(survey.classes)} classes"


def _bars(frame: pd.DataFrame, column: str, title: str, *, logarithmic: bool = False) -> go.Figure:
    figure = go.Figure()
    for split, color in zip(SPLITS, _COLORS, strict=True):
        rows = frame[frame["split"] == split]
        if column == "objects":
            rows = rows.iloc[1:]  # the background is no object
        if len(rows):
            figure.add_bar(
                name=split, x=list(rows["class"]), y=list(rows[column]), marker_color=color
            )
    figure.update_layout(title=title, barmode="group", **_LAYOUT)
    if logarithmic:
        figure.update_yaxes(type="log", tickformat=".2%")
    return figure


def _sizes(survey: Survey) -> go.Figure:
    figure = go.Figure()
    for split, color in zip(SPLITS, _COLORS, strict=True):
        rows = survey.rows(split)
        if len(rows):
            figure.add_scatter(
                name=split,
                x=survey.sizes[rows, 1].tolist(),
                y=survey.sizes[rows, 0].tolist(),
                text=[survey.stems[row] for row in rows],
                mode="markers",
                marker={"color": color, "opacity": 0.6},
            )
    figure.update_layout(title="Image sizes", **_LAYOUT)
    figure.update_xaxes(title="width in pixels", rangemode="tozero")
    figure.update_yaxes(title="height in pixels", rangemode="tozero")
    return figure


_LAYOUT = {
    "template": "plotly_white",
    "height": 380,
    "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #222; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #ddd; }}
td:nth-child(n+3) {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{table}
{charts}
</body>
</html>
"""
