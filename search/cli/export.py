"""The command ``export``: a study's best config and model in a folder of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from search.cli.options import StudyDir

if TYPE_CHECKING:
    from results.exports.export import Exported
    from results.exports.model_card import Conversion


def export(
    study_dir: StudyDir,
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder to write.")],
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="A,B,...",
            help="Of yaml, flexunet, keras, savedmodel, onnx, tflite, h5; or all.",
        ),
    ] = "yaml,keras",
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", help="Export this trial instead.")
    ] = None,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="Nothing but a config that confirmed best.")
    ] = False,
    searched: Annotated[
        bool, typer.Option("--searched", help="The search's own best, whatever was confirmed.")
    ] = False,
    ensemble: Annotated[
        str | None,
        typer.Option(
            "--ensemble",
            metavar="folds|seeds|top:K",
            help="Average the models of the confirmed config's trainings, or of the best K trials.",
        ),
    ] = None,
    class_bias: Annotated[
        bool,
        typer.Option(
            "--class-bias",
            help="Fit a bias per class to the validation split, and keep it where it helps.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="flexunet: refuse settings that its trainer lacks."),
    ] = False,
    images_root: Annotated[
        str | None,
        typer.Option(
            "--images-root",
            metavar="PATH",
            help="flexunet: the folder of train/, valid/ and test/; default: data.source.",
        ),
    ] = None,
    mask_format: Annotated[
        str | None,
        typer.Option(
            "--mask-format",
            metavar=".png|.npz",
            help="flexunet: the masks' files; default: .png.",
        ),
    ] = None,
) -> None:
    """Write the best config (best.yaml), a model of it (best.keras) and a model card.

    The best is the config that `confirm` found; before that the best trial of the search. Other
    formats of the model are loaded again by their own runtimes and compared with Keras.
    """
    from results.exports.export import ExportOptions
    from results.exports.options import parse_formats
    from search.inference.export import export_study
    from search.storage.object_store import fetch_exported

    options = ExportOptions(
        formats=parse_formats(formats),
        trial=trial,
        searched=searched,
        confirmed=confirmed,
        strict=strict,
        images_root=images_root,
        mask_format=mask_format,
        ensemble=ensemble,
        class_bias=class_bias,
    )
    fetch_exported(study_dir, options)
    _show(Console(), export_study(study_dir, out_dir, options))


def _show(console: Console, done: Exported) -> None:
    from results.exports.model_card import bytes_text
    from results.style.words import count

    def tell(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    tell(done.choice)
    if done.ensemble is not None:
        tell(done.ensemble.line())
    if done.class_bias is not None:
        tell(done.class_bias.line())
    tell(f"exported: {done.out}")
    width = max(len(name) for name, _ in done.files)
    for name, size in done.files:
        tell(f"  {name:{width}}  {bytes_text(size)}")
    if done.lost:
        tell(f"train_eval_infer.config cannot express {count(len(done.lost), 'setting')}:")
    for line in done.lost:
        tell(f"  - {line}")
    for line in done.notes:
        tell(f"mind: {line}")
    for name in done.kept:
        tell(f"kept: {name}, measured on the model that was here before")
    if done.conversion is not None:
        _show_conversion(console, done.conversion)
    if done.next_command is not None:
        tell(f"next: {done.next_command}")


def _show_conversion(console: Console, conversion: Conversion) -> None:
    from rich.table import Table
    from rich.text import Text

    from results.exports.model_card import FORMAT_HEADS, format_cells

    table = Table("format", title="Compared with Keras", title_justify="left")
    for head in FORMAT_HEADS:
        table.add_column(head, justify="right")
    for row in conversion.rows:
        table.add_row(Text(row.name), *format_cells(row))
    console.print(table)
    console.print(
        f"on {conversion.images}; Keras: {conversion.keras_milliseconds:.1f} ms an image, "
        f"{conversion.where}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
