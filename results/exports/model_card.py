"""The model card of an export: what the model is for, what it scored, and what nobody knows of it.

Its sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019) and Hugging
Face's template. It is markdown, and every number in it is one that the study has counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from results.analysis.baseline_comparison import BaselineComparison, contest
from results.analysis.confirmation import Confirmation, load_confirmation
from results.exports.card_data import data_section, leaks_of
from results.exports.card_origin import origin_section, training_section
from results.exports.card_results import limits, results_section, summary
from results.exports.choice import MODEL_NAME, Choice, class_colors
from results.exports.class_bias import ClassBias, class_bias_section
from results.exports.ensemble import Ensemble, ensemble_section
from results.exports.folder import BY_NAME, CONFIG_NAME, FLEXUNET_NAME
from results.records.evaluation import load_evaluations
from results.records.study import RecordError, StudyRecord
from results.style.markdown import block, bullets, code, plain, table
from results.style.words import NONE, count


@dataclass(frozen=True)
class FormatRow:
    """A format of the model, as it answered beside Keras.

    Attributes:
        name: What it is, in words.
        file: Its name in the export.
        size: Bytes.
        largest_difference, mean_difference: Of the probabilities, from those of Keras.
        same_class: Share of the pixels, 0-1, that get the class they get in Keras.
        milliseconds: An image, one at a time; None: it is never run on its own.
    """

    name: str
    file: str
    size: int
    largest_difference: float
    mean_difference: float
    same_class: float
    milliseconds: float | None = None


@dataclass(frozen=True)
class Conversion:
    """The model in other formats, each loaded by its own runtime and compared with Keras.

    Attributes:
        rows: A format each.
        images: What they were compared on, in words.
        keras_milliseconds: An image in Keras, measured in turns with the others.
        where: The machine that measured, in words.
    """

    rows: tuple[FormatRow, ...]
    images: str
    keras_milliseconds: float
    where: str


@dataclass(frozen=True, eq=False)
class CardFacts:
    """What a card is made of.

    Attributes:
        study: The study's records.
        choice: What is exported.
        config: Its config, constants only.
        files: Name of each file of the export and its bytes.
        lost: Settings that the reference's config file cannot express, a sentence each.
        conversion: The model's other formats; None without one.
        terms: License and citation of the data, by field, where they are stated.
        ensemble: What the model averages; None of a single one.
        class_bias: What a bias per class brought; None where none was asked for.
    """

    study: StudyRecord
    choice: Choice
    config: Mapping[str, Any]
    files: Sequence[tuple[str, int]] = ()
    lost: Sequence[str] = ()
    conversion: Conversion | None = None
    terms: Mapping[str, str] = field(default_factory=dict)
    ensemble: Ensemble | None = None
    class_bias: ClassBias | None = None

    @cached_property
    def scored(self) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        """The counts of ``evaluation/``, and what of it cannot be read."""
        return load_evaluations(self.study.path)

    @cached_property
    def set_aside(self) -> Confirmation | None:
        """The study's confirmation, finished or not, that the choice was made without."""
        if self.choice.confirmation is not None:
            return None
        try:
            return load_confirmation(self.study.path, self.study)
        except RecordError:  # nothing of it is told here
            return None

    @cached_property
    def contest(self) -> BaselineComparison:
        """The config and the baselines, measured on the best images that there are."""
        choice = self.choice
        return contest(self.study, self.scored[0], choice.confirmation, choice.trial)


def model_card(facts: CardFacts) -> str:
    """Return the card, markdown in UTF-8 that ends with a line break."""
    parts = [
        f"# Model card: {plain(facts.study.name)}, trial {facts.choice.trial.number}",
        *_warning(facts),
        *_what(facts),
        *ensemble_section(facts.ensemble, facts.study.classes),
        *class_bias_section(facts.class_bias),
        *_use(facts),
        *_input_and_output(facts),
        *data_section(facts.study, facts.terms),
        *results_section(facts.contest, facts.choice),
        "## Limits",
        bullets(limits(facts.contest, facts.choice, facts.scored, facts.set_aside)),
        *training_section(facts.study, facts.choice.trial, facts.config),
        *_files(facts),
        *_formats(facts.conversion),
        *origin_section(facts.study, facts.choice),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _warning(facts: CardFacts) -> Iterator[str]:
    for leak in leaks_of(facts.study):
        yield (
            f"> **The data leak: do not trust the scores below.** {plain(leak.rstrip('.'))}. Some "
            "of them are of objects that the model or its choice has seen."
        )


def _what(facts: CardFacts) -> Iterator[str]:
    study = facts.study
    names = [plain(name) for name in study.classes]
    yield (
        f"A FlexUNet, an encoder-decoder network with skip connections, that gives every pixel of "
        f"an image one of {count(len(names), 'class').replace('classs', 'classes')}: "
        f"{', '.join(names)}. {_found_by(facts)}"
    )
    yield bullets([*summary(facts.contest, facts.choice, facts.set_aside)])


def _found_by(facts: CardFacts) -> str:
    trials = f"{count(len(facts.study.trials), 'trial')} with flexunet-search"
    baseline = facts.choice.trial.baseline
    if baseline is None:
        return f"Its config was found by a search of {trials}."
    return f"Its config is the baseline “{plain(baseline)}”, given to a search of {trials}."


def _use(facts: CardFacts) -> Iterator[str]:
    source = plain(facts.study.data.get("source") or "the data below")
    yield "## Intended use"
    yield (
        f"To mark the classes above in images like those it was trained on ({source}): the same "
        "kind of object, camera, light and scale."
    )
    untested = [
        "Images of another source, camera, light, scale or product: nothing was measured there.",
        "Anything that is none of its classes: it has to give every pixel one of them.",
        "Its probabilities as probabilities: how well they are calibrated was not measured.",
        "Images that were damaged, or made to deceive it.",
        "Decisions that nobody checks. The scores are of pixels; how often a whole object is "
        "missed or invented stands in the study's report.",
    ]
    if facts.contest.source != "confirmed":
        aside = facts.set_aside
        why = "the test split was not scored. `confirm` does."
        if aside is not None and aside.incumbent is not None:
            why = (
                "this training was not scored on them. The study's confirmation, which trained its "
                "candidates anew, is left aside here, as asked."
            )
        untested.insert(0, f"Images that chose nothing: {why}")
    yield "It was **not** tested for:"
    yield bullets(untested)


def _input_and_output(facts: CardFacts) -> Iterator[str]:
    data = facts.config.get("data")
    told = data if isinstance(data, Mapping) else {}
    shape = facts.study.data.get("image_shape")
    height, width, channels = shape if shape else ("height", "width", "channels")
    kind = {"1": "grey", "3": "RGB"}.get(str(channels), "")
    resize = {
        "letterbox": "its aspect kept and the border filled by reflection, which is cut off again",
    }.get(str(told.get("resize")), "each side on its own")
    yield "## Input and output"
    yield bullets(
        [
            f"**In:** images [batch, {height}, {width}, {channels}]{f' ({kind})' if kind else ''}, "
            f"values 0-255. The model scales them itself ({_scaling(facts)}).",
            f"**Preparation:** an image of another size is resized to {height} x {width} pixels, "
            f"{resize}, by area where it shrinks and linearly where it grows.",
            f"**Out:** probabilities [batch, {height}, {width}, {len(facts.study.classes)}], in "
            "the order of the table; the class of a pixel is the one of the highest. For a mask of "
            "the image's own size resize the probabilities, then take the class.",
        ]
    )
    colors = class_colors(facts.study)
    rows = [
        [str(index), plain(name), _color(colors.get(name))]
        for index, name in enumerate(facts.study.classes)
    ]
    yield table(["index", "class", "colour in masks (RGB)"], rows, names=3)


def _scaling(facts: CardFacts) -> str:
    model = facts.config.get("model")
    how = model.get("input_scaling") if isinstance(model, Mapping) else None
    if how == "standardize":
        return "each image to zero mean and unit variance"
    return "divided by 255"


def _color(color: Sequence[int] | None) -> str:
    if color is None:
        return "not recorded"
    return f"{', '.join(map(str, color))} (#{''.join(f'{part:02x}' for part in color)})"


def _files(facts: CardFacts) -> Iterator[str]:
    yield "## Files"
    rows = [[code(name), _purpose(name), bytes_text(size)] for name, size in facts.files]
    yield table(["file", "what it is", "size"], rows, names=2)
    names = [name for name, _ in facts.files]
    trained = next((name for name in (CONFIG_NAME, FLEXUNET_NAME) if name in names), None)
    if trained:
        yield "Train the config in full, from scratch:"
        yield block(f"flexunet-search train {trained} OUT_DIR")
    if MODEL_NAME in names:
        yield "Or use the model as it is:"
        yield block(f"flexunet-search predict {MODEL_NAME} IMAGES OUT_DIR")
        yield block(
            f"python -c \"import keras; keras.saving.load_model('{MODEL_NAME}').summary()\""
        )
    if facts.lost:
        yield f"`{FLEXUNET_NAME}` cannot express everything. That trainer will differ in:"
        yield bullets([plain(line) for line in facts.lost])


def _purpose(name: str) -> str:
    return BY_NAME[name].use if name in BY_NAME else ""


def _formats(conversion: Conversion | None) -> Iterator[str]:
    if conversion is None:
        return
    yield "## Formats compared"
    yield (
        f"Each was loaded again by its own runtime and compared with Keras on {conversion.images}. "
        "The differences are of probabilities, 0 to 1; equal pixels get the class that Keras gives "
        f"them. Keras takes {conversion.keras_milliseconds:.1f} ms an image, measured in turns "
        f"with the others, one image at a time, on {plain(conversion.where)}."
    )
    heads = ["format", "file", *FORMAT_HEADS]
    yield table(
        heads, [[plain(r.name), code(r.file), *format_cells(r)] for r in conversion.rows], 2
    )


FORMAT_HEADS = ("size", "largest difference", "mean difference", "equal pixels", "ms an image")


def format_cells(row: FormatRow) -> list[str]:
    """Return a format's numbers for people, in the order of ``FORMAT_HEADS``."""
    return [
        bytes_text(row.size),
        f"{row.largest_difference:.2g}",
        f"{row.mean_difference:.2g}",
        f"{100 * row.same_class:.3f} %",
        NONE if row.milliseconds is None else f"{row.milliseconds:.1f}",
    ]


def bytes_text(size: int) -> str:
    """Return bytes for people: "640 B", "12.3 kB", "1.2 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"
