"""A study of tiny trials: seconds, not minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.config.loading import config_from_tree
from search.config.schema import StudyConfig

PARAMS = {
    "model.num_layers": 3,
    "model.base_filters": 8,
    "model.base_kernel": 3,
    "model.dropout_rate": 0.0,
    "train.learning_rate": 0.01,
}
"""A trial of a study with the default space."""


def tiny_tree(folder: Path, source: Path, **search: Any) -> dict[str, Any]:
    """A study of 16-pixel images and two-level models."""
    return {
        "study": {"name": "tiny", "storage_path": str(folder), "seed": 5},
        "data": {"source": str(source), "image_size": 16},
        "model": {
            "num_layers": {"int": [1, 2]},
            "base_filters": {"choice": [2, 4]},
            "base_kernel": 3,
            "dropout_rate": 0.0,
        },
        "train": {
            "epochs": 3,
            "steps_per_epoch": 2,
            "batch_size": 4,
            # Drawn, so that no two trials are the same: a duplicate is not trained.
            "learning_rate": {"float": [0.008, 0.012]},
        },
        "search": {
            "num_trials": 3,
            "grace_epochs": 1,
            "reduction_factor": 2,
            "score_at_end": False,  # seconds, which few tests need
            **search,
        },
        "resources": {"cpus_per_trial": 1, "num_cpus": 2},
    }


def tiny_study(folder: Path, source: Path, **search: Any) -> StudyConfig:
    """The config of :func:`tiny_tree`."""
    return config_from_tree(tiny_tree(folder, source, **search))
