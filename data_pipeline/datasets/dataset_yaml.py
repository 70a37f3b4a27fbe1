"""The file dataset.yaml of a data set: its classes, their colours, and what shows one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from data_pipeline.config import Color, DataConfig
from data_pipeline.problems import DataError, Problem

DATASET_YAML = "dataset.yaml"
TERMS = ("license", "citation")
_FIELDS = ("format", "name", "source", *TERMS, "classes", "groups")


@dataclass(frozen=True)
class DatasetInfo:
    """What dataset.yaml tells about the folder it lies in.

    Attributes:
        name: Short name of the data set.
        source: Where it comes from, in words.
        classes: Class name to RGB colour in the masks, in index order, background first.
        groups: File stem to the object photographed; stems not named are their own group.
        license: On what terms the data may be used, in words; None: not stated.
        citation: The publication to cite; None: not stated.
    """

    name: str
    source: str
    classes: dict[str, Color]
    groups: dict[str, str] = field(default_factory=dict)
    license: str | None = None
    citation: str | None = None

    @property
    def terms(self) -> dict[str, str]:
        """What is stated of license and citation, by field."""
        stated = {name: getattr(self, name) for name in TERMS}
        return {name: text for name, text in stated.items() if text is not None}


def write_dataset_yaml(folder: Path, info: DatasetInfo) -> Path:
    """Write dataset.yaml, which names classes, colours and groups, and the terms of use.

    Returns:
        Its path.
    """
    content = {
        "format": 1,
        "name": info.name,
        "source": info.source,
        **info.terms,
        "classes": {name: list(color) for name, color in info.classes.items()},
        "groups": dict(info.groups),
    }
    path = folder / DATASET_YAML
    path.write_text(
        yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True),
        encoding="utf-8",
    )
    return path


def read_dataset_yaml(folder: Path) -> DatasetInfo | None:
    """Read a folder's dataset.yaml.

    Returns:
        Its content; None where there is no such file.

    Raises:
        DataError: for a file that cannot be read, naming every field that is wrong.
    """
    path = folder / DATASET_YAML
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError([Problem(str(path), f"cannot be read: {error}")]) from None
    messages = list(_check_info(content))
    if messages:
        raise DataError(Problem(str(path), message) for message in messages)
    return DatasetInfo(
        name=str(content.get("name", folder.name)),
        source=str(content.get("source", folder.name)),
        classes={name: (c[0], c[1], c[2]) for name, c in content["classes"].items()},
        groups={stem: str(group) for stem, group in (content.get("groups") or {}).items()},
        **{name: content[name] for name in TERMS if content.get(name) is not None},
    )


def _check_info(content: Any) -> Iterator[str]:
    if not isinstance(content, Mapping):
        yield f"expected fields format, classes, ..., received {type(content).__name__}"
        return
    if content.get("format") != 1:
        yield f"format: expected 1, received {content.get('format')!r}"
    unknown = sorted(str(k) for k in content if k not in _FIELDS)
    if unknown:
        yield f"unknown fields {unknown}"
    for name in TERMS:
        text = content.get(name)
        if text is not None and not (isinstance(text, str) and text.strip()):
            yield f"{name}: expected text, received {text!r}"
    classes = content.get("classes")
    if not isinstance(classes, Mapping) or not all(isinstance(name, str) for name in classes):
        yield f"classes: expected class names with RGB colours, received {classes!r}"
    else:
        try:
            DataConfig(classes=dict(classes))
        except ValidationError as error:
            yield from (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    groups = content.get("groups")
    if groups is None:
        return
    if not isinstance(groups, Mapping):
        yield f"groups: expected file stems with group names, received {groups!r}"
        return
    numbers = [stem for stem in groups if not isinstance(stem, str)]
    if numbers:  # YAML reads 007 as 7, so the stem meant cannot be known
        yield f"groups: expected stems in quotes, received {numbers[:5]}"
