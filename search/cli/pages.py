"""Writing reports for the command line: of one study, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.config.errors import ConfigError
from search.storage.object_store import push_back


def write_pages(
    study_dirs: Sequence[Path], out: Path | None, *, csv: bool = False, json: bool = False
) -> list[str]:
    """Write a study's report, or a comparison of several.

    Args:
        study_dirs: Study directories; of studies in an object store, their copies.
        out: The HTML file; None: ``report.html`` in the study, ``comparison.html`` here.
        csv: Whether to write each of the report's tables as a CSV file.
        json: Whether to write them as one JSON file.

    Returns:
        What to tell the user: where things are, a line each.

    Raises:
        ConfigError: for tables of several studies, or a study that is given twice.
        results.records.study.RecordError: for a directory that cannot be read as a study.
        OSError: where something cannot be written.
    """
    if len(study_dirs) > 1:
        return [_compare(study_dirs, out, tables=csv or json)]
    (study_dir,) = study_dirs
    return _report(study_dir, out, [name for name, on in (("csv", csv), ("json", json)) if on])


def _compare(study_dirs: Sequence[Path], out: Path | None, tables: bool) -> str:
    from results.pages.comparison import COMPARISON_NAME, write_comparison

    if tables:
        message = f"--csv, --json: expected one study, received {len(study_dirs)}"
        raise ConfigError("report", [message])
    return f"comparison: {write_comparison(study_dirs, out or Path(COMPARISON_NAME))}"


def _report(study_dir: Path, out: Path | None, formats: Sequence[str]) -> list[str]:
    from results.pages.report import write_report, write_tables

    page = write_report(study_dir, out)
    where = None if out is not None else push_back(study_dir, page.name)
    lines = [f"report: {where or page}"]
    if formats:
        folder = write_tables(study_dir, tuple(formats))
        for path in sorted(folder.iterdir()):
            where = push_back(study_dir, f"{folder.name}/{path.name}") or where
        lines.append(f"tables: {folder if where is None else where.rpartition('/')[0]}")
    return lines
