"""What a saved model is for: its images, its classes and their colours, the data it was trained on.

A model file tells the size of its images and the number of its classes alone. The rest stands in a
file beside it: what ``export``, ``train`` or a study has recorded.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from data_pipeline.config import SYNTHETIC, Color, DataConfig
from data_pipeline.datasets.dataset_yaml import read_dataset_yaml
from data_pipeline.datasets.synthetic import CLASSES as SYNTHETIC_CLASSES
from data_pipeline.problems import DataError
from results.records import file_names
from results.style.palette import CLASS_COLORS
from search.config.errors import ConfigError
from search.config.loading import load_config
from search.config.yaml_source import YamlSource

BESIDE = (file_names.TRAINING, file_names.CONFIG)
STUDY = file_names.STUDY

_YAML = (".yaml", ".yml")
_GOLDEN = 0.618034  # of the colour wheel: neighbours in number are far apart in hue


class Opened(Protocol):
    """A model that is open, as ``model.runtimes.open_predictor`` returns it."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) that it takes."""

    @property
    def num_classes(self) -> int:
        """Classes, the background included."""


@dataclass(frozen=True)
class ModelMetadata:
    """What is known of a model.

    Attributes:
        path: The model's file or folder.
        image_shape: (height, width, channels) of the images it takes, in pixels.
        num_classes: Classes that it tells apart, the background included.
        classes: Their names, background first.
        colors: Their RGB colours, 0..255, in masks.
        resize: How images were brought to its size in training.
        source: The file that says so; None: nothing does, names and colours are made up.
        data: The data that it was trained on, as that file records them; None without one.
        fingerprint: Of those data, prepared; None where it is not recorded.
        trained_on: Splits that its weights were fitted to; empty where nothing is known.
        named: Whether the names are recorded, not made up.
        colored: Whether the colours are.
    """

    path: Path
    image_shape: tuple[int, int, int]
    num_classes: int
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    resize: Literal["stretch", "letterbox"] = "stretch"
    source: Path | None = None
    data: DataConfig | None = None
    fingerprint: str | None = None
    trained_on: tuple[str, ...] = ()
    named: bool = False
    colored: bool = False


def facts_of(
    model_path: Path, config: Path | None = None, opened: Opened | None = None
) -> ModelMetadata:
    """Find out what a model is for.

    Args:
        model_path: Anything that ``model.runtimes.open_predictor`` opens.
        config: The file to believe: a config of constants or a study's, an export's best.yaml, a
            training.yaml or study.yaml. None: what lies beside the model: training.yaml,
            best.yaml, or the study.yaml of the study whose trial or confirmation it is.
        opened: The model, where it is open already; None: it is opened here.

    Raises:
        model.inference.ModelError: where it is no model.
        ConfigError: for a file that cannot be read, or that describes another model: of other image
            sizes, channels or classes, all that differs in one error.
    """
    if opened is None:
        from model.runtimes import open_predictor

        opened = open_predictor(model_path)
    shape, count = opened.image_shape, opened.num_classes
    source = config or find_record(model_path)
    if source is None:
        names = ("background", *(f"class {number}" for number in range(1, count)))
        return ModelMetadata(model_path, shape, count, names, distinct_colors(count))
    record = _read(source)
    classes, colored = _classes(record, source)
    problems = list(_conflicts(record.data, classes, opened))
    if problems:
        raise ConfigError(str(source), [*problems, f"the model is {model_path}"])
    return ModelMetadata(
        path=model_path,
        image_shape=shape,
        num_classes=count,
        classes=tuple(classes) or ("background", *(f"class {n}" for n in range(1, count))),
        colors=tuple(classes.values()) or distinct_colors(count),
        resize=record.data.resize,
        source=source,
        data=record.data,
        fingerprint=record.fingerprint,
        trained_on=record.trained_on,
        named=bool(classes),
        colored=colored,
    )


def find_record(model_path: Path) -> Path | None:
    """Return the file that tells what a model is for; None where there is none.

    That is training.yaml or best.yaml beside the model, or the study.yaml of the study in whose
    ``trials/<number>/`` or ``confirm/runs/<name>/`` it lies.
    """
    folder = model_path.absolute().parent
    candidates = [folder / name for name in BESIDE]
    if folder.parent.name == "trials":
        candidates.append(folder.parents[1] / STUDY)
    if folder.parent.name == "runs" and folder.parents[1].name == "confirm":
        candidates.append(folder.parents[2] / STUDY)
    return next((path for path in candidates if path.is_file()), None)


def digest_of(model_path: Path) -> str:
    """Return the sha256 of a model, 64 hexadecimal digits: of a folder's files with their names.

    Raises:
        OSError: where it cannot be read.
    """
    if not model_path.is_dir():
        with model_path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    for path in sorted(each for each in model_path.rglob("*") if each.is_file()):
        found.update(f"{path.relative_to(model_path).as_posix()}\0".encode())
        found.update(digest_of(path).encode())
    return found.hexdigest()


def distinct_colors(count: int) -> tuple[Color, ...]:
    """Return RGB colours for classes without any: black, then Okabe and Ito's, then a wheel's.

    The first seven are told apart by colour-blind readers too; no two are equal.
    """
    named = [_rgb(color) for color in CLASS_COLORS]
    found: dict[Color, None] = dict.fromkeys([(0, 0, 0), *named])
    turn = 0
    while len(found) < count:
        value = 0.95 - 0.3 * (turn % 3) / 2
        parts = colorsys.hsv_to_rgb(turn * _GOLDEN % 1, 0.65, value)
        red, green, blue = (round(255 * part) for part in parts)
        found[red, green, blue] = None
        turn += 1
    return tuple(found)[:count]


@dataclass(frozen=True)
class _Description:
    """What a file tells, whichever of ours it is."""

    tree: Mapping[str, Any]
    data: DataConfig
    fingerprint: str | None
    trained_on: tuple[str, ...]


def _read(path: Path) -> _Description:
    if path.suffix.lower() not in _YAML:  # a config of another form, which the schema reads
        return _Description({}, load_config(path).data, None, ())
    source = YamlSource.read(path)
    tree = source.tree
    inner = tree.get("config")
    recorded = isinstance(inner, Mapping)  # training.yaml and study.yaml hold the config
    config = inner if isinstance(inner, Mapping) else tree
    problems = list(source.problems)
    given = config.get("data")
    if not problems and not isinstance(given, Mapping):
        problems.append(f"data: expected the section of the data, received {given!r}")
    if problems:
        raise ConfigError(str(path), problems)
    provenance = tree.get("provenance")
    said = tree if recorded else provenance if isinstance(provenance, Mapping) else {}
    known = bool(said)
    return _Description(
        tree=tree,
        data=_data(given, path),
        fingerprint=_text(said.get("data_fingerprint")),
        trained_on=(("train", "valid") if tree.get("final") is True else ("train",))
        if known
        else (),
    )


def _data(given: Any, path: Path) -> DataConfig:
    try:
        return DataConfig.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigError(
            str(path),
            [
                f"{'.'.join(['data', *map(str, each['loc'])])}: "
                f"{each['msg'].removeprefix('Value error, ')}"
                for each in error.errors()
            ],
        ) from None


def _classes(record: _Description, source: Path) -> tuple[dict[str, Color], bool]:
    """Name to colour, empty where neither is recorded; and whether the colours are."""
    stated = record.tree.get("classes")
    if isinstance(stated, Mapping):
        return dict(_data({"classes": dict(stated)}, source).classes or {}), True
    if record.data.classes is not None:
        return dict(record.data.classes), True
    of_data = _classes_of_study(source) or _classes_of_data(record.data)
    names = tuple(map(str, stated)) if isinstance(stated, list) else _scored(record.tree)
    if not names or tuple(of_data) == names:
        return of_data, bool(of_data)
    return dict(zip(names, distinct_colors(len(names)), strict=True)), False


def _classes_of_study(source: Path) -> dict[str, Color]:
    """Return classes as the data.json beside a study.yaml has them; empty of anything else."""
    if source.name != STUDY:
        return {}
    path = source.with_name(file_names.DATA)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        named = {str(name): told["colors"][name] for name in told["classes"]}
    except (OSError, ValueError, TypeError, LookupError):  # older, or not there
        return {}
    return dict(_data({"classes": named}, path).classes or {})


def _classes_of_data(data: DataConfig) -> dict[str, Color]:
    """Return classes of the data themselves, where they are in reach."""
    if data.source == SYNTHETIC:
        return dict(SYNTHETIC_CLASSES)
    try:
        info = read_dataset_yaml(Path(data.source).expanduser())
    except DataError:
        return {}
    return dict(info.classes) if info else {}


def _scored(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Name of the classes whose scores an older export states."""
    found: Any = tree
    for name in ("provenance", "scores", "dice"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return tuple(map(str, found)) if isinstance(found, Mapping) else ()


def _conflicts(data: DataConfig, classes: Mapping[str, Color], opened: Opened) -> Iterator[str]:
    size, channels = opened.image_shape[:2], opened.image_shape[2]
    if tuple(data.image_size) != tuple(size):
        yield (
            f"data.image_size: expected {list(size)}, which the model takes, received "
            f"{list(data.image_size)}"
        )
    if data.channels != channels:
        yield f"data.channels: expected {channels}, which the model takes, received {data.channels}"
    if classes and len(classes) != opened.num_classes:
        yield (
            f"data.classes: expected {opened.num_classes} classes, which the model tells apart, "
            f"received {len(classes)}: {', '.join(classes)}"
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _rgb(color: str) -> Color:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
