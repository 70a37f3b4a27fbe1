from __future__ import annotations

from typing import Any

import pytest

from results.exports.choice import ExportError
from results.exports.folder import FILES, MODEL_FORMATS
from results.exports.options import ExportOptions, parse_formats


def test_a_list_of_formats_is_read_as_people_write_it() -> None:
    assert parse_formats(" yaml, ONNX,,keras,onnx ") == ("yaml", "onnx", "keras")
    assert parse_formats(" , ") == ()
    assert parse_formats("ALL ") == tuple(FILES)


def test_every_format_is_an_option_and_has_files() -> None:
    options = ExportOptions(formats=tuple(FILES), confirmed=True, strict=True)
    assert options.model_formats == MODEL_FORMATS
    assert ExportOptions().model_formats == ()
    assert all(FILES.values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"formats": ()}, "--format: expected one or more of yaml, flexunet, .*received none"),
        ({"formats": ("onx",)}, "received 'onx'; did you mean 'onnx'"),
        ({"trial": 0, "searched": True}, "received --trial and --searched"),
        ({"trial": 0, "confirmed": True}, "received --trial and --confirmed"),
        ({"strict": True}, "--strict: expected --format flexunet with it"),
        ({"images_root": "data"}, "--images-root: expected --format flexunet"),
        ({"mask_format": ".png"}, "--mask-format: expected --format flexunet"),
        ({"formats": ("flexunet",), "mask_format": "png"}, r"expected \.png or \.npz, .*'png'"),
    ],
)
def test_what_does_not_fit_is_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        ExportOptions(**given)


def test_all_problems_are_told_together() -> None:
    with pytest.raises(ExportError) as raised:
        ExportOptions(
            formats=("yaml", "onx", "pth"),
            searched=True,
            confirmed=True,
            strict=True,
            mask_format=".bmp",
        )
    lines = str(raised.value).splitlines()
    assert lines[0] == "export: 6 problems"
    assert len(lines) == 7
    assert "'pth'" in lines[2]
