from __future__ import annotations

from data_pipeline.config import DataConfig, SplitConfig
from data_pipeline.stores.fingerprint import settings_of


def test_settings_that_came_later_change_no_earlier_fingerprint() -> None:
    first = ["group_pattern", "seed", "test", "valid"]
    assert sorted(settings_of(DataConfig())["split"]) == first
    folded = SplitConfig(folds=3, fold=1, group_folders=True)
    added = settings_of(DataConfig(split=folded))["split"]
    assert added == settings_of(DataConfig())["split"] | {
        "folds": 3, "fold": 1, "group_folders": True,
    }  # fmt: skip
