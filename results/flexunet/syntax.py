"""The reference's file ``train_eval_infer.config``: its sections and keys, read and written.

INI, as ``configparser`` reads it; each value is a Python literal. Read with
``ast.literal_eval``, never evaluated. What the keys mean is ``results/flexunet/mapping.py``.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class FlexUNetFileError(ValueError):
    """Everything that is wrong with such a file.

    Attributes:
        source: The file.
        problems: One sentence a problem, with its line.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{source}:", *(f"  - {problem}" for problem in problems)]))

    def __reduce__(self) -> tuple[type[FlexUNetFileError], tuple[str, Sequence[str]]]:
        return FlexUNetFileError, (self.source, self.problems)


@dataclass(frozen=True)
class Kind:
    """A type of value.

    Attributes:
        words: What is expected, for messages.
        accepts: Whether a value is of it.
    """

    words: str
    accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _all_in(value: Any, accepts: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(accepts(item) for item in value)


def _is_pair(value: Any) -> bool:
    return _all_in(value, _is_number) and len(value) == 2


def _is_color(value: Any) -> bool:
    return _all_in(value, lambda part: _is_int(part) and 0 <= part <= 255) and len(value) == 3


def _is_rgb_map(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    return all(_is_color(color) and _is_int(index) for color, index in value.items())


TEXT = Kind('a text in quotes, such as "Adam"', lambda value: isinstance(value, str))
FLAG = Kind("True or False", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number above 0", lambda value: _is_int(value) and value > 0)
WHOLE = Kind("a whole number, 0 or above", lambda value: _is_int(value) and value >= 0)
NUMBER = Kind("a number", _is_number)
POSITIVE = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
SHARE = Kind("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1)
SIDES = Kind(
    "two whole numbers above 0, such as (3, 3)",
    lambda value: _all_in(value, COUNT.accepts) and len(value) == 2,
)
TEXTS = Kind(
    "a list of texts in quotes", lambda value: _all_in(value, lambda item: isinstance(item, str))
)
NUMBERS = Kind("a list of numbers", lambda value: _all_in(value, _is_number))
POINTS = Kind("a list of points, such as [(0.5, 0.5)]", lambda value: _all_in(value, _is_pair))
RGB_MAP = Kind("colours to class indices, such as {(0, 0, 0): 0, (255, 0, 0): 1}", _is_rgb_map)

_FOLDERS = {"images_dir": TEXT, "masks_dir": TEXT}

SECTIONS: Mapping[str, Mapping[str, Kind]] = {
    "model": {
        "model": TEXT,
        "generator": FLAG,
        "image_width": COUNT,
        "image_height": COUNT,
        "image_channels": COUNT,
        "input_normalize": FLAG,
        "normalization": FLAG,
        "num_classes": COUNT,
        "base_filters": COUNT,
        "base_kernels": SIDES,
        "num_layers": COUNT,
        "dropout_rate": SHARE,
        "dilation": SIDES,
        "activation": TEXT,
        "optimizer": TEXT,
        "learning_rate": POSITIVE,
        "clipvalue": POSITIVE,
        "loss": TEXT,
        "metrics": TEXTS,
        "show_summary": FLAG,
    },
    "dataset": {"class_name": TEXT},
    "train": {
        "epochs": COUNT,
        "batch_size": COUNT,
        "patience": COUNT,
        "metrics": TEXTS,
        "model_dir": TEXT,
        "eval_dir": TEXT,
        **_FOLDERS,
        "create_backup": FLAG,
        "learning_rate_reducer": FLAG,
        "reducer_factor": SHARE,
        "reducer_patience": COUNT,
        "epoch_change_infer": FLAG,
        "epoch_change_infer_dir": TEXT,
        "epoch_change_tiled_infer": FLAG,
        "epoch_change_tiled_infer_dir": TEXT,
        "num_infer_images": WHOLE,
        "save_weights_only": FLAG,
        "steps_per_epoch": COUNT,
        "validation_steps": COUNT,
    },
    "valid": _FOLDERS,
    "test": _FOLDERS,
    "infer": {"images_dir": TEXT, "output_dir": TEXT},
    "tiledinfer": {
        "overlapping": WHOLE,
        "split_size": COUNT,
        "images_dir": TEXT,
        "output_dir": TEXT,
    },
    "image": {"color_order": TEXT},
    "mask": {"mask_file_format": TEXT, "mask_datatype": TEXT, "rgb_map": RGB_MAP},
    "augmentor": {
        "rotation": FLAG,
        "angles": NUMBERS,
        "shrinks": NUMBERS,
        "shears": NUMBERS,
        "hflip": FLAG,
        "vflip": FLAG,
        "deformation": FLAG,
        "distortion": FLAG,
        "sharpening": FLAG,
        "brightening": FLAG,
        "barrdistortion": FLAG,
        "pincdistortion": FLAG,
    },
    "deformation": {"alpah": NUMBER, "sigmoids": NUMBERS},  # its spelling
    "distortion": {
        "gaussian_filter_rsigma": NUMBER,
        "gaussian_filter_sigma": NUMBER,
        "distortions": NUMBERS,
    },
    "sharpening": {"k": NUMBER},
    "brightening": {"alpha": NUMBER, "beta": NUMBER},
    "barrdistortion": {"radius": NUMBER, "amount": NUMBER, "centers": POINTS},
    "pincdistortion": {"radius": NUMBER, "amount": NUMBER, "centers": POINTS},
}


@dataclass(frozen=True)
class FlexUNetFile:
    """A file as read.

    Attributes:
        path: The file.
        values: ReportSection to key to value, only what the file names.
        lines: (section, key) to line, counted from 1.
    """

    path: Path
    values: Mapping[str, Mapping[str, Any]]
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class _Setting:
    section: str
    key: str
    line: int
    text: str


def read_flexunet(path: Path) -> FlexUNetFile:
    """Read a config file of the reference.

    Raises:
        FlexUNetFileError: listing every problem with its line: what is not INI, unknown sections
            and keys, keys given twice, values that are no literals or of another type.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FlexUNetFileError(str(path), [f"cannot be read: {error}"]) from None
    problems: list[tuple[int, str]] = []
    values: dict[str, dict[str, Any]] = {}
    lines: dict[tuple[str, str], int] = {}
    for entry in _entries(text, problems):
        problem = _unknown(entry) or _again(entry, lines)
        if problem is None:
            lines[entry.section, entry.key] = entry.line
            value, problem = _literal(entry)
            values.setdefault(entry.section, {})[entry.key] = value
        if problem is not None:
            problems.append((entry.line, problem))
    if not values and not problems:
        problems.append((1, "not a config: expected sections such as [model], received none"))
    if problems:
        found = [f"line {line}: {problem}" for line, problem in sorted(problems)]
        raise FlexUNetFileError(str(path), found)
    return FlexUNetFile(path, values, lines)


_HEADER = re.compile(r"\[(.+)\]")
_KEY = re.compile(r"([^=:]+?)\s*[=:]\s*(.*)")


def _entries(text: str, problems: list[tuple[int, str]]) -> Iterator[_Setting]:
    """Yield what the file says, by the rules of configparser: an indented line goes on a value."""
    section: str | None = None
    entry: _Setting | None = None
    indent = 0
    seen: dict[str, int] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith((";", "#")):
            continue
        depth = len(raw) - len(raw.lstrip())
        if entry is not None and depth > indent:
            entry.text += f"\n{line}"
            continue
        if entry is not None:
            yield entry
        entry, indent = None, depth
        header, pair = _HEADER.match(line), _KEY.fullmatch(line)
        if header:
            section = header.group(1).strip()
            problems += [(number, problem) for problem in _section_problems(section, seen)]
            seen.setdefault(section, number)
        elif pair is None:
            problems.append((number, f"not INI: expected key = value, received {_short(line)}"))
        elif section is None:
            problems.append((number, f"expected a [section] before {_short(pair.group(1))}"))
        elif section in SECTIONS:
            # Lower case, as configparser makes it.
            entry = _Setting(section, pair.group(1).lower(), number, pair.group(2))
    if entry is not None:
        yield entry


def _section_problems(section: str, seen: Mapping[str, int]) -> Iterator[str]:
    if section in seen:
        yield f"[{section}]: expected once, received again (first in line {seen[section]})"
    elif section not in SECTIONS:
        yield f"expected a section, received {_short(section)}{_meant(section, SECTIONS)}"


def _unknown(entry: _Setting) -> str | None:
    known = SECTIONS[entry.section]
    if entry.key in known:
        return None
    homes = [name for name, keys in SECTIONS.items() if entry.key in keys]
    hint = f"; it belongs to [{homes[0]}]" if len(homes) == 1 else _meant(entry.key, known)
    return f"expected a key of [{entry.section}], received {_short(entry.key)}{hint}"


def _meant(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"


def _again(entry: _Setting, lines: Mapping[tuple[str, str], int]) -> str | None:
    first = lines.get((entry.section, entry.key))
    where = f"{entry.section}.{entry.key}"
    return f"{where}: expected once, received again (first in line {first})" if first else None


def _literal(entry: _Setting) -> tuple[Any, str | None]:
    """Return the value, or None and what is wrong with it."""
    kind = SECTIONS[entry.section][entry.key]
    text = entry.text.replace("%%", "%")  # as configparser's interpolation does
    try:
        with warnings.catch_warnings():  # of a path such as "C:\data", which is read as meant
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
            again = _key_again(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value, again = _NOTHING, None
    if again is not None:
        where = f"{entry.section}.{entry.key}"
        return None, f"{where}: expected each key once, received {again!r} again"
    if value is not _NOTHING and kind.accepts(value):
        return value, None
    literal = "" if value is not _NOTHING else ", as a Python literal"
    return None, (
        f"{entry.section}.{entry.key}: expected {kind.words}{literal}, "
        f"received {_short(entry.text, bare=True)}"
    )


_NOTHING = object()


def _key_again(text: str) -> Any:
    """Return a key that a dict names twice, of which Python takes the last; None without one."""
    root = ast.parse(text.strip(), mode="eval").body
    keys = [ast.literal_eval(key) for key in root.keys if key] if isinstance(root, ast.Dict) else []
    return next((key for index, key in enumerate(keys) if key in keys[:index]), None)


def _short(text: str, bare: bool = False) -> str:
    text = " ".join(text.split())
    text = text if len(text) <= 80 else text[:77] + "..."
    return (text or "nothing") if bare else repr(text)


def write_flexunet(
    values: Mapping[str, Mapping[str, Any]], head_comments: Sequence[str] = ()
) -> str:
    """Write such a file: sections and keys in the reference's order, aligned.

    ASCII alone, and no bare ``%``: the reference reads it in its machine's own encoding, by a
    parser to which % begins an interpolation.

    Args:
        values: ReportSection to key to value, as :class:`FlexUNetFile` has them.
        head_comments: Lines for its head.

    Raises:
        ValueError: for a section, a key or a type of value that the table does not have.
    """
    unknown = [
        f"{section}.{key} = {value!r}"
        for section, keys in values.items()
        for key, value in keys.items()
        if section not in SECTIONS
        or key not in SECTIONS[section]
        or not SECTIONS[section][key].accepts(value)
    ]
    if unknown:
        raise ValueError(f"expected values of the reference's keys, received {', '.join(unknown)}")
    blocks = ["".join(f"{line}\n" for line in _comments(head_comments))] if head_comments else []
    for section, keys in SECTIONS.items():
        given = [key for key in keys if key in values.get(section, {})]
        width = max((len(key) for key in given), default=0)
        lines = [f"{key:{width}} = {_repr(values[section][key])}\n" for key in given]
        if lines:
            blocks.append(f"[{section}]\n" + "".join(lines))
    return "\n".join(blocks)


def _comments(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        for part in line.splitlines() or [""]:  # a comment must not begin a line of its own
            text = part.encode("ascii", "backslashreplace").decode("ascii")
            yield f"; {text}".rstrip()


def _repr(value: Any) -> str:
    # A % stands in texts alone, where \x25 is the same.
    return ascii(value).replace("%", "\\x25")
