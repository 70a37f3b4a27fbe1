"""How one training learned: its losses, its scores, its classes, its learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.figures.drawing import Drawing, blank, count_axis, label
from results.records.training_record import TrainingRecord
from results.style import palette
from results.style.words import count, number

NOTHING_VALIDATED = "Nothing was validated: the validation images were trained on."
NO_EPOCH = "No epoch is finished yet."

_HEIGHT = 360
_POOLED = "Dice of all classes pooled"

Floats = NDArray[np.float64]


def losses_figure(training: TrainingRecord) -> Drawing:
    """Training and validation loss by epoch."""
    alt = "Training and validation loss by epoch"
    curve = training.curve
    if not len(curve):
        return Drawing(None, NO_EPOCH, alt)
    figure = _framed(training, "Loss")
    _add_line(figure, curve.epoch, curve.train_loss, "training", palette.ACCENT)
    _add_line(figure, curve.epoch, curve.validation_loss, "validation", palette.BASELINE, "dash")
    _mark_best(figure, training)
    note = "The training loss is the mean over an epoch's batches, with dropout and augmentation; "
    note += "the validation loss is of the whole split, with the weights of the epoch's end."
    return Drawing(figure, note, alt, height=_HEIGHT, says=_loss_sentence(training))


def scores_figure(training: TrainingRecord) -> Drawing:
    """Mean foreground Dice and IoU, and the reference's pooled Dice, by epoch."""
    alt = "Mean foreground Dice and IoU on the validation split by epoch"
    curve = training.curve
    if empty := _unvalidated(training):
        return Drawing(None, empty, alt)
    figure = _framed(training, "Score")
    iou = _foreground_means(training.iou)
    _add_line(figure, curve.epoch, curve.mean_foreground_dice, "mean Dice", palette.ACCENT)
    _add_line(figure, curve.epoch, iou, "mean IoU", palette.CLASS_COLORS[2], "dash")
    _add_line(figure, curve.epoch, curve.pooled_dice, _POOLED, palette.FAINT, "dot")
    _mark_best(figure, training)
    note = (
        "Means are over the classes but the background. The pooled Dice, the reference's metric, "
        "is of probabilities and counts the background too: it says little of small classes."
    )
    return Drawing(figure, note, alt, height=_HEIGHT, says=_best_sentence(training))


def classes_figure(training: TrainingRecord) -> Drawing:
    """Dice of each class by epoch."""
    alt = "Dice of each class on the validation split by epoch"
    curve = training.curve
    if empty := _unvalidated(training):
        return Drawing(None, empty, alt)
    figure = _framed(training, "Dice")
    for index, name in enumerate(training.classes):
        if index and np.isfinite(curve.dice[:, index]).any():
            color, dash = palette.class_style(index)
            _add_line(figure, curve.epoch, curve.dice[:, index], label(name, 24), color, dash)
    if not figure.data:
        return Drawing(None, "No foreground class is defined in the validation split.", alt)
    _mark_best(figure, training)
    note = "Counted over the whole validation split at the size that the model gets."
    return Drawing(figure, note, alt, height=_HEIGHT, says=_class_sentence(training))


def rate_figure(training: TrainingRecord) -> Drawing:
    """Return the learning rate by epoch."""
    alt = "Learning rate by epoch"
    curve = training.curve
    if not np.isfinite(curve.learning_rate).any():
        return Drawing(None, NO_EPOCH, alt)
    figure = _framed(training, "Learning rate")
    _add_line(figure, curve.epoch, curve.learning_rate, "learning rate", palette.ACCENT, form=".3g")
    figure.update_yaxes(exponentformat="e")
    figure.update_layout(showlegend=False)
    schedule = str((training.config.get("train") or {}).get("schedule", "")).replace("_", " ")
    first, last = curve.learning_rate[0], curve.learning_rate[-1]
    says = f"From {first:.2g} in the first epoch to {last:.2g} in the last"
    says += f"; schedule: {schedule}." if schedule else "."
    return Drawing(figure, "Of each epoch's last step.", alt, height=260, says=says)


def _framed(training: TrainingRecord, title: str) -> Any:
    figure = blank(x="Epoch", y=title)
    count_axis(figure, 1, int(training.curve.epoch.max()))
    figure.update_layout(legend={"traceorder": "normal"}, hovermode="x unified", margin={"t": 28})
    return figure


def _add_line(
    figure: Any,
    epochs: NDArray[np.int64],
    values: Floats,
    name: str,
    color: str,
    dash: str = "solid",
    form: str = ".4f",
) -> None:
    if not np.isfinite(values).any():
        return
    figure.add_scatter(
        x=epochs,
        y=values.astype(np.float32),
        mode="lines+markers" if len(epochs) < 30 else "lines",
        name=name,
        line={"width": 2, "color": color, "dash": dash},
        marker={"size": 4},
        hovertemplate="%{y:" + form + "}",
    )


def _mark_best(figure: Any, training: TrainingRecord) -> None:
    row = training.best_row
    if row is None or training.final:
        return
    epoch = int(training.curve.epoch[row])
    early = 2 * epoch <= int(training.curve.epoch.max())
    figure.add_vline(
        x=epoch,
        line={"width": 1, "dash": "dot", "color": palette.MUTED},
        annotation={
            "text": f"best, epoch {epoch}",
            "font": {"size": 11, "color": palette.MUTED},
            "yref": "paper",
            "y": 1,
            "yanchor": "bottom",
            "xanchor": "left" if early else "right",  # within the frame on a phone, too
            "showarrow": False,
        },
    )


def _unvalidated(training: TrainingRecord) -> str:
    """Return why there are no scores; empty where there are."""
    if training.final:
        return NOTHING_VALIDATED
    return "" if len(training.curve) else NO_EPOCH


def _foreground_means(scores: Floats) -> Floats:
    """Mean over the classes but background of each epoch, [E]; NaN where none is defined."""
    defined = np.isfinite(scores[:, 1:])
    sums = np.where(defined, scores[:, 1:], 0.0).sum(axis=1)
    counts = defined.sum(axis=1)
    means: Floats = np.full(len(scores), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _loss_sentence(training: TrainingRecord) -> str:
    curve = training.curve
    trained, valid = curve.train_loss, curve.validation_loss
    done = count(len(curve), "epoch")
    if not np.isfinite(valid).any():
        return f"The training loss is {number(trained[-1], 4)} after {done}."
    lowest = int(np.nanargmin(valid))
    return (
        f"The validation loss is lowest in epoch {curve.epoch[lowest]} of {len(curve)}, "
        f"{number(valid[lowest], 4)}; the training loss is {number(trained[lowest], 4)} there."
    )


def _best_sentence(training: TrainingRecord) -> str:
    row = training.best_row
    if row is None:
        return "No epoch has a defined score."
    curve = training.curve
    return (
        f"Epoch {curve.epoch[row]} of {len(curve)} is the best by "
        f"{training.objective.replace('_', ' ').replace('dice', 'Dice')}, "
        f"{number(curve.objective[row], 4)}: the model is of it."
    )


def _class_sentence(training: TrainingRecord) -> str:
    row = training.best_row
    if row is None:
        return ""
    scores = training.curve.dice[row, 1:]
    names: Sequence[str] = training.classes[1:]
    if not np.isfinite(scores).any():
        return ""
    most, least = int(np.nanargmax(scores)), int(np.nanargmin(scores))
    said = f"In the best epoch {names[most]} has a Dice of {number(scores[most])}"
    return f"{said}." if most == least else f"{said}, {names[least]} of {number(scores[least])}."
