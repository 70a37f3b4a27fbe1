from __future__ import annotations

from typing import Any

import pytest

from model.config import TrainConfig
from results.flexunet.unread import unread_fields


def of(**fields: Any) -> set[str]:
    values = {f"train.{name}": value for name, value in TrainConfig(**fields)}
    found = unread_fields(values)
    assert found <= set(values), "every one is a field"
    return {name.removeprefix("train.") for name in found}


@pytest.mark.parametrize(
    ("field", "unread", "read"),
    [
        ("weight_decay", {"optimizer": "adam"}, {"optimizer": "adamw"}),
        ("plateau_factor", {"schedule": "cosine"}, {"schedule": "reduce_on_plateau"}),
        ("plateau_patience", {"schedule": "constant"}, {"schedule": "reduce_on_plateau"}),
        ("focal_gamma", {"loss": "focal_tversky"}, {"loss": "focal_dice"}),
        ("tversky_alpha", {"loss": "dice"}, {"loss": "focal_tversky"}),
        ("tversky_beta", {"loss": "focal"}, {"loss": "tversky"}),
        ("early_stopping_metric", {}, {"early_stopping_patience": 3}),
    ],
)
def test_a_field_is_unread_by_the_value_of_another(
    field: str, unread: dict[str, Any], read: dict[str, Any]
) -> None:
    assert field in of(**unread)
    assert field not in of(**read)


def test_what_an_old_record_does_not_name_decides_nothing() -> None:
    assert unread_fields({"train.weight_decay": 1e-4}) == set()
