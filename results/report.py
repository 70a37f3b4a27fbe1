"""The study as one self-contained HTML file: plotly.js inside, no network, nothing to install."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from results import figures, palette, pareto, views
from results.figures import Drawing, objective_name
from results.importance import importances
from results.proposals import load_untrained
from results.records import StudyRecord, load_study
from results.tables import StudyTables, tabulate

REPORT_NAME = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(study_dir: Path | str) -> Path:
    """Write ``report.html`` into a study directory, finished or still running.

    The file is replaced in one step, so a reader never meets half a report.

    Args:
        study_dir: the study directory.

    Returns:
        Path of the report.

    Raises:
        RecordError: for a directory that cannot be read as a study.
        OSError: where the report cannot be written.
    """
    study = load_study(study_dir)
    target = Path(study_dir) / REPORT_NAME
    _replace(target, render_report(study))
    return target


def render_report(study: StudyRecord, generated: datetime | None = None) -> str:
    """Render the report's HTML.

    Args:
        study: the study's records.
        generated: the time it says it was made; now by default.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = (generated or datetime.now(UTC)).isoformat()
    return environment.get_template("report.html.j2").render(_context(study, made))


def _context(study: StudyRecord, generated: str) -> dict[str, Any]:
    from plotly.offline import get_plotlyjs

    plotly, script = get_plotlyjs(), _template("report.js")
    shared = tabulate(study)
    data = views.data_view(study)
    return {
        "policy": _policy(plotly, script),
        "plotly": Markup(plotly),
        "script": Markup(script),
        "style": Markup(_template("style.css")),
        "colors": _colors(),
        "study": {"name": study.name, "facts": _facts(study, generated)},
        "objective": objective_name(study),
        "headline": views.headline(study),
        "classes": views.class_rows(study),
        "facts": views.facts(shared),
        "parameters": views.parameter_rows(study),
        "search": {"lead": views.search_lead(study)},
        "states": views.state_rows(shared),
        "failures": views.failure_rows(study),
        "matrix": views.matrix(shared),
        "learning_lead": "How the trials learned: the best one in blue, the baseline in orange.",
        "charts": _charts(shared),
        "fronts": _fronts(study),
        "untrained": load_untrained(study.path).sentences(),
        "pareto": views.pareto_rows(study),
        "data": data,
        "leaks": [finding for finding in data["findings"] if finding["leak"]],
        "provenance": views.provenance(study, generated),
        "config": yaml.safe_dump(dict(study.config), sort_keys=False, allow_unicode=True),
    }


def _facts(study: StudyRecord, generated: str) -> list[tuple[str, str]]:
    source = study.data.get("source") or study.config.get("data", {}).get("source", "")
    facts = [("Data", str(source)), ("Begun", views.time_text(study.created))]
    facts.append(("Report of", views.time_text(generated) + " UTC"))
    return [fact for fact in facts if fact[1] not in ("", views.NONE)]


def _charts(data: StudyTables) -> dict[str, dict[str, Any]]:
    drawings = {
        "history": figures.history_figure(data),
        "objective": figures.curves_figure(data, "objective", objective_name(data.study)),
        "loss": figures.curves_figure(data, "validation_loss", "Validation loss"),
        "classes": figures.class_curves_figure(data.study),
        "parallel": figures.parallel_figure(data),
        "importance": figures.importance_figure(importances(data.study)),
    }
    return {name: _chart(drawing) for name, drawing in drawings.items()}


def _fronts(study: StudyRecord) -> dict[str, dict[str, Any]]:
    return {name: _chart(figures.pareto_figure(study, name)) for name in pareto.minimized(study)}


def _chart(drawing: Drawing) -> dict[str, Any]:
    return {
        "json": None if drawing.figure is None else _script_json(drawing.figure.to_json()),
        "note": drawing.note,
        "alt": drawing.alt,
        "height": drawing.height,
        "min_width": drawing.min_width,
    }


def _script_json(text: str) -> Markup:
    # Inside <script>, a class named "</script>" would end the block: no such letters remain.
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _colors() -> dict[str, str]:
    names = ("INK", "MUTED", "FAINT", "LINE", "PAPER", "GROUND", "ACCENT", "BASELINE", "ALERT")
    return {name.lower(): getattr(palette, name) for name in names}


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


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _replace(target: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
