"""Parameters whose best trials crowd an end of their range, and the wider range to search next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd
import yaml

from results.analysis.range_suggestions import End, Limit, as_config, limit_of, widened
from results.records.searched import SearchedField, searched_fields
from results.records.study import StudyRecord, TrialRecord

MINIMUM_TRIALS = 20
TOP_SHARE = 0.1
FEWEST_TOP = 5
OUTER_SHARE = 0.1
SIGNIFICANCE = 0.01
RULE = (
    "A parameter is at an edge where more of the best tenth of the COMPLETE trials (at least 5) "
    "lie in the outer tenth of its range than chance puts there once in 100 times, or where the "
    "best trial itself lies at the very end (a hundredth) of a continuous range."
)

_LAYERS, _DROPOUT = "model.num_layers", "model.dropout_rate"
_VERY_END = 0.01
_COLUMNS = [
    "parameter",
    "end",
    "why",
    "top",
    "at_end",
    "chance",
    "p_value",
    "searched",
    "wider",
    "note",
]


@dataclass(frozen=True, eq=False)
class Edges:
    """Parameters at an edge of their range.

    Attributes:
        table: Columns parameter (dotted), end ("low" or "high"), why ("best trials" or
            "incumbent"), top (how many best trials were looked at), at_end (of them, in the outer
            tenth), chance (share that a uniform draw puts there), p_value (of the binomial test),
            searched, wider (the ranges in words; wider is None where the field takes no more),
            note (why it is None). The least p_value first. Empty where no parameter is at one.
        trials: COMPLETE trials that were used.
        reason: Why nothing can be said; None otherwise, even if no parameter is at an end.
        rule: What counts as an edge, in words.
    """

    table: pd.DataFrame
    trials: int
    reason: str | None = None
    rule: str = RULE


@lru_cache(maxsize=1)  # several parts of a report ask for it
def edges_table(study: StudyRecord) -> Edges:
    """Find the parameters whose best trials crowd an end of their range.

    Ranges and choices of numbers are looked at, both ends of each. Nothing corrects for several of
    them: without any effect, some 1 to 4 % of the parameters are named by chance.

    Args:
        study: The study's records.
    """
    # A config counts once, however often it was trained.
    first = [t for t in study.with_state("COMPLETE") if t.repeat_of is None]
    trials = [t for t in first if t.value is not None]
    trials = [t for t in trials if math.isfinite(t.value or 0)]
    if len(trials) < MINIMUM_TRIALS:
        reason = (
            f"Edges are told from at least {MINIMUM_TRIALS} COMPLETE trials; "
            f"this study has {len(trials)} so far."
        )
        return Edges(pd.DataFrame(columns=_COLUMNS), len(trials), reason)
    found = _found(study.config, trials)
    wider = _widened(study.config, [(str(row["parameter"]), _end(row)) for row in found])
    before = searched_fields(study.config)
    rows = []
    for row in found:
        name, end = str(row["parameter"]), _end(row)
        limit = limit_of(name, study.config)
        text, note = _in_words(before[name], wider[name], end, limit)
        rows.append({**row, "wider": text, "note": note})
    table = pd.DataFrame(rows, columns=_COLUMNS)
    table = table.sort_values("p_value", kind="stable").reset_index(drop=True)
    return Edges(table, len(trials))


def _end(row: Mapping[str, object]) -> End:
    return "low" if row["end"] == "low" else "high"


def _found(config: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[dict[str, object]]:
    return [row for field in _numeric(config) for row in _rows(field, trials)]


def _numeric(config: Mapping[str, Any]) -> list[SearchedField]:
    return [field for field in searched_fields(config).values() if _is_numeric(field)]


def _is_numeric(field: SearchedField) -> bool:
    if field.kind != "choice":
        return (field.low or 0) < (field.high or 0)
    numbers = [isinstance(c, int | float) and not isinstance(c, bool) for c in field.choices]
    return len(field.choices) > 1 and all(numbers)


def _rows(field: SearchedField, trials: Sequence[TrialRecord]) -> list[dict[str, object]]:
    places = [(t, _place(field, t.params.get(field.name))) for t in trials]
    within = [(t, place) for t, place in places if place is not None and 0 <= place <= 1]
    within.sort(key=lambda pair: (-(pair[0].value or 0), pair[0].number))
    top = within[: top_count(len(within))]
    rows: list[dict[str, object]] = []
    ends: tuple[End, End] = ("low", "high")
    for end in ends if len(within) >= MINIMUM_TRIALS else ():
        inward = [place if end == "low" else 1 - place for _, place in top]
        edge = _edge(field, end, inward)
        at_end = sum(place <= edge.width + 1e-9 for place in inward)
        p_value = _binomial_tail(at_end, len(top), edge.chance)
        why = _why(p_value, inward[0], edge.values)
        if why is not None:
            found = (field.name, end, why, len(top), at_end, edge.chance, p_value, field.text)
            rows.append(dict(zip(_COLUMNS, found, strict=False)))
    return rows


def top_count(trials: int) -> int:
    """Return how many of so many trials are "the best": a tenth, at least 5."""
    return max(FEWEST_TOP, math.ceil(TOP_SHARE * trials))


def _why(p_value: float, incumbent: float, values: float) -> str | None:
    if p_value < SIGNIFICANCE:
        return "best trials"
    # Of a few values, the best trial has one at an end by chance more often than not.
    at_end = math.isinf(values) and incumbent <= _VERY_END
    return "incumbent" if at_end else None


def _place(field: SearchedField, value: object) -> float | None:
    """Return where a value lies, 0 at the low end and 1 at the high one; None for no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if field.kind == "choice":
        ordered = sorted(field.choices)
        return ordered.index(value) / (len(ordered) - 1) if value in ordered else None
    low, high = float(field.low or 0), float(field.high or 0)
    if not field.log:
        return (value - low) / (high - low)
    return math.log(value / low) / math.log(high / low) if value > 0 else None


@dataclass(frozen=True)
class _Edge:
    width: float  # of the outer part, as a share of the range
    chance: float
    values: float  # how many the whole range has


def _edge(field: SearchedField, end: End, inward: Sequence[float]) -> _Edge:
    """Return the outer tenth; of few values at least the last one."""
    if field.kind == "choice":
        count = len(field.choices)
        places = [index / (count - 1) for index in range(count)]
    elif field.kind == "int" or field.step is not None:
        step = field.step or 1
        count = math.floor(((field.high or 0) - (field.low or 0)) / step + 1e-9) + 1
        values = [(field.low or 0) + step * index for index in range(count)]
        places = [place for v in values if (place := _place(field, v)) is not None]
    else:
        return _Edge(OUTER_SHARE, OUTER_SHARE, math.inf)
    distances = sorted(place if end == "low" else 1 - place for place in places)
    width = max(OUTER_SHARE, distances[0])
    inside = sum(distance <= width + 1e-9 for distance in distances)
    return _Edge(width, inside / len(distances), len(distances))


def _binomial_tail(successes: int, trials: int, chance: float) -> float:
    """Probability of at least so many successes."""
    return math.fsum(
        math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k)
        for k in range(successes, trials + 1)
    )


def _in_words(
    field: SearchedField, wider: SearchedField, end: End, limit: Limit
) -> tuple[str | None, str | None]:
    if _last(wider, end) != _last(field, end):
        return wider.text, None
    bound = limit.low if end == "low" else limit.high
    if bound is None:
        return None, "no further number follows from the choices"
    return None, f"it takes no {'less' if end == 'low' else 'more'}: its limit is {bound:g}"


def _last(field: SearchedField, end: End) -> Any:
    if field.kind == "choice":
        return min(field.choices) if end == "low" else max(field.choices)
    return field.low if end == "low" else field.high


def _widened(
    config: Mapping[str, Any], ends: Sequence[tuple[str, End]]
) -> dict[str, SearchedField]:
    """Return all searched fields, the named ends moved out.

    Dropout grows with the level, so that its rate stays below 1 / (num_layers - 1).
    """
    before = searched_fields(config)
    fields = dict(before)
    # The levels first: they bound the dropout.
    for name, end in sorted(ends, key=lambda pair: pair[0] != _LAYERS):
        limit = limit_of(name, config)
        if name == _DROPOUT:
            highest = 1 / max(_most(config, fields, _LAYERS) - 1, 1)
            limit = replace(limit, high=min(limit.high or 1.0, highest), high_open=True)
        fields[name] = widened(fields[name], end, limit)
    layers = _most(config, fields, _LAYERS)
    if _LAYERS in before and _most(config, before, _DROPOUT) * (layers - 1) >= 1:
        fields[_LAYERS] = before[_LAYERS]
    return fields


def _most(config: Mapping[str, Any], fields: Mapping[str, SearchedField], name: str) -> float:
    """Return the highest value of a field of the model, searched or not; 0 if not known."""
    if name in fields:
        return float(_last(fields[name], "high"))
    model = config.get("model")
    value = model.get(name.partition(".")[2]) if isinstance(model, Mapping) else None
    return float(value) if isinstance(value, int | float) else 0.0


def edges_yaml(study: StudyRecord) -> str:
    """Return the study's searched fields as YAML, those at an edge with their wider range.

    Returns:
        The sections model, train and augment, as far as they have searched fields, to paste into a
        config in place of those fields; "" for a study that searched nothing.
    """
    before = searched_fields(study.config)
    table = edges_table(study).table
    ends: list[tuple[str, End]] = list(zip(table["parameter"], table["end"], strict=True))
    sections: dict[str, list[str]] = {}
    for name, field in _widened(study.config, ends).items():
        section, _, key = name.partition(".")
        # One line each, whatever its length.
        value = yaml.safe_dump({key: as_config(field)}, default_flow_style=True, width=math.inf)
        line = value.strip().removeprefix("{").removesuffix("}")
        was = f"  # was {before[name].text}" if field != before[name] else ""
        sections.setdefault(section, []).append(f"  {line}{was}")
    return "\n".join(f"{section}:\n" + "\n".join(lines) for section, lines in sections.items())
