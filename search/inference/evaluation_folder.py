"""The folder that an evaluation leaves: scores for people, for programs, and a page of pictures."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from data_pipeline.datasets.tiling import flipped
from data_pipeline.stores.facts import decoding_threads
from foundation.files import check_movable, check_replaceable, whole_folder
from results.analysis.model_scores import class_rows, summary
from results.exports.folder import EVALUATION
from results.pages.gallery import Gallery, write_gallery
from results.records import file_names
from results.records.pictures import Picture
from results.records.schemas import Flips
from search.inference.evaluation import Evaluated, Predicts, Reader, good_images
from search.inference.evaluation_dataset import EvaluationDataset
from search.inference.model_metadata import ModelMetadata, digest_of
from search.process.hardware import git_revision, versions
from search.scoring.model import predicted
from search.scoring.pictures import picks, write_labels, write_photograph

MARK = EVALUATION
PLAIN = file_names.MODEL
NAMES = (MARK, "evaluation.csv", "evaluation.npz", "classes.csv", "gallery.html")


def default_folder(facts: ModelMetadata, held: EvaluationDataset, flips: Flips = "none") -> Path:
    """Return where an evaluation goes by default: beside the model.

    Each file of a model has a folder of its own: a best_int8.tflite must not replace what
    best.keras scored.

    Raises:
        FileExistsError: where data of the same name, but from elsewhere, were evaluated there.
    """
    parts = ["evaluation", held.split, held.name]
    if facts.path.name != PLAIN:
        parts.append(facts.path.name)
    if flips != "none":
        parts += ["flips", flips]
    name = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in "-".join(parts))
    folder = facts.path.absolute().parent / name
    earlier, now = _data_of(folder), str(held.root.absolute())
    if earlier not in (None, now):
        raise FileExistsError(
            f"{folder}: expected an evaluation of {now} to replace, found one of {earlier}; "
            "--out names another folder"
        )
    return folder


def _data_of(folder: Path) -> str | None:
    """Return the data of an earlier evaluation; None without one that can be read."""
    try:
        told = json.loads((folder / MARK).read_text(encoding="utf-8"))["data"]["path"]
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return told if isinstance(told, str) else None


def check_folder(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier evaluation.

    Raises:
        FileExistsError: naming what it holds.
    """
    check_replaceable(out, NAMES, MARK, "an earlier evaluation")
    check_movable(out)


def write_evaluation(
    done: Evaluated, model: Predicts, out: Path, *, command: str = "", threads: int = 1
) -> Path:
    """Write an evaluation's folder, whole or not at all; an earlier one there is replaced.

    Args:
        done: What was evaluated.
        model: The model, which predicts the pictures of the gallery again.
        out: The folder; see ``NAMES`` for what is in it.
        command: The command that did it, for the record.
        threads: Threads that decode.

    Returns:
        ``out``.

    Raises:
        FileExistsError: where it holds anything else.
        OSError: where it cannot be written; what was there is kept.
    """
    check_folder(out)
    facts = _facts(done, command)
    with whole_folder(out) as made:
        (made / "evaluation.csv").write_text(done.reference.csv, encoding="utf-8")
        text = json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False)
        (made / MARK).write_text(text + "\n", encoding="utf-8")
        rows = class_rows(done.table).to_csv(index=False)
        (made / "classes.csv").write_text(rows, encoding="utf-8")
        done.evaluation.save(made / "evaluation.npz")
        _write_gallery(done, model, made / "gallery.html", facts, threads)
    return out


def _facts(done: Evaluated, command: str) -> dict[str, Any]:
    """Return what evaluation.json says."""
    held, facts, evaluation = done.held, done.facts, done.evaluation
    return {
        "format": 1,
        "created": evaluation.created,
        "command": command,
        "model": {
            "path": str(facts.path.absolute()),
            "sha256": digest_of(facts.path),
            "image_shape": list(facts.image_shape),
            "resize": held.config.resize,
            "record": None if facts.source is None else str(facts.source.absolute()),
            "data_fingerprint": facts.fingerprint,
        },
        "data": {
            "path": str(held.root.absolute()),
            "source": held.source,
            "split": held.split,
            "images": len(evaluation.images),
            "groups": len(set(evaluation.groups)),
            "classes": {name: list(color) for name, color in held.classes.items()},
            "fingerprint": held.fingerprint,
            "trained_on_this_data_set": held.own,
        },
        "resolution": evaluation.resolution,
        "flips": evaluation.flips,
        "interval": {"level": 0.95, "over": "groups", "replicates": done.replicates},
        "scores": summary(done.table, evaluation),
        "reference": {
            "categorical_crossentropy": done.reference.cross_entropy,
            "dice_coef_multiclass": done.reference.pooled_dice,
            "note": "Pools all classes with the background, at the size that the model takes: "
            "misleading, for comparison with the reference alone.",
        },
        "cautions": [
            {"kind": each.kind, "text": each.text, "action": each.action, "serious": each.bad}
            for each in done.cautions
        ],
        "versions": versions(),
        "git_revision": git_revision(),
    }


def _write_gallery(
    done: Evaluated, model: Predicts, path: Path, facts: dict[str, Any], threads: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="flexunet-pictures-") as folder:
        listing = draw(done, model, Path(folder), threads)
        gallery = Gallery(
            evaluation=done.evaluation,
            table=done.table,
            reference=done.reference,
            cautions=done.cautions,
            colors=done.held.classes,
            pictures=listing,
            facts=facts,
        )
        write_gallery(gallery, path)


def draw(done: Evaluated, model: Predicts, folder: Path, threads: int) -> dict[str, Picture]:
    """Predict the worst, median and best images of each class again and write them small.

    Args:
        done: What was evaluated.
        model: Predicts them.
        folder: To write to.
        threads: Threads that decode.

    Returns:
        Their files by the image's name.
    """
    reader = Reader(done.held, done.facts.image_shape)
    evaluation = done.evaluation
    chosen = picks([evaluation])
    items = [done.items[index] for index in chosen]
    ask = flipped(model.predict, evaluation.flips)
    listing: dict[str, Picture] = {}
    with decoding_threads(threads) as pool:
        good = good_images(reader, items, pool, 2, [], whole=True)
        for place, shown, found in predicted(good, ask, 1):
            index, stem = chosen[place], folder / f"{place:04d}"
            if shown.image is not None:
                write_photograph(stem.with_suffix(".jpg"), shown.image)
            write_labels(stem.with_suffix(".truth.png"), shown.mask)
            write_labels(stem.with_suffix(".png"), reader.decide(shown, found))
            name = evaluation.images[index]
            listing[name] = Picture(
                name=name,
                group=evaluation.groups[index],
                image=stem.with_suffix(".jpg"),
                truth=stem.with_suffix(".truth.png"),
                predictions={evaluation.name: stem.with_suffix(".png")},
            )
    return listing
