from __future__ import annotations

import ast
import configparser
import os
import pickle
from pathlib import Path

import pytest

from results.flexunet.syntax import (
    SECTIONS,
    FlexUNetFileError,
    read_flexunet,
    write_flexunet,
)


def read(tmp_path: Path, text: str) -> dict:
    path = tmp_path / "a.config"
    path.write_text(text, encoding="utf-8")
    return {section: dict(keys) for section, keys in read_flexunet(path).values.items()}


def problems_of(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(FlexUNetFileError) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "a.config") in str(caught.value)
    return caught.value.problems


def test_values_are_python_literals_with_comments_between(tmp_path: Path) -> None:
    text = (
        "; a comment\n# another\n[model]\nnum_layers=8\nbase_kernels = (11,11)\n"
        "Optimizer : 'Adam'\n\n[test] \nimages_dir = \"./a/test/images/\"\n"
    )

    assert read(tmp_path, text) == {
        "model": {"num_layers": 8, "base_kernels": (11, 11), "optimizer": "Adam"},
        "test": {"images_dir": "./a/test/images/"},
    }


def test_a_value_may_go_on_in_indented_lines(tmp_path: Path) -> None:
    text = "[mask]\nrgb_map = {(0,0,0):0,\\\n  ; red\n\n  (255,0,0):1,}\n[image]\n"

    assert read(tmp_path, text)["mask"]["rgb_map"] == {(0, 0, 0): 0, (255, 0, 0): 1}


def test_a_doubled_percent_sign_is_one_as_configparser_has_it(tmp_path: Path) -> None:
    text = "[test]\nimages_dir = './100%%/test/images/'\n"
    reference = configparser.ConfigParser()
    reference.read_string(text)

    assert read(tmp_path, text)["test"]["images_dir"] == "./100%/test/images/"
    assert ast.literal_eval(reference["test"]["images_dir"]) == "./100%/test/images/"


def test_a_colour_twice_is_an_error(tmp_path: Path) -> None:
    text = "[mask]\nrgb_map = {(0,0,0): 0, (9,9,9): 2, (9, 9, 9): 1}\n"

    assert problems_of(tmp_path, text) == (
        "line 2: mask.rgb_map: expected each key once, received (9, 9, 9) again",
    )


def test_the_lines_of_keys_are_known(tmp_path: Path) -> None:
    path = tmp_path / "a.config"
    path.write_text("[model]\n\nnum_layers = 3\n[train]\nepochs = 1\n", encoding="utf-8")

    assert read_flexunet(path).lines == {("model", "num_layers"): 3, ("train", "epochs"): 5}


def test_all_problems_stand_in_one_error_with_their_lines(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "epochs = 3",
            "[train]",
            "pacience = 10",
            "epochs = three",
            "batch_size = 2.5",
            "num_classes = 6",
            "epochs = 4",
            "no pair",
            "[modle]",
            "num_layers = 3",
            "[train]",
            "[model]",
            "learning_rate = 1e999",
            "qqq = 1",
        ]
    )

    assert problems_of(tmp_path, text)[:-1] == (
        "line 1: expected a [section] before 'epochs'",
        "line 3: expected a key of [train], received 'pacience'; did you mean 'patience'?",
        "line 4: train.epochs: expected a whole number above 0, as a Python literal, received "
        "three",
        "line 5: train.batch_size: expected a whole number above 0, received 2.5",
        "line 6: expected a key of [train], received 'num_classes'; it belongs to [model]",
        "line 7: train.epochs: expected once, received again (first in line 4)",
        "line 8: not INI: expected key = value, received 'no pair'",
        "line 9: expected a section, received 'modle'; did you mean 'model'?",
        "line 11: [train]: expected once, received again (first in line 2)",
        "line 13: model.learning_rate: expected a number above 0, received 1e999",
    )
    assert (
        "line 14: expected a key of [model], received 'qqq'; expected one of"
        in problems_of(tmp_path, text)[-1]
    )


@pytest.mark.parametrize(
    "value",
    [
        "__import__('os').system('touch PWNED')",
        "open('PWNED', 'w')",
        "[x for x in ().__class__.__base__.__subclasses__()]",
        "(lambda: 3)()",
        "2 ** 9999999999",
        "(" * 5000,
        "-" * 100_000 + "1",
        "{[]: 1}",
        "'\0'",
        "",
    ],
)
def test_hostile_values_are_errors_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)

    (problem,) = problems_of(tmp_path, f"[train]\nepochs = {value}\n")

    assert problem.startswith("line 2: train.epochs: expected a whole number above 0")
    assert len(problem) < 200
    assert os.listdir(tmp_path) == ["a.config"]


@pytest.mark.parametrize(
    ("line", "received"),
    [
        ("generator = 1", "1"),
        ("num_classes = True", "True"),
        ("dropout_rate = 1.0", "1.0"),
        ("base_kernels = 3", "3"),
        ("base_kernels = (3, 3, 3)", "(3, 3, 3)"),
        ("metrics = 'dice_coef'", "'dice_coef'"),
        ("optimizer = None", "None"),
    ],
)
def test_a_value_of_another_type_is_an_error(tmp_path: Path, line: str, received: str) -> None:
    (problem,) = problems_of(tmp_path, f"[model]\n{line}\n")

    assert problem.endswith(f"received {received}")


@pytest.mark.parametrize(
    "colors", ["{(0,0):0}", "{(0,0,256):0}", "{(0,0,0):'a'}", "{}", "[(0,0,0)]", "{(0,0,0):True}"]
)
def test_a_colour_map_is_checked(tmp_path: Path, colors: str) -> None:
    (problem,) = problems_of(tmp_path, f"[mask]\nrgb_map = {colors}\n")

    assert "expected colours to class indices" in problem


@pytest.mark.parametrize("content", [b"", b"\n; only a comment\n", b"\xff\xfe\x00", b"\x89PNG\r\n"])
def test_what_is_no_config_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.config"
    path.write_bytes(content)

    with pytest.raises(FlexUNetFileError, match=r"a\.config"):
        read_flexunet(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FlexUNetFileError, match="cannot be read"):
        read_flexunet(tmp_path / "none.config")


def test_the_error_can_be_sent_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(FlexUNetFileError("a.config", ["one", "two"])))

    assert (error.source, error.problems) == ("a.config", ("one", "two"))


VALUES = {
    "train": {"images_dir": "C:\\data\\100%\\é\n[model]", "epochs": 3},
    "model": {"base_kernels": (3, 3), "learning_rate": 7e-05, "generator": False},
    "mask": {"rgb_map": {(0, 0, 0): 0, (255, 0, 0): 1}},
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    text = write_flexunet(VALUES, ["a head", "with é and a\n[trap]"])

    assert text.isascii()
    assert read(tmp_path, text) == VALUES


def test_a_parser_of_ini_and_literals_reads_the_same() -> None:
    parser = configparser.ConfigParser()  # interpolates %, as a trainer's may
    parser.read_string(write_flexunet(VALUES, ["100% [head]"]))

    assert {
        section: {key: ast.literal_eval(value) for key, value in parser[section].items()}
        for section in parser.sections()
    } == VALUES


def test_it_is_written_in_the_order_of_the_reference_and_aligned() -> None:
    text = write_flexunet(VALUES, ["head"])

    assert text.startswith("; head\n\n[model]\ngenerator     = False\nbase_kernels  = (3, 3)\n")
    assert text.index("[model]") < text.index("\n[train]\nepochs     = 3\n") < text.index("[mask]")


@pytest.mark.parametrize(
    "values",
    [{"modle": {"epochs": 1}}, {"train": {"pacience": 1}}, {"train": {"epochs": "1"}}],
)
def test_only_keys_and_types_of_the_table_are_written(values: dict) -> None:
    with pytest.raises(ValueError, match="expected values of the reference's keys"):
        write_flexunet(values)


def test_no_key_of_the_table_needs_upper_case() -> None:
    assert all(key == key.lower() for keys in SECTIONS.values() for key in keys)
