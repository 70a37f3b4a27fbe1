"""What averaging a model's answers over mirror images brings, for the models of finished studies.

    python benchmarks/flips.py STUDY_DIR...

Mean foreground Dice of every trial's model that is kept, on the validation and the test split at
the images' own size: as it is, and what the mirror images (``search.score_flips``) add.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np

from data_pipeline.stores.prepare import prepare
from results.analysis import scores
from results.records import file_names
from results.records.schemas import Flips
from results.records.study import load_study
from search.config.loading import config_from_record
from search.scoring.model import score_model


def dice_of(study_dir: Path, split: str) -> np.ndarray:
    """Score a study's models: [models, flips] mean foreground Dice."""
    study = load_study(study_dir)
    config = config_from_record(study.config, str(study_dir / file_names.STUDY))
    store = prepare(config.data)
    models = [trial.path / file_names.MODEL for trial in study.trials]
    rows = []
    for path in filter(Path.is_file, models):
        facts = {"name": path.parent.name, "trial": None, "epoch": None}
        found = [
            score_model(path, store, config.data, split, flips=flips, **facts)
            for flips in get_args(Flips)
        ]
        rows.append([scores.mean_foreground(scores.dice(e.counts.sum(axis=0))) for e in found])
    return np.array(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path, nargs="+")
    options = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}\n")
    print("| models | split | as it is | horizontal | all | least and most of a model, all |")
    print("|---|---|---:|---:|---:|---:|")
    for study_dir in options.study:
        for split in ("valid", "test"):
            dice = dice_of(study_dir, split)
            plain, horizontal, both = dice.mean(axis=0)
            gains = dice[:, 2] - dice[:, 0]
            print(
                f"| {len(dice)} | {split} | {plain:.3f} | {horizontal - plain:+.3f} | "
                f"{both - plain:+.3f} | {gains.min():+.3f} to {gains.max():+.3f} |"
            )


if __name__ == "__main__":
    main()
