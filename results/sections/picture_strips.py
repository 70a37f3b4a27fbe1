"""The worst, the median and the best images of each class as panels beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from results.analysis import scores
from results.figures import image_panels
from results.records.evaluation import Evaluation
from results.records.pictures import (
    UNCOUNTED,
    Picture,
    PictureError,
    Pixels,
    read_labels,
    read_photograph,
)
from results.style.words import count, listed, number
from results.tables.pictures import chosen_images, error_pixels, image_scores

MOST_CLASSES = 6

LEGEND = (
    {"kind": "missed", "text": "missed: a defect predicted as background"},
    {"kind": "invented", "text": "invented: background predicted as a defect"},
    {"kind": "confused", "text": "confused: one class predicted as another"},
    {"kind": "outline", "text": "the truth, outlined in white"},
)

_CALLED = {"best": "best trial", "baseline": "baseline"}


class Strips:
    """Makes the strips of scored models; a picture is drawn once.

    Args:
        models: Their counts by key: "best", "baseline" or any other.
        classes: Names, background first.
        listing: Pictures by the image's name.
        most: Classes to show.
    """

    def __init__(
        self,
        models: Mapping[str, Evaluation],
        classes: Sequence[str],
        listing: Mapping[str, Picture],
        most: int = MOST_CLASSES,
    ) -> None:
        self._models = models
        self._classes = tuple(classes)
        self._listing = listing
        self._most = most
        self._images = {key: image_scores(each) for key, each in self._models.items()}
        self._scene = cache(self._read_scene)
        self._labels = cache(read_labels)
        self._truth = cache(self._draw_truth)
        self._photograph = cache(self._draw_photograph)
        self._seen = cache(self._draw_seen)

    def view(self, key: str) -> dict[str, Any]:
        """Return the strips of a model: of the classes it is worst at, by class."""
        evaluation = self._models[key]
        chosen = chosen_images(evaluation)
        dice = scores.dice(evaluation.counts.sum(axis=0))
        of_class = {name: float(dice[i]) for i, name in enumerate(evaluation.classes)}
        ranked = sorted(dict.fromkeys(chosen["class"]), key=lambda name: of_class[name])
        shown = ranked[: self._most]
        errors = error_pixels(evaluation)
        return {
            "says": _says(evaluation, errors, chosen),
            "note": _note(evaluation, ranked, shown),
            "classes": [
                {
                    "name": name,
                    "dice": number(of_class[name]),
                    "images": count(int(rows["images"].iloc[0]), "image"),
                    "rows": [self._row(key, row, errors) for row in rows.to_dict("records")],
                }
                for name in shown
                for rows in [chosen[chosen["class"] == name]]
            ]
            if self._listing
            else [],
        }

    def _row(self, key: str, row: Mapping[Any, Any], errors: pd.DataFrame) -> dict[str, Any]:
        name = str(row["image"])
        view = {"place": row["place"], "image": name, "group": row["group"], "panels": []}
        view |= {"dice": number(row["dice"]), "mean": number(row["mean"]), "problem": ""}
        picture = self._listing.get(name)
        if picture is None:
            return view | {"problem": "No picture of this image was drawn."}
        try:
            return view | {"panels": self._panels(key, picture, row, errors.loc[[name]].iloc[0])}
        except PictureError as error:
            return view | {"problem": str(error)}

    def _panels(
        self, key: str, picture: Picture, row: Mapping[Any, Any], errors: pd.Series
    ) -> list[dict[str, Any]]:
        model, name = self._models[key].name, picture.name
        if model not in picture.predictions:
            raise PictureError(f"No picture of the prediction of {model} was drawn.")
        seen = self._labels(picture.predictions[model])
        truth = self._labels(picture.truth)
        wrong = image_panels.data_uri(image_panels.mistaken(self._scene(name), seen))
        made = [
            ("Image", self._photograph(name), ""),
            ("Truth", self._truth(name), self._named(truth)),
            (
                f"Prediction, {_CALLED.get(key, key)}",
                self._seen(name, model),
                f"Dice {number(row['dice'])}, mean {number(row['mean'])}. {self._named(seen)}",
            ),
            ("Errors", wrong, _error_words(errors)),
        ]
        made += self._other(key, picture, str(row["class"]))
        height, width = self._scene(name).truth.shape
        size = {"width": width, "height": height}
        return [
            {"title": title, "src": src, "text": text, **size}
            | {"alt": f"{title} of {name}. {text}".strip()}
            for title, src, text in made
        ]

    def _other(self, key: str, picture: Picture, label: str) -> list[tuple[str, str, str]]:
        """Return the other model's prediction of the same picture, where it was scored too."""
        made = []
        for other, evaluation in self._models.items():
            if other == key or evaluation.name not in picture.predictions:
                continue
            table = self._images[other]
            if picture.name not in table.index:
                continue
            row = table.loc[[picture.name]].iloc[0]
            dice = float(row[self._classes.index(label)])
            seen = self._named(self._labels(picture.predictions[evaluation.name]))
            text = f"Dice {number(dice)}, mean {number(float(row['mean']))}. {seen}"
            title = f"Prediction, {_CALLED.get(other, other)}"
            made.append((title, self._seen(picture.name, evaluation.name), text))
        return made

    def _named(self, labels: Pixels) -> str:
        classes = self._classes
        found = [i for i in np.unique(labels).tolist() if i not in (scores.BACKGROUND, UNCOUNTED)]
        return listed([classes[i] if i < len(classes) else f"class {i}" for i in found]) or (
            "Background alone"
        )

    def _read_scene(self, name: str) -> image_panels.Scene:
        picture = self._listing[name]
        return image_panels.scene(read_photograph(picture.image), self._labels(picture.truth))

    def _draw_photograph(self, name: str) -> str:
        return image_panels.data_uri(self._scene(name).photograph)

    def _draw_truth(self, name: str) -> str:
        shown = self._scene(name)
        return image_panels.data_uri(image_panels.labelled(shown, shown.truth))

    def _draw_seen(self, name: str, model: str) -> str:
        labels = self._labels(self._listing[name].predictions[model])
        return image_panels.data_uri(image_panels.labelled(self._scene(name), labels))


def _error_words(errors: pd.Series) -> str:
    parts = [f"{int(errors[k]):,} px {k}" for k in ("missed", "invented", "confused") if errors[k]]
    text = ", ".join(parts) if parts else "No pixel is wrong"
    return f"{text}; the truth is {int(errors['true']):,} px"


def _says(evaluation: Evaluation, errors: pd.DataFrame, chosen: pd.DataFrame) -> str:
    total = errors[["missed", "invented", "confused"]].sum()
    wrong = int(total.sum())
    if not wrong:
        return f"Not a pixel of {count(len(errors), 'image')} is wrong."
    kind = str(total.index[int(np.argmax(total))])
    what = {
        "missed": "defects missed",
        "invented": "defects invented",
        "confused": "one defect taken for another",
    }[kind]
    says = f"Of all wrong pixels {100 * total[kind] / wrong:.0f} % are {what}"
    true = evaluation.counts[..., 0] + evaluation.counts[..., 2]
    shows = true[:, scores.BACKGROUND + 1 :].sum(axis=1) > 0
    hits = evaluation.counts[:, scores.BACKGROUND + 1 :, 0].sum(axis=1) > 0
    unseen = int((shows & ~hits).sum())
    says += (
        f"; in {unseen} of {count(int(shows.sum()), 'image')} with a defect not one pixel is right"
    )
    zero = chosen[(chosen["dice"] == 0) & chosen["place"].str.contains("median")]["class"]
    if len(zero):
        says += f". At least half of the images with {listed(list(zero))} have a Dice of zero"
    return says + "."


def _note(evaluation: Evaluation, ranked: list[str], shown: list[str]) -> str:
    note = (
        f"{count(len(evaluation.images), 'image')} of the {evaluation.split} split. Worst, median "
        "and best: by the image's Dice of the class, among the images that show it; mean: over "
        "the foreground classes of that image."
    )
    if len(shown) < len(ranked):
        note += f" Shown are the {len(shown)} of {len(ranked)} classes of the lowest Dice."
    return note
