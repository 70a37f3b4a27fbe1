"""Writes what follows from the fields of a study's config; ``make schema``.

The JSON schema for editors, the bounds and operations that ``results`` knows, and the operations of
docs/augmentation.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipeline.augmentation.operations import OPERATIONS
from search.config.loading import json_schema

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
MARK = "<!-- What follows is written by `make schema`. -->\n"

Property = Mapping[str, Any]


def written() -> dict[Path, str]:
    """Return the text of each file that is written, by its path."""
    page = ROOT / "docs" / "augmentation.md"
    text = page.read_text(encoding="utf-8").partition(MARK)[0]
    schema = json_schema()
    fields = _fields(json.loads(schema)["$defs"])
    return {
        ROOT / "configs" / "schema.json": schema,
        ROOT / "results" / "records" / "config_fields.json": _config_fields(fields),
        page: text + MARK + "".join(_operations(fields)),
    }


def _fields(definitions: Mapping[str, Any]) -> dict[str, Property]:
    """Return a field's own value, which is not searched, by the field's name."""
    fields = {}
    for section in ("model", "train", "augment"):
        properties = definitions[f"Searchable{section.title()}Config"]["properties"]
        for key, field in properties.items():
            plain = field["oneOf"][0]
            nullable = plain.get("anyOf", [plain])[0]
            fields[f"{section}.{key}"] = {"description": field.get("description", ""), **nullable}
    return fields


def _config_fields(fields: Mapping[str, Property]) -> str:
    bounds = {
        name: {key: field[key] for key in BOUNDS if key in field}
        for name, field in fields.items()
        if field.get("type") in ("integer", "number")
    }
    return json.dumps({"bounds": bounds, "operations": list(OPERATIONS)}, indent=1) + "\n"


def _operations(fields: Mapping[str, Property]) -> list[str]:
    lines = ["\n| field | what it does | values |\n|---|---|---|\n"]
    for name in OPERATIONS:
        field = fields[f"augment.{name}"]
        lines.append(f"| `{name}` | {field['description']} | {_values(field)} |\n")
    for name in OPERATIONS:
        picture = f"![a tile and four samples, {name} alone](augmentation/{name}.jpg)"
        lines.append(f"\n**{name}**\n\n{picture}\n")
    return lines


def _values(field: Property) -> str:
    if field["type"] == "boolean":
        return "true, false"
    if "exclusiveMaximum" in field:
        return f"0 to below {field['exclusiveMaximum']:g}"
    return f"0 to {field['maximum']:g}"


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
