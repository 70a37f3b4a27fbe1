"""The ``data`` commands: make, convert, look at and check data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

data_app = typer.Typer(help="Make, convert, look at and check data sets.", no_args_is_help=True)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")]
DataDir = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a data set.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed: the same one gives the same files.")]


@data_app.command()
def synthetic(
    out: Out,
    seed: Seed = 0,
    tiles: Annotated[int, typer.Option(min=12, help="Tiles, each seen in up to six images.")] = 60,
) -> None:
    """Make the embedded demo data: grey tiles with five kinds of defects."""
    from data_pipeline.datasets.synthetic import write_synthetic
    from search.terminal.display import image_progress

    console = Console()
    with image_progress(console, "drawing tiles") as progress:
        write_synthetic(out, seed=seed, tiles=tiles, progress=progress)
    console.print(f"data set: {out}", highlight=False, soft_wrap=True)


@data_app.command("magnetic-tile")
def magnetic_tile(
    raw: Annotated[Path, typer.Argument(metavar="RAW", help="Folder with MT_Blowhole/Imgs ...")],
    out: Out,
    free_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of defect-free images among all kept.")
    ] = 0.25,
    seed: Seed = 0,
) -> None:
    """Convert the magnetic-tile photographs, split by burst and stratified by class."""
    from data_pipeline.datasets.magnetic_tile import convert
    from search.terminal.display import image_progress

    console = Console()
    with image_progress(console, "converting") as progress:
        summary = convert(raw, out, free_share=free_share, seed=seed, progress=progress)
    _print_conversion(console, summary)


def _print_conversion(console: Console, summary: Any) -> None:
    table = Table(title=f"images (tiles) in {summary.out}")
    table.add_column("split")
    classes = list(next(iter(summary.images.values())))
    for name in classes:
        table.add_column(name, justify="right")
    for split, images in summary.images.items():
        tiles = summary.tiles[split]
        table.add_row(split, *(f"{images[name]} ({tiles[name]})" for name in classes))
    console.print(table)
    console.print(
        f"free images: {summary.free_share:.0%} of all, {summary.free_left_out} left out",
        highlight=False,
    )
    for problem in summary.skipped:
        text = Text(f"left out: {problem.path}: {problem.message}", style="yellow")
        console.print(text, soft_wrap=True)


@data_app.command()
def audit(
    directory: DataDir,
    page: Annotated[
        Path | None, typer.Option(help="Write a page of the leaking pictures, side by side.")
    ] = None,
) -> None:
    """Look for leaks between splits and other faults; exit code 1 on a leak."""
    from data_pipeline.quality.audit import audit as audit_survey
    from data_pipeline.quality.leaks_page import write_leaks

    console = Console()
    survey, items = _survey(directory, console)
    report = audit_survey(survey)
    if page is not None:
        write_leaks(survey, items, report.pairs, page)
        console.print(f"page: {page}", highlight=False, soft_wrap=True)
    styles = {"leak": "bold red", "warning": "yellow"}
    for finding in report.findings:
        style = styles.get(finding.severity, "")
        console.print(Text(f"{finding.severity}: {finding.message}", style=style), soft_wrap=True)
        for name in finding.files[:10]:
            console.print(f"    {name}", highlight=False, markup=False, soft_wrap=True)
        if len(finding.files) > 10:
            console.print(f"    and {len(finding.files) - 10} more", highlight=False)
    if not report.findings:
        console.print("no findings")
    raise typer.Exit(1 if report.leaks else 0)


@data_app.command()
def stats(
    directory: DataDir,
    page: Annotated[
        Path | None, typer.Option(help="The plotly page. Default: DIR.stats.html beside DIR.")
    ] = None,
) -> None:
    """Count images, pixels and objects per class and split, as a table and a page."""
    from data_pipeline.quality.stats import statistics, write_page

    console = Console()
    survey, _ = _survey(directory, console)
    console.print(frame_table(statistics(survey)))
    path = page or directory.with_name(f"{directory.resolve().name}.stats.html")
    write_page(survey, path)
    console.print(f"page: {path}", highlight=False, soft_wrap=True)


@data_app.command()
def resplit(
    directory: DataDir,
    out: Out,
    valid: Annotated[float, typer.Option(help="Share of the groups for validation.")] = 0.2,
    test: Annotated[float, typer.Option(help="Share of the groups for the final test.")] = 0.2,
    seed: Seed = 0,
    group_pattern: Annotated[
        str | None, typer.Option(help="Regular expression: what names the object in a stem.")
    ] = None,
    group_folders: Annotated[
        bool,
        typer.Option("--group-folders", help="Sub-folders of images/ name the objects."),
    ] = False,
    groups: Annotated[
        Path | None, typer.Option(help="CSV with the columns stem and group; overrules names.")
    ] = None,
    likeness: Annotated[
        bool, typer.Option(help="Join groups of which two pictures are nearly the same.")
    ] = True,
) -> None:
    """Copy a data set, divided again so that no object is in two splits."""
    from pydantic import ValidationError

    from data_pipeline.config import DataConfig, SplitConfig
    from data_pipeline.quality.resplit import resplit as divide
    from search.config.errors import ConfigError
    from search.terminal.display import image_progress

    try:
        split = SplitConfig(
            valid=valid, test=test, seed=seed, group_pattern=group_pattern,
            group_folders=group_folders,
        )  # fmt: skip
    except ValidationError as error:
        problems = [item["msg"].removeprefix("Value error, ") for item in error.errors()]
        raise ConfigError("data resplit", problems) from None
    config = DataConfig(source=str(directory), split=split)
    console = Console()
    with image_progress(console, "reading images") as progress:
        done = divide(config, out, groups=groups, likeness=likeness, progress=progress)
    for name, count in done.images.items():
        console.print(f"{name}: {count} images of {done.groups[name]} groups", highlight=False)
    if likeness:
        console.print(f"groups joined by likeness: {done.joined}", highlight=False)
    if done.moved is not None:
        console.print(f"in another split than before: {done.moved}", highlight=False)
    console.print(f"data set: {done.out}", highlight=False, soft_wrap=True)


@data_app.command("offline-augment")
def offline_augment(
    directory: DataDir,
    out: Out,
    config: Annotated[
        Path | None, typer.Option(help="A study's or an exported YAML: its augment section.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="light, default or strong; the config's augment.preset.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As in run.")
    ] = None,
    operations: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Only these: hflip,vflip,rotation,elastic, ..."),
    ] = None,
    copies: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of an image, of operations drawn together. Default: 3."),
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Instead: a copy an operation, named by it.")
    ] = False,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="H W", help="Bring images and masks to this size. Default: native."),
    ] = None,
    mask_format: Annotated[
        str, typer.Option(help="png: RGB by the class colours. npz: one-hot.")
    ] = "png",
    seed: Seed = 0,
    splits: Annotated[
        str, typer.Option(help="What is augmented: train, and nothing else.")
    ] = "train",
) -> None:
    """Copy a data set with augmented training images, for a trainer that cannot augment."""
    from search.process.stderr_redirect import start_tensorflow

    start_tensorflow()
    from data_pipeline.augmentation.offline import offline_augment as augment
    from search.config.loading import config_from_overrides, load_config
    from search.terminal.display import image_progress

    presets = [f"augment.preset={preset}"] if preset is not None else []
    told = [*(overrides or ()), *presets]
    study = load_config(config, told) if config else config_from_overrides(told)
    recipe = _recipe(study, operations, copies, each, size, mask_format, seed, splits)
    console = Console()
    with image_progress(console, "augmenting") as progress:
        data = study.data.model_copy(update={"source": str(directory)})
        written = augment(data, out, recipe, progress=progress)
    _print_written(console, written)


def _recipe(
    study: Any,
    operations: str | None,
    copies: int | None,
    each: bool,
    size: tuple[int, int] | None,
    mask_format: Any,
    seed: int,
    splits: str,
) -> Any:
    """Return what the options ask for; all that cannot be are in one error."""
    from data_pipeline.augmentation.offline_plan import Recipe, choose_operations
    from search.config.errors import ConfigError

    problems = []
    if splits != "train":
        problems.append(
            f"--splits: expected train, received {splits}: valid and test choose and judge models "
            "by pictures as they are, and copies of one picture count as many"
        )
    if each and copies is not None:
        problems.append("expected --copies or --each, received both: --each writes one of each")
    searched = [name for name in study.space if name.startswith("augment.")]
    problems += [f"{name}: expected a constant, found what is searched" for name in searched]
    try:
        # A model's fields may be searched: they have no part in this.
        augment = study.at({name: d.probes()[0] for name, d in study.space.items()}).augment
        if operations is not None:
            augment = choose_operations(augment, operations.split(","))
        number = None if each else 3 if copies is None else copies
        recipe = Recipe(augment, number, size, mask_format, seed)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError("data offline-augment", problems)
    return recipe


def _print_written(console: Console, written: Any) -> None:
    for name, count in written.images.items():
        copies = f", {len(written.copies)} of them augmented copies" if name == "train" else ""
        console.print(f"{name}: {count} images{copies}", highlight=False)
    if written.unchanged:
        console.print(
            f"copies left out, since they would be their originals: {len(written.unchanged)}",
            highlight=False,
        )
    for leak in written.leaks:
        console.print(Text(f"leak, there before: {leak}", style="bold red"), soft_wrap=True)
    console.print(f"data set: {written.out}", highlight=False, soft_wrap=True)


@data_app.command()
def preview(
    directory: Annotated[str, typer.Argument(metavar="DATA", help="Folder, or 'synthetic'.")],
    config: Annotated[
        Path | None, typer.Option(help="A study's YAML: its data and augment sections.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As in run.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Training images shown.")] = 8,
    samples: Annotated[int, typer.Option(min=1, help="Augmented samples of each.")] = 6,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The page; with the suffix .png one picture.")] = Path(
        "augmentation.html"
    ),
) -> None:
    """Show what a config's augmentation does to the training images, masks outlined."""
    from search.process.stderr_redirect import start_tensorflow

    start_tensorflow()
    from data_pipeline.augmentation.preview import preview as augmented
    from data_pipeline.augmentation.preview import write_preview
    from data_pipeline.stores.prepare import prepare
    from search.config.errors import ConfigError
    from search.config.loading import config_from_overrides, load_config
    from search.terminal.display import image_progress

    study = (
        load_config(config, overrides or ()) if config else config_from_overrides(overrides or ())
    )
    console = Console()
    with image_progress(console, "reading images") as progress:
        data = study.data.model_copy(update={"source": directory})
        store = prepare(data, progress=progress)
    # Of what is searched, the far end: what a trial may meet at most.
    augment = study.at({n: max(d.probes(), key=_far) for n, d in study.space.items()}).augment
    try:
        rows = augmented(store, augment, images, samples, seed)
    except ValueError as error:
        raise ConfigError(str(config or directory), [f"augment: {error}"]) from None
    write_preview(store, augment, rows, out)
    console.print(f"preview: {out}", highlight=False, soft_wrap=True)


def _far(value: Any) -> float:
    from data_pipeline.augmentation.operations import PRESETS

    order = list(PRESETS)
    if isinstance(value, str):
        return order.index(value) if value in order else 0
    return float(value or 0)


def _survey(directory: Path, console: Console) -> tuple[Any, Any]:
    from data_pipeline.config import DataConfig
    from data_pipeline.stores.survey import survey_with_files
    from search.terminal.display import image_progress

    with image_progress(console, "reading images") as progress:
        return survey_with_files(DataConfig(source=str(directory)), progress=progress)


def frame_table(frame: Any) -> Table:
    """Return a pandas frame as a rich table: numbers to the right, missing ones as '–'."""
    table = Table()
    for name, column in frame.items():
        numeric = column.dtype.kind in "iuf"
        table.add_column(str(name), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN is unlike itself
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
