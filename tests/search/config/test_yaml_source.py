from __future__ import annotations

from pathlib import Path

import pytest

from search.config.yaml_source import YamlSource, parse_override, set_dotted


def read(tmp_path: Path, text: str) -> YamlSource:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return YamlSource.read(path)


def test_exponents_without_a_dot_are_numbers(tmp_path: Path) -> None:
    source = read(tmp_path, "a: 1e-4\nb: [1E5, -2.5e+3]\nc: e5\nd: 1e\n")

    assert source.tree == {"a": 1e-4, "b": [1e5, -2.5e3], "c": "e5", "d": "1e"}


def test_lines_are_those_of_the_file_and_of_the_nearest_section(tmp_path: Path) -> None:
    source = read(tmp_path, "# header\nmodel:\n  num_layers:\n    int: [3, 5]\n")

    assert source.line(("model", "num_layers", "int")) == 4
    assert source.line(("model", "missing")) == 2
    assert source.line(("missing",)) is None


def test_a_key_given_twice_is_a_problem(tmp_path: Path) -> None:
    source = read(tmp_path, "model:\n  a: 1\n  a: 2\n")

    assert source.problems == ("line 3: model.a: expected once, received again (first in line 2)",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1", "not YAML"),
        ("- a", "expected sections"),
        ("a: !!python/object:os.x {}", "not YAML"),
        ("a: &a [*a]", "contains itself"),
    ],
)
def test_what_is_no_config_is_a_problem(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in read(tmp_path, text).problems[0]


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    assert "cannot be read" in YamlSource.read(tmp_path / "none.yaml").problems[0]


def test_an_override_is_read_as_yaml_and_makes_its_sections() -> None:
    tree: dict = {"model": {"num_layers": 3}}
    set_dotted(tree, *parse_override("model.num_layers={int: [3, 5]}"))
    set_dotted(tree, *parse_override("train.learning_rate=1e-3"))

    assert tree == {"model": {"num_layers": {"int": [3, 5]}}, "train": {"learning_rate": 1e-3}}


@pytest.mark.parametrize("text", ["a.b", "=3", "a..b=3", "a=[1"])
def test_an_override_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_override(text)


def test_an_override_through_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a section at model"):
        set_dotted({"model": 3}, ["model", "num_layers"], 4)


def test_a_folder_is_told_with_the_config_in_it(tmp_path: Path) -> None:
    assert YamlSource.read(tmp_path).problems == ("expected a file, received a folder",)
    (tmp_path / "best.yaml").touch()
    assert "did you mean" in YamlSource.read(tmp_path).problems[0]
