"""A leaking split is found and mended, by names or by the pictures alone."""

from __future__ import annotations

import csv
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from data_pipeline.config import DataConfig, SplitConfig
from data_pipeline.datasets.dataset_yaml import read_dataset_yaml
from data_pipeline.datasets.magnetic_tile import convert
from data_pipeline.problems import DataError
from data_pipeline.quality.audit import audit
from data_pipeline.quality.resplit import resplit
from data_pipeline.stores.survey import Survey, survey
from search.cli.main import app
from tests.data_pipeline.files import write_divided, write_item, write_yaml
from tests.data_pipeline.leaking import augment_then_split


def divided(survey: Survey, originals: dict[str, str]) -> int:
    """How many originals have pictures in more than one split."""
    places = defaultdict(set)
    for stem, split in zip(survey.stems, survey.splits, strict=True):
        places[originals[stem]].add(split)
    return sum(len(splits) > 1 for splits in places.values())


@pytest.mark.parametrize("hide", [False, True], ids=["named", "numbered"])
def test_a_split_made_after_augmenting_leaks_and_is_mended(
    tmp_path: Path, synthetic_folder: Path, hide: bool
) -> None:
    originals = augment_then_split(synthetic_folder, tmp_path / "leaking", hide)
    config = DataConfig(source=str(tmp_path / "leaking"))
    before = survey(config)
    assert audit(before).leaks
    assert divided(before, originals) > 10

    done = resplit(config, tmp_path / "mended")

    after = survey(DataConfig(source=str(tmp_path / "mended")))
    assert not audit(after).leaks
    assert divided(after, originals) == 0
    assert sorted(after.stems) == sorted(before.stems), "nothing is lost"
    assert set(after.splits) == {"train", "valid", "test"}
    assert done.moved
    assert (after.pixels.sum(axis=0) == before.pixels.sum(axis=0)).all()


def test_real_photographs_numbered_after_augmenting_are_kept_together(tmp_path: Path) -> None:
    if "MAGNETIC_TILE" not in os.environ:
        pytest.skip("needs MAGNETIC_TILE, the folder of the photographs")
    convert(Path(os.environ["MAGNETIC_TILE"]), tmp_path / "tiles", free_share=0.25, seed=0)
    originals = augment_then_split(tmp_path / "tiles", tmp_path / "leaking", hide=True)
    config = DataConfig(source=str(tmp_path / "leaking"))
    before = survey(config)
    assert audit(before).leaks

    resplit(config, tmp_path / "mended")

    after = survey(DataConfig(source=str(tmp_path / "mended")))
    assert not audit(after).leaks
    assert divided(after, originals) == 0 < divided(before, originals)


def test_a_csv_of_groups_overrules_names(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (8, 4, 4))
    stems = survey(DataConfig(source=str(root))).stems
    groups = {stem: f"part {number // 2}" for number, stem in enumerate(stems)}
    with open(tmp_path / "groups.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("stem", "group"), *groups.items()])

    resplit(
        DataConfig(source=str(root)), tmp_path / "out", groups=tmp_path / "groups.csv",
        likeness=False,
    )  # fmt: skip

    after = survey(DataConfig(source=str(tmp_path / "out")))
    assert dict(zip(after.stems, after.groups, strict=True)) == groups
    assert divided(after, groups) == 0
    info = read_dataset_yaml(tmp_path / "out")
    assert info is not None
    assert info.groups == groups


def test_the_terms_of_use_come_along(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_yaml(root)
    for number in range(6):
        write_item(root, f"{number}", number)
    with (root / "dataset.yaml").open("a", encoding="utf-8") as file:
        file.write("license: ask first\n")

    resplit(DataConfig(source=str(root)), tmp_path / "out", likeness=False)

    info = read_dataset_yaml(tmp_path / "out")
    assert info is not None
    assert info.terms == {"license": "ask first"}


def test_pictures_in_folders_are_divided_by_folder_and_keep_their_folders(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_yaml(root)
    for number in range(12):
        write_item(root / f"{number}", "x", number)
        for kind in ("images", "masks"):
            place = root / kind / f"part{number // 2}" / f"{number % 2}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            (root / f"{number}" / kind / "x.png").rename(place)
        shutil.rmtree(root / f"{number}")

    done = CliRunner().invoke(
        app, ["data", "resplit", str(root), str(tmp_path / "out"), "--group-folders"]
    )

    assert done.exit_code == 0, done.output
    after = survey(DataConfig(source=str(tmp_path / "out")))
    assert sorted(after.stems) == [f"part{n // 2}/{n % 2}" for n in range(12)]
    assert after.groups == tuple(stem.split("/")[0] for stem in after.stems)
    assert not audit(after).leaks
    two = ["--group-folders", "--group-pattern", "x"]
    refused = CliRunner().invoke(app, ["data", "resplit", str(root), str(tmp_path / "no"), *two])
    assert refused.exit_code != 0
    assert not (tmp_path / "no").exists()


def test_a_csv_that_lacks_stems_or_columns_is_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    root = write_divided(tmp_path / "data", (8, 4, 4))
    config = DataConfig(source=str(root))
    table = tmp_path / "groups.csv"
    for text, said in (
        ("stem,group\nnone,a\n", "expected a group for"),
        ("name,group\na,b\n", "columns stem and group"),
    ):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=said):
            resplit(config, tmp_path / "out", groups=table)
    with pytest.raises(DataError, match="cannot be read"):
        resplit(config, tmp_path / "out", groups=tmp_path / "missing.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "groups.csv"]


def test_too_few_groups_and_a_folder_that_is_there_are_refused(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (8, 4, 4))
    one = SplitConfig(group_pattern="(?=.)")  # every stem the same, empty match
    with pytest.raises(DataError, match="expected groups enough for the split"):
        resplit(DataConfig(source=str(root), split=one), tmp_path / "out", likeness=False)
    with pytest.raises(DataError, match="not there yet"):
        resplit(DataConfig(source=str(root)), root)


def test_equal_seeds_divide_alike_and_the_command_says_what_it_did(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    outs = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        done = CliRunner().invoke(
            app,
            ["data", "resplit", str(synthetic_folder), str(tmp_path / name), "--seed", seed],
        )
        assert done.exit_code == 0, done.output
        found = survey(DataConfig(source=str(tmp_path / name)))
        outs.append(dict(zip(found.stems, found.splits, strict=True)))
    assert outs[0] == outs[1] != outs[2]
    assert "groups joined by likeness" in done.output
    counts = np.unique(list(outs[2].values()), return_counts=True)[1]
    for count in counts:
        assert f"{count} images of" in done.output
