"""The study's best config and model in a folder of their own, ready for production.

What needs TensorFlow, the model's other formats, is handed in: see ``search/inference/export.py``.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foundation.files import whole_folder
from results.exports.choice import (
    MODEL_NAME,
    Choice,
    ExportError,
    best_config,
    choose,
    chosen,
    class_colors,
    exported_config,
)
from results.exports.class_bias import ClassBias
from results.exports.ensemble import Ensemble, Member, check_members, members_of
from results.exports.folder import (
    CARD_NAME,
    CONFIG_NAME,
    FLEXUNET_NAME,
    SCHEMA_NAME,
    check_out,
    keep_evaluations,
)
from results.exports.model_card import CardFacts, Conversion, model_card
from results.exports.options import ExportOptions
from results.exports.text import choice_line, config_text
from results.flexunet.mapping import FlexUNetExport, to_flexunet
from results.flexunet.places import images_root
from results.records import file_names
from results.records.study import StudyRecord, load_study

__all__ = [
    "ExportError",
    "ExportOptions",
    "Exported",
    "Services",
    "best_config",
    "export_best",
    "models_to_export",
]

# Takes a .keras file, the folder to write to and the formats.
Convert = Callable[[Path, Path, tuple[str, ...]], Conversion]
# Takes what is asked for, the members and a folder for the model.
Join = Callable[[str, tuple[Member, ...], Path], Ensemble]
# Takes a .keras file and a folder for the model.
FitBias = Callable[[Path, Path], ClassBias]


@dataclass(frozen=True)
class Services:
    """What an export needs from outside of ``results``.

    Attributes:
        schema: The JSON schema of a config; None: none is written.
        convert: Writes the model in formats that need TensorFlow, and compares them.
        join: Joins models into one that averages them, and scores it.
        fit_bias: Fits a bias per class and makes it part of a model.
        terms: License and citation of the data, by field; of those that the study's record lacks.
    """

    schema: str | None = None
    convert: Convert | None = None
    join: Join | None = None
    fit_bias: FitBias | None = None
    terms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        out: The folder.
        choice: What was chosen and why, in a line.
        files: Name of each file, or folder, and its bytes.
        lost: Settings that the reference's config file cannot express, a sentence each.
        conversion: The model's other formats; None without one.
        notes: What the reference's config file says that its trainer ignores, and which of the
            data it names are not there, a sentence each.
        kept: Evaluations that were in the folder of an earlier export, and still are.
        ensemble: What the model averages; None of a single one.
        class_bias: What a bias per class brought; None where none was asked for.
    """

    out: Path
    choice: str
    files: tuple[tuple[str, int], ...]
    lost: tuple[str, ...] = ()
    conversion: Conversion | None = None
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    ensemble: Ensemble | None = None
    class_bias: ClassBias | None = None

    @property
    def next_command(self) -> str | None:
        """The command that trains the exported config in full; None where no config is there."""
        names = [name for name, _ in self.files]
        for name in (CONFIG_NAME, FLEXUNET_NAME):
            if name in names:
                return f"flexunet-search train {shlex.quote(str(self.out / name))} OUT_DIR"
        return None


def export_best(
    study_dir: Path | str,
    out_dir: Path | str,
    options: ExportOptions | None = None,
    services: Services | None = None,
) -> Exported:
    """Write the best config, its model and a model card into ``out_dir``.

    Of a study that was confirmed it is the config that confirmed best, with the model of its
    training of the highest *validation* value: what it scored on the test split chooses nothing.
    Else it is the COMPLETE trial of the highest value. The folder appears in one step, whole; an
    earlier export there is replaced, but for the evaluations beside its model.

    Args:
        study_dir: the study directory.
        out_dir: folder to write: a new one, an empty one or an earlier export.
        options: what is asked for; None: the defaults.
        services: what comes from outside; None: no schema, no formats that need TensorFlow.

    Returns:
        What was written.

    Raises:
        RecordError: for a directory that cannot be read as a study.
        ExportError: if no trial is COMPLETE with a value, there is no such trial, its checkpoint is
            missing, its parameters do not fit the config, ``out_dir`` holds other files, a setting
            is lost although ``options.strict``, or a format cannot be had.
        OSError: where ``out_dir`` cannot be written.
    """
    options, services = options or ExportOptions(), services or Services()
    study, out = load_study(study_dir), Path(out_dir)
    find = choose if "keras" in options.formats or options.model_formats else chosen
    choice = find(study, options.trial, options.of_the_search, options.confirmed)
    config = exported_config(study, choice)
    check_out(out)
    texts, reference = _texts(study, choice, config, options, services)
    lost = tuple(map(str, reference.lost)) if reference else ()
    facts = CardFacts(study, choice, config, lost=lost, terms=_terms(study, services))
    with tempfile.TemporaryDirectory() as scratch, whole_folder(out) as made:
        ensemble = _ensemble(study, choice, options, services, Path(scratch))
        bias = _class_bias(choice, options, services, Path(scratch))
        model = (ensemble or bias or choice).model
        for name, text in texts.items():
            (made / name).write_text(text, encoding="utf-8")
        if "keras" in options.formats:
            shutil.copyfile(_whole_model(model), made / MODEL_NAME)
        conversion = _convert(model, made, options, services)
        facts = replace(facts, files=_files(made), conversion=conversion)
        facts = replace(facts, ensemble=ensemble, class_bias=bias)
        (made / CARD_NAME).write_text(model_card(facts), encoding="utf-8")
        files = _files(made)
        kept = keep_evaluations(out, made)
    notes = reference.notes if reference else ()
    line = choice_line(study, choice)
    return Exported(out, line, files, lost, conversion, notes, kept, ensemble, bias)


def _ensemble(
    study: StudyRecord, choice: Choice, options: ExportOptions, services: Services, scratch: Path
) -> Ensemble | None:
    if options.ensemble is None:
        return None
    if services.join is None:
        raise ExportError("--ensemble: expected what joins models, received none")
    members = members_of(study, choice, options.ensemble)
    check_members(members, options.ensemble)
    return services.join(options.ensemble, members, scratch)


def models_to_export(study_dir: Path, options: ExportOptions) -> tuple[Path, ...]:
    """Return where the models are that an export takes, below the study directory.

    Raises:
        RecordError, ExportError: as ``export_best``, but for a model that is missing.
    """
    study = load_study(study_dir)
    choice = chosen(study, options.trial, options.of_the_search, options.confirmed)
    if options.ensemble is None:
        return (choice.model,)
    return tuple(member.model for member in members_of(study, choice, options.ensemble))


def _whole_model(path: Path) -> Path:
    """Return the path of a model, which no other use of it would have shown to be damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            torn = file.testzip()
    except zipfile.BadZipFile as error:
        raise ExportError(f"{path}: expected a whole .keras file, received {error}") from None
    if torn is not None:
        raise ExportError(f"{path}: expected a whole .keras file, received a damaged {torn} in it")
    return path


def _texts(
    study: StudyRecord,
    choice: Choice,
    config: Mapping[str, Any],
    options: ExportOptions,
    services: Services,
) -> tuple[dict[str, str], FlexUNetExport | None]:
    """Return the config files by name, and what came of the reference's."""
    texts: dict[str, str] = {}
    reference = None
    if "yaml" in options.formats:
        schema = SCHEMA_NAME if services.schema is not None else None
        texts[CONFIG_NAME] = config_text(study, choice, config, CONFIG_NAME, schema)
        if services.schema is not None:
            texts[SCHEMA_NAME] = services.schema
    if "flexunet" in options.formats:
        reference = _flexunet(study, config, options)
        texts[FLEXUNET_NAME] = reference.text
    return texts, reference


def _flexunet(
    study: StudyRecord, config: Mapping[str, Any], options: ExportOptions
) -> FlexUNetExport:
    """Return the reference's config file, what it cannot express, and what to mind.

    Raises:
        ExportError: for classes without colours, and of a strict export for each setting lost.
    """
    colors = class_colors(study)
    if not colors:
        raise ExportError(
            f"expected a colour of each class in {study.path / file_names.DATA}, which "
            f"{FLEXUNET_NAME} names, found none: it was recorded by an older version"
        )
    root, notes = images_root(config) if options.images_root is None else (options.images_root, ())
    try:
        made = to_flexunet(
            config,
            classes=colors,
            images_root=root,
            mask_format=options.mask_format or ".png",
            counts=_images(study),
            notes=notes,
        )
    except (ValueError, TypeError, AttributeError) as error:  # what was written by hand, too
        raise ExportError(
            f"{study.path / file_names.STUDY}: expected a config as a study has it: {error}"
        ) from None
    if options.strict and made.lost:
        shown = "\n".join(f"  - {line}" for line in made.lost)
        raise ExportError(
            f"--strict: expected settings that {FLEXUNET_NAME} can express, received "
            f"{len(made.lost)} that it cannot:\n{shown}"
        )
    return made


def _images(study: StudyRecord) -> dict[str, int]:
    """Return images of each split, as far as the record tells."""
    splits = study.data.get("splits")
    told = splits if isinstance(splits, Mapping) else {}
    return {name: facts["images"] for name, facts in told.items() if "images" in facts}


def _class_bias(
    choice: Choice, options: ExportOptions, services: Services, scratch: Path
) -> ClassBias | None:
    if not options.class_bias:
        return None
    if choice.run is not None and choice.run.fold is not None:
        raise ExportError(
            f"--class-bias: expected a model whose validation split is the study's, received "
            f"{choice.run.name}, which was trained on most of that; --searched takes the search's"
        )
    if services.fit_bias is None:
        raise ExportError("--class-bias: expected what fits it, received none")
    return services.fit_bias(choice.model, scratch)


def _convert(
    model: Path, made: Path, options: ExportOptions, services: Services
) -> Conversion | None:
    wanted = options.model_formats
    if not wanted:
        return None
    if services.convert is None:
        raise ExportError(f"expected what writes the formats {', '.join(wanted)}, received none")
    return services.convert(model, made, wanted)


def _terms(study: StudyRecord, services: Services) -> dict[str, str]:
    told = {name: study.data.get(name) for name in ("license", "citation")}
    return {
        **services.terms,
        **{name: text for name, text in told.items() if isinstance(text, str)},
    }


def _files(folder: Path) -> tuple[tuple[str, int], ...]:
    """Name and bytes of what a folder holds, a folder's files together."""
    return tuple((path.name, _size(path)) for path in sorted(folder.iterdir()))


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
