"""The study as one self-contained HTML file: plotly.js inside, no network, nothing to install."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.files import write_text
from results.pages.page import render, render_part
from results.records.study import StudyRecord, load_study
from results.sections import SECTIONS, Material, ReportSection
from results.style.words import NONE, time_text
from results.warnings.data import leaks

REPORT_NAME = "report.html"
TABLES_NAME = "report_tables"

_log = logging.getLogger(__name__)


def write_report(study_dir: Path | str, target: Path | str | None = None) -> Path:
    """Write the report of a study, finished or still running.

    The file is replaced in one step, so a reader never meets half a report.

    Args:
        study_dir: the study directory.
        target: the HTML file; None: ``report.html`` in the study directory.

    Returns:
        Path of the report.

    Raises:
        RecordError: for a directory that cannot be read as a study.
        OSError: where the report cannot be written.
    """
    study = load_study(study_dir)
    page = Path(study_dir) / REPORT_NAME if target is None else Path(target)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, render_report(study), durable=False)
    return page


def render_report(study: StudyRecord, generated: datetime | None = None) -> str:
    """Render the report's HTML.

    Args:
        study: the study's records.
        generated: the time it says it was made; now by default.
    """
    made = (generated or datetime.now(UTC)).isoformat()
    material = Material(study, made)
    with _uncollected():
        sections = [_made(section, material) for section in SECTIONS]
    return render(
        "report.html.j2",
        {
            "study": {"name": study.name, "facts": _facts(study, made)},
            "leaks": leaks(study),
            "sections": sections,
        },
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: over all of a large study it takes a tenth of the time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def write_tables(study_dir: Path | str, formats: tuple[str, ...]) -> Path:
    """Write the tables that the report shows as files of their own.

    Args:
        study_dir: the study directory.
        formats: of "csv" (a file a table) and "json" (one file: table name to list of rows).

    Returns:
        The folder ``report_tables``, which holds them.

    Raises:
        RecordError: for a directory that cannot be read as a study.
        OSError: where they cannot be written.
    """
    material = Material(load_study(study_dir), datetime.now(UTC).isoformat())
    folder = Path(study_dir) / TABLES_NAME
    folder.mkdir(exist_ok=True)
    frames = report_tables(material)
    if "csv" in formats:
        for name, frame in frames.items():
            write_text(folder / f"{name}.csv", frame.to_csv(index=_is_named(frame)), durable=False)
    if "json" in formats:
        parts = [f'"{name}": {_rows(frame)}' for name, frame in frames.items()]
        write_text(folder / "tables.json", "{" + ",\n".join(parts) + "}\n", durable=False)
    return folder


def report_tables(material: Material) -> dict[str, pd.DataFrame]:
    """Compute the tables of all sections by name; those that cannot be made are left out."""
    found: dict[str, pd.DataFrame] = {}
    for section in SECTIONS:
        try:
            found |= section.frames(material)
        except Exception:
            _log.exception("the tables of section %s cannot be made", section.name)
    return found


def _is_named(frame: pd.DataFrame) -> bool:
    return frame.index.name is not None


def _rows(frame: pd.DataFrame) -> str:
    if _is_named(frame) and frame.index.name in frame.columns:  # a class called "number"
        frame = frame.rename_axis(f"{frame.index.name}_")
    plain = frame.reset_index() if _is_named(frame) else frame
    text: str = plain.to_json(orient="records", double_precision=10, date_format="iso")
    return text


def _made(section: ReportSection, material: Material) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": section.name, "title": section.title, "problem": None}
    try:
        values = {"s": section.build(material)}
        shown["html"] = render_part(f"sections/{section.name}.html.j2", values)
    # Whatever is wrong with one part of a study's records, the others are worth reading.
    except Exception as error:
        _log.exception("section %s cannot be made", section.name)
        shown["problem"] = f"{type(error).__name__}: {error}"
    return shown


def _facts(study: StudyRecord, generated: str) -> list[tuple[str, str]]:
    source = study.data.get("source") or (study.config.get("data") or {}).get("source", "")
    facts = [("Data", str(source)), ("Begun", time_text(study.created))]
    facts.append(("Report of", time_text(generated) + " UTC"))
    return [fact for fact in facts if fact[1] not in ("", NONE)]
