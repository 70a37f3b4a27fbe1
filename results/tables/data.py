"""Tables of a study's data: classes by split, what the input pipeline gave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from foundation.files import read_json
from results.records import file_names
from results.records.study import StudyRecord
from results.tables.core import splits_table

PIPELINE_NAME = file_names.PIPELINE


def class_table(study: StudyRecord) -> pd.DataFrame:
    """``splits_table`` with the groups that show each class, and how rare it is.

    Returns:
        Columns split, class, images (of the split), groups, images_with (the class), groups_with
        (NaN in records that do not tell), pixels, share (of the split's counted pixels, 0..1; NaN
        without pixels), against_train (share divided by the one of split "train"; NaN where
        either is undefined or none).
    """
    table = splits_table(study)
    splits = study.data.get("splits")
    told = splits if isinstance(splits, Mapping) else {}
    groups = [
        told[split].get("groups_with", {}).get(name, math.nan)
        for split, name in zip(table["split"], table["class"], strict=True)
    ]
    table.insert(5, "groups_with", np.array(groups, dtype=np.float64))
    train = table[table["split"] == "train"].set_index("class")["share"]
    base = table["class"].map(train).astype(np.float64)
    return table.assign(against_train=table["share"] / base.where(base > 0))


@dataclass(frozen=True)
class InputAccount:
    """What the input pipeline gave to a study's trials, over all its runs.

    Attributes:
        source: "pipeline.json", or "epochs" where it was summed from the trials' epochs.
        sharing: "service" or "local"; "" where not recorded.
        why: Why it is that; "" where not recorded.
        images: Training images that trials read.
        made: Of the shared ones, those that were made; the others were read once more.
        hit_rate: Share of the shared images that were not made for their reader, 0..1; None
            without a shared one.
        train_seconds: That trials trained.
        input_seconds: Of them, waiting for images.
    """

    source: str
    sharing: str
    why: str
    images: int
    made: int
    hit_rate: float | None
    train_seconds: float
    input_seconds: float

    @property
    def waiting(self) -> float:
        """Share of the training time spent waiting for images, 0..1; NaN without any."""
        return self.input_seconds / self.train_seconds if self.train_seconds > 0 else math.nan

    @property
    def images_per_second(self) -> float:
        """Images that a trial read per second of training, in the mean; NaN without any."""
        return self.images / self.train_seconds if self.train_seconds > 0 else math.nan


def input_account(study: StudyRecord) -> InputAccount | None:
    """Read pipeline.json, or sum up the epochs of a study without a readable one.

    Returns:
        None where neither tells.
    """
    told = read_json(study.path / PIPELINE_NAME)
    if told and _number(told, "train_seconds") > 0:
        hit_rate = told.get("hit_rate")
        return InputAccount(
            source=PIPELINE_NAME,
            sharing=str(told.get("sharing") or ""),
            why=str(told.get("why") or ""),
            images=int(_number(told, "images")),
            made=int(_number(told, "made")),
            hit_rate=float(hit_rate) if isinstance(hit_rate, int | float) else None,
            train_seconds=_number(told, "train_seconds"),
            input_seconds=_number(told, "input_seconds"),
        )
    return _from_epochs(study, told)


def _from_epochs(study: StudyRecord, told: Mapping[str, Any]) -> InputAccount | None:
    train = images = waited = 0.0
    for trial in study.trials:
        curve = trial.curve
        known = np.isfinite(curve.train_seconds) & np.isfinite(curve.input_seconds)
        train += float(curve.train_seconds[known].sum())
        waited += float(curve.input_seconds[known].sum())
        images += float(np.nansum((curve.images_per_second * curve.train_seconds)[known]))
    if train <= 0:
        return None
    sharing, why = (str(told.get(name) or "") for name in ("sharing", "why"))
    return InputAccount("epochs", sharing, why, round(images), 0, None, train, waited)


def _number(told: Mapping[str, Any], name: str) -> float:
    value = told.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def input_table(account: InputAccount | None) -> pd.DataFrame:
    """Return the account as one row, with waiting and images_per_second; no row without one."""
    if account is None:
        return pd.DataFrame()
    rates = {"waiting": account.waiting, "images_per_second": account.images_per_second}
    return pd.DataFrame([vars(account) | rates])
