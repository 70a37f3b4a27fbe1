"""The report's sections, in their order: each makes the values that its template prints.

A section is a module with ``build(material)``, what ``templates/sections/<name>.html.j2`` prints,
and ``frames(material)``, its tables by name, for CSV and JSON. One that raises is named in the
page; the rest stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.sections import (
    classes,
    data,
    parameters,
    pictures,
    provenance,
    search,
    verdict,
)
from results.sections.material import Material

__all__ = ["SECTIONS", "Material", "ReportSection"]


@dataclass(frozen=True)
class ReportSection:
    """A part of the page.

    Attributes:
        name: Its anchor and its template's name.
        title: Its heading.
        build: Makes what its template prints.
        frames: Makes its tables by name.
    """

    name: str
    title: str
    build: Callable[[Material], Mapping[str, Any]]
    frames: Callable[[Material], Mapping[str, pd.DataFrame]]


SECTIONS = (
    ReportSection("verdict", "Verdict", verdict.build, verdict.frames),
    ReportSection("classes", "Dice per class", classes.build, classes.frames),
    ReportSection("search", "Search", search.build, search.frames),
    ReportSection("parameters", "Hyperparameters", parameters.build, parameters.frames),
    ReportSection("pictures", "Pictures", pictures.build, pictures.frames),
    ReportSection("data", "Data", data.build, data.frames),
    ReportSection("provenance", "How it was made", provenance.build, provenance.frames),
)
