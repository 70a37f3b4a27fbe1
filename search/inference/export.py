"""An export with all that it can hold: the schema, the model in other formats, compared on images.

``results`` writes the folder and loads no TensorFlow; here it is handed what does. TensorFlow is
loaded when such a format is asked for.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import find_prepared
from results.exports.class_bias import ClassBias
from results.exports.ensemble import Ensemble, Member
from results.exports.export import Exported, ExportError, ExportOptions, Services, export_best
from results.exports.folder import BY_NAME, FILES
from results.exports.model_card import Conversion, FormatRow
from results.records import file_names
from results.records.study import StudyRecord, load_study
from search.config.loading import json_schema
from search.process.hardware import describe_machine
from search.study.record import data_terms

if TYPE_CHECKING:
    from model.runtimes import FormatCheck

IMAGES = 8

Images = NDArray[np.uint8]
_NOISE = (
    "{count} images of seeded noise, for the prepared data are out of reach (on real images the "
    "differences may be other ones)"
)


def export_study(study_dir: Path, out_dir: Path, options: ExportOptions) -> Exported:
    """Export from a study all that is asked for.

    Args:
        study_dir: The study directory.
        out_dir: A new folder, an empty one or an earlier export.
        options: What is asked for.

    Raises:
        model.inference.ModelError: for a format that the model cannot have, or whose packages are
            not installed.
        RecordError, ExportError, OSError: as :func:`results.exports.export.export_best`.
    """
    study = load_study(study_dir)
    data = _data_of(study)
    services = Services(
        schema=json_schema(),
        convert=functools.partial(convert, study, data) if options.model_formats else None,
        join=functools.partial(joined, study, data) if options.ensemble else None,
        fit_bias=functools.partial(biased, study, data) if options.class_bias else None,
        terms=data_terms(data, study.data.get("source")) if data is not None else {},
    )
    return export_best(study_dir, out_dir, options, services)


def joined(
    study: StudyRecord,
    data: DataConfig | None,
    wish: str,
    members: tuple[Member, ...],
    folder: Path,
) -> Ensemble:
    """Join models into one that averages them, and score it; see :func:`ensemble.join`."""
    from search.inference.ensemble import join
    from search.process.stderr_redirect import quiet_tensorflow

    with quiet_tensorflow():
        return join(study, data, wish, members, folder)


def biased(study: StudyRecord, data: DataConfig | None, model: Path, folder: Path) -> ClassBias:
    """Fit a bias per class and make it part of a model; see :func:`with_class_bias`."""
    from search.inference.class_bias import with_class_bias
    from search.process.stderr_redirect import quiet_tensorflow

    with quiet_tensorflow():
        return with_class_bias(study, data, model, folder)


def _data_of(study: StudyRecord) -> DataConfig | None:
    """Return the study's data as its record has them; None where that cannot be read."""
    given = study.config.get("data")
    try:
        return DataConfig.model_validate(dict(given) if isinstance(given, Mapping) else given)
    except ValidationError:
        return None


def convert(
    study: StudyRecord,
    data: DataConfig | None,
    model_path: Path,
    folder: Path,
    formats: tuple[str, ...],
) -> Conversion:
    """Write a model in other formats, load each again by its own runtime, and compare.

    Args:
        study: The study, whose images to compare on.
        data: Its data.
        model_path: The ``.keras`` file.
        folder: Where the files go.
        formats: Of ``results.exports.folder.MODEL_FORMATS``.

    Raises:
        ExportError: where the study does not tell how its images were resized.
        model.inference.ModelError: as :func:`export_study`.
    """
    from search.process.stderr_redirect import quiet_tensorflow

    if data is None:
        raise ExportError(
            f"{study.path / file_names.STUDY}: expected a section data as a study has it, to know "
            "how images were resized"
        )
    # TensorFlow and the runtimes tell there what devices they found.
    with quiet_tensorflow():
        return _converted(study, data, model_path, folder, formats)


def _converted(
    study: StudyRecord,
    data: DataConfig,
    model_path: Path,
    folder: Path,
    formats: tuple[str, ...],
) -> Conversion:
    from model.exporting import write_format
    from model.inference import load_model
    from model.runtimes import compare, size_of

    model = load_model(model_path)
    for name in formats:
        write_format(model, name, [folder / file for file in FILES[name]], resize=data.resize)
    files = {name: folder / name for each in formats for name in FILES[each]}
    images, told = comparison_images(study, data, model.input_shape[1:])
    with tempfile.TemporaryDirectory() as scratch:
        runnable = {
            name: _filled(model, path, Path(scratch)) if path.suffix == ".h5" else path
            for name, path in files.items()
        }
        checks = compare(model_path, runnable, images)
    rows = tuple(_row(check, size_of(files[check.name])) for check in checks)
    return Conversion(rows, told, checks[0].keras_milliseconds, _machine())


def _filled(model: Any, weights: Path, scratch: Path) -> Path:
    """Return a model to compare in the place of weights alone: built again, with these weights."""
    import keras

    anew = keras.models.clone_model(model)
    anew.load_weights(weights)
    anew.save(scratch / f"{weights.name}.keras")
    return scratch / f"{weights.name}.keras"


def _row(check: FormatCheck, size: int) -> FormatRow:
    weights = check.name.endswith(".h5")
    return FormatRow(
        name=BY_NAME[check.name].kind,
        file=check.name,
        size=size,
        largest_difference=check.largest_difference,
        mean_difference=check.mean_difference,
        same_class=check.same_class,
        milliseconds=None if weights else check.milliseconds,
    )


def comparison_images(
    study: StudyRecord, data: DataConfig, shape: tuple[int, int, int]
) -> tuple[Images, str]:
    """Choose images to compare formats on: of the study's data, where they are in reach.

    Args:
        study: The study.
        data: Its data.
        shape: (height, width, channels) that the model takes.

    Returns:
        uint8 [N, H, W, C], at most 8, and what they are in words.
    """
    store = find_prepared(data, study.data_fingerprint)
    if store is None or store.image_shape != tuple(shape):
        drawn = np.random.default_rng(0).integers(0, 256, (IMAGES, *shape), np.uint8)
        return drawn, _NOISE.format(count=IMAGES)
    split = "valid" if "valid" in store.splits else next(iter(store.splits))
    # Images with something to find tell more; evenly spaced, they are of many objects.
    rows = np.flatnonzero(store.splits[split].pixels[:, 1:].sum(axis=1))
    if not len(rows):
        rows = np.arange(store.splits[split].count)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, IMAGES).round().astype(int))]
    images = np.stack([store.read(split, int(row))[0] for row in rows])
    return images, f"{len(rows)} images of the study's {split} split"


def _machine() -> str:
    told = describe_machine()
    gpus = told["gpus"] or ["no GPU"]
    return f"{told['cpu'] or 'an unknown CPU'}, {told['cores']} cores, {', '.join(gpus)}"
