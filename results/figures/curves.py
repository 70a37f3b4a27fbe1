"""How trials learned: their curves, the rungs, where each was pruned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from results import tables
from results.analysis.baselines import best_baseline
from results.figures.drawing import Drawing, blank, count_axis, small, thinned
from results.records.study import StudyRecord, TrialRecord
from results.style import palette
from results.style.words import count
from results.tables import StudyTables
from results.tables.classes import absent_classes
from results.tables.search import pruner_name, rungs, stops_table

MOST_CURVES = 60

_NEAR_END = 0.1  # of a trial's epochs


def curves_figure(data: StudyTables, column: str, title: str) -> Drawing:
    """Return one column of the epochs by epoch for each trial, incumbent and baseline in front.

    Args:
        data: the study's tables.
        column: a column of ``tables.curves_table``.
        title: name of the y axis.
    """
    alt = f"{title} by epoch, a line for each trial"
    curves = data.curves[np.isfinite(data.curves[column])]
    if curves.empty:
        return Drawing(None, "No epoch is finished yet.", alt)
    trials = data.trials[data.trials["number"].isin(curves["number"].unique())]
    front = _front_trials(data.study)
    shown = tables.thin(trials, MOST_CURVES, set(front))
    figure = blank(x="Epoch", y=title)
    count_axis(figure, 1, int(curves["epoch"].max()))
    if column.endswith("loss"):
        figure.update_yaxes(rangemode="normal")
    marks = _add_rungs(figure, data)
    for state in ("PRUNED", "FAIL", "RUNNING", "COMPLETE"):
        numbers = set(shown.loc[shown["state"] == state, "number"]) - set(front)
        _add_curves(figure, curves[curves["number"].isin(numbers)], column, state)
    pruned = set(shown.loc[shown["state"] == "PRUNED", "number"])
    _add_stops(figure, curves[curves["number"].isin(pruned)], column)
    for number, (name, color) in front.items():
        _add_front_curve(figure, curves[curves["number"] == number], column, name, color)
    note = "Each line is a trial." + (" A cross is where one was pruned." if pruned else "")
    note += _rungs_note(data.study, marks) + thinned(len(shown), len(trials), "trials")
    says = loss_sentence(data.study) if column == "validation_loss" else stops_sentence(data)
    return Drawing(figure, note, alt, height=380, says=says)


def _front_trials(study: StudyRecord) -> dict[int, tuple[str, str]]:
    front = {}
    baseline, incumbent = best_baseline(study), study.incumbent
    if baseline is not None:
        front[baseline.number] = ("baseline", palette.BASELINE)
    if incumbent is not None:
        front[incumbent.number] = (f"best (trial {incumbent.number})", palette.ACCENT)
    return front


def _add_rungs(figure: Any, data: StudyTables) -> tuple[int, ...]:
    marks = rungs(data.study.config, _planned(data))
    for place in marks:
        figure.add_vline(
            x=place,
            line={"width": 1, "dash": "dash", "color": palette.FAINT},
            layer="below",
            annotation={
                "text": f"rung {place}",
                "font": {"size": 11, "color": palette.MUTED},
                "yref": "paper",
                "y": 1,
                "yanchor": "bottom",
                "xanchor": "center",
                "showarrow": False,
            },
        )
    if marks:
        figure.update_layout(margin={"t": 28})
    return marks


def _planned(data: StudyTables) -> int:
    """Return epochs of a trial that is not stopped, as far as the trials show."""
    return int(data.trials["epochs"].max())


def _rungs_note(study: StudyRecord, marks: tuple[int, ...]) -> str:
    name = pruner_name(study.config)
    if marks:
        factor = study.config["search"].get("reduction_factor", 3)
        known = {"asha": "ASHA", "hyperband": "Hyperband"}[name]
        text = f" Dashed lines are the rungs of {known}: about one trial in {factor} passes each"
        return (
            f"{text}, and each of its brackets begins at another." if name[0] == "h" else text + "."
        )
    other = {"none": " Nothing was pruned by rule.", "median": " The median pruner has no rungs."}
    return other.get(name, "")


# Told apart without colour, too; where a trial was pruned there is a cross.
_DASHES = {"COMPLETE": "solid", "PRUNED": "solid", "RUNNING": "dash", "FAIL": "dot"}


def _add_curves(figure: Any, curves: pd.DataFrame, column: str, state: str) -> None:
    if curves.empty:
        return
    numbers = curves["number"].to_numpy()
    # One trace for all trials of a state, a gap after each: sixty traces are slow to draw.
    ends = np.flatnonzero(np.diff(numbers)) + 1
    figure.add_scatter(
        x=np.insert(curves["epoch"].to_numpy(dtype=np.float32), ends, np.nan),
        y=np.insert(small(curves[column]), ends, np.nan),
        customdata=np.insert(numbers, ends, 0),
        mode="lines+markers",
        name=state,
        line={"width": 1.2, "color": palette.CURVE_COLORS[state], "dash": _DASHES[state]},
        marker={"size": 3},
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.3f}<extra>" + state + "</extra>",
    )


def _add_stops(figure: Any, curves: pd.DataFrame, column: str) -> None:
    if curves.empty:
        return
    last = curves.groupby("number", sort=False).tail(1)
    figure.add_scatter(
        x=last["epoch"].to_numpy(dtype=np.float32),
        y=small(last[column]),
        customdata=last["number"].to_numpy(),
        mode="markers",
        name="pruned here",
        marker={"symbol": "x-thin", "size": 7, "line": {"width": 1.5, "color": palette.MUTED}},
        hovertemplate="trial %{customdata} pruned after epoch %{x}, at %{y:.3f}<extra></extra>",
    )


def _add_front_curve(figure: Any, curve: pd.DataFrame, column: str, name: str, color: str) -> None:
    if curve.empty:
        return
    figure.add_scatter(
        x=curve["epoch"].to_numpy(),
        y=small(curve[column]),
        mode="lines+markers",
        name=name,
        line={"width": 2.5, "color": color},
        marker={"size": 5, "symbol": "diamond" if name == "baseline" else "circle"},
        hovertemplate="epoch %{x}: %{y:.3f}<extra>" + name + "</extra>",
    )


def stops_sentence(data: StudyTables) -> str:
    """Return where trials were pruned, and whether the best one still rose at its end."""
    stops, begun = stops_table(data.trials), int((data.trials["epochs"] > 0).sum())
    said = f"None of the {begun:,} trials that trained was pruned." if begun > 1 else ""
    if len(stops):
        pruned = int(stops["trials"].sum())
        most = stops.iloc[int(stops["trials"].to_numpy().argmax())]
        said = f"{pruned:,} of the {begun:,} trials that trained were pruned, "
        said += "all" if len(stops) == 1 else f"{int(most['trials']):,} of them"
        said += f" after {count(int(most['epoch']), 'epoch')}."
    rising = _rising(data.study.incumbent)
    return f"{said} {rising}".strip()


def _rising(trial: TrialRecord | None) -> str:
    if trial is None or trial.best_row is None or len(trial.curve) < 2:
        return ""
    best, last = trial.best_of_last or (0, 0)
    said = f"The best trial ({trial.number}) was at its best in epoch {best} of {last}"
    if last - best < max(1.0, _NEAR_END * last):
        return said + ", near its end: more epochs may give more."
    return said + ": more epochs did not help it."


def loss_sentence(study: StudyRecord) -> str:
    """Return whether the best trial's validation loss and its objective agree on the best epoch."""
    trial = study.incumbent
    if trial is None or trial.best_row is None:
        return ""
    loss, epochs = trial.curve.validation_loss, trial.curve.epoch
    # Of other folds it is of other images.
    loss = np.where(trial.curve.fold == trial.curve.fold[trial.best_row], loss, np.nan)
    if not np.isfinite(loss).any():
        return f"Trial {trial.number}, the best, has no finite validation loss."
    lowest, best = int(np.nanargmin(loss)), trial.best_row
    said = f"The best trial ({trial.number}) has its lowest validation loss, {loss[lowest]:.3f}, "
    if lowest == best:
        return said + f"in epoch {epochs[lowest]}, where its Dice is best too."
    said += f"in epoch {epochs[lowest]}, its best Dice in epoch {epochs[best]}"
    rise = loss[best] - loss[lowest]
    return said + (f", with a loss {rise:.3f} higher." if np.isfinite(rise) else ".")


def class_curves_sentence(study: StudyRecord) -> str:
    """Return the best trial's strongest and weakest class, and those that it never finds."""
    trial = study.incumbent
    if trial is None or trial.best_row is None:
        return ""
    scores = pd.Series(trial.curve.dice[trial.best_row], index=list(study.classes)).iloc[1:]
    scores = scores[scores.notna() & ~scores.index.isin(list(absent_classes(study)))]
    if scores.empty:
        return ""
    most, least = scores.idxmax(), scores.idxmin()
    said = f"In epoch {trial.curve.epoch[trial.best_row]}, {most} has a Dice of {scores.max():.3f}"
    if len(scores) == 1:
        return said + "."
    never = [name for name in scores.index if _peak(study, trial, str(name)) == 0]
    if never:
        more = f" and {len(never) - 1} more" if never[1:] else ""
        return f"{said}; {never[0]}{more} stayed at zero in every epoch."
    return f"{said}, {least} of {scores.min():.3f}."


def _peak(study: StudyRecord, trial: TrialRecord, name: str) -> float:
    return float(np.nanmax(trial.curve.dice[:, study.classes.index(name)], initial=0.0))
