from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.datasets.dataset_yaml import DatasetInfo, read_dataset_yaml, write_dataset_yaml
from data_pipeline.problems import DataError
from tests.data_pipeline.files import CLASSES


def test_dataset_yaml_round_trip(tmp_path: Path) -> None:
    info = DatasetInfo("tiles", "a {strange}: source", dict(CLASSES), {"007": "1", "é": "no"})
    write_dataset_yaml(tmp_path, info)
    assert read_dataset_yaml(tmp_path) == info
    assert read_dataset_yaml(tmp_path / "nowhere") is None


def test_the_terms_of_use_are_kept_and_may_be_missing(tmp_path: Path) -> None:
    info = DatasetInfo("tiles", "here", dict(CLASSES), {}, license="a: b #c", citation="é, 2018")
    write_dataset_yaml(tmp_path, info)
    assert read_dataset_yaml(tmp_path) == info
    assert info.terms == {"license": "a: b #c", "citation": "é, 2018"}
    assert DatasetInfo("tiles", "here", dict(CLASSES)).terms == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "cannot be read"),
        ("just text", "expected fields"),
        ("classes: {a: [0, 0, 0], b: [1, 1, 1]}", "format: expected 1, received None"),
        ("format: 1\nclasses: {a: [0, 0, 0]}", "2 to 255 classes"),
        ("format: 1\nclasses: {no: [0, 0, 0], b: [1, 1, 1]}", "expected class names"),
        ("format: 1\nclasses: {a: [0, 0, 0], b: [0, 0, 300]}", "colour of 0..255"),
        ("format: 1\nclasses: {a: [0, 0, 0], b: 7}", "classes.b"),
        ("format: 1\nclasses: {a: [0, 0, 0], b: [0, 0, 0]}", "one colour a class"),
        ("format: 1\nclases: {}", "unknown fields"),
        ("format: 1\nclasses: {a: [0, 0, 0], b: [1, 1, 1]}\ngroups: [1]", "groups: expected"),
        ("format: 1\nclasses: {a: [0, 0, 0], b: [1, 1, 1]}\ngroups: {007: a}", "in quotes"),
        ("format: 1\nclasses: {a: [0, 0, 0], b: [1, 1, 1]}\nlicense: 7", "license: expected text"),
        ("format: 1\nclasses: {a: [0, 0, 0], b: [1, 1, 1]}\ncitation: ''", "citation: expected"),
    ],
)
def test_broken_dataset_yaml(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DataError, match=reason) as raised:
        read_dataset_yaml(tmp_path)
    assert all(p.path == str(tmp_path / "dataset.yaml") for p in raised.value.problems)
