"""docs/model.md names what there is to configure."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.config import ModelConfig, TrainConfig
from model.losses import LOSSES

PAGE = (Path(__file__).parents[2] / "docs" / "model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*ModelConfig.model_fields, *TrainConfig.model_fields, *LOSSES])
def test_each_field_and_loss_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE
