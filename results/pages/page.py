"""From values to one HTML file: templates, styles and scripts inside, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from results.figures.drawing import Drawing
from results.style import palette

_TEMPLATES = Path(__file__).parents[1] / "templates"


def render(template: str, values: Mapping[str, Any], charts: bool = True) -> str:
    """Render a page.

    Args:
        template: Name of its template, which extends ``page.html.j2``.
        values: What the template prints; text is escaped.
        charts: Whether it has figures, which take plotly.js, 4.6 MB.
    """
    plotly, script = _plotly() if charts else "", _joined("*.js")
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            policy=_policy(plotly, script),
            plotly=Markup(plotly),
            script=Markup(script),
            style=Markup(_joined("*.css")),
            light=palette.LIGHT,
            dark=palette.DARK,
            dark_of=Markup(_script_json(json.dumps(palette.DARK_OF))),
        )
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def render_part(template: str, values: Mapping[str, Any]) -> Markup:
    """Render a part of a page, to be printed into it as it is."""
    return Markup(_environment().get_template(template).render(**values))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure_json"] = _figure_json
    environment.filters["script_json"] = lambda value: Markup(_script_json(json.dumps(value)))
    return environment


def _figure_json(drawing: Drawing) -> Markup:
    return Markup(_script_json(drawing.figure.to_json()))


def _script_json(text: str) -> str:
    # Inside <script>, a class named "</script>" would end the block: no such letters remain.
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _policy(*scripts: str) -> str:
    # The browser itself is told to fetch nothing and to run these scripts alone. Plotly's parallel
    # coordinates compile their WebGL calls, which takes 'unsafe-eval'.
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src 'unsafe-eval' {hashes}; base-uri 'none'; form-action 'none'"
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _joined(pattern: str) -> str:
    """Return the page's own styles or scripts, then those of its sections, by name."""
    paths = [*sorted(_TEMPLATES.glob(pattern)), *sorted((_TEMPLATES / "sections").glob(pattern))]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)
