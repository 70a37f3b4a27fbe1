from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from data_pipeline.stores.prepare import prepare
from search.cli.score import _data_of
from search.config.loading import config_from_tree
from tests.search.tiny import tiny_tree


def test_data_out_of_reach_leave_what_was_prepared_of_them(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_from_tree(tiny_tree(tmp_path, synthetic_folder))
    store = prepare(config.data)
    study = SimpleNamespace(
        config=config.to_tree(), path=tmp_path, data_fingerprint=store.fingerprint
    )
    moved, found = _data_of(study, tmp_path / "gone")
    assert (moved.data.source, found.path) == (str(tmp_path / "gone"), store.path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "data")

    monkeypatch.setattr("data_pipeline.stores.prepare.prepare", refuse)
    assert _data_of(study, None)[1].path == store.path
    study.data_fingerprint = "0" * 64
    with pytest.raises(PermissionError):
        _data_of(study, None)
