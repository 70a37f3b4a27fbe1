"""How many epochs a last training on all but the test images takes: as many as were found."""

from __future__ import annotations

from pathlib import Path

from results.records.epochs import best_of, epochs_in
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.training.folder import RECORD


def final_epochs(config: StudyConfig, asked: int | None = None, earlier: Path | None = None) -> int:
    """Find out how many epochs to train without validation.

    Args:
        config: Of constants; an export's tells the best epoch in its provenance.
        asked: The number, where it is given.
        earlier: Folder of a training that was validated, whose best epoch is taken.

    Raises:
        ConfigError: where nothing tells the number.
    """
    if asked is not None:
        return asked
    if earlier is not None:
        return _best_epoch(earlier)
    found = (config.provenance or {}).get("best_epoch")
    if isinstance(found, int) and found > 0:
        return found
    raise ConfigError(
        "--final",
        [
            "expected the number of epochs: --epochs N, --epochs-from OUT_DIR of an earlier "
            "training, or a config with provenance.best_epoch, as export writes it; received none"
        ],
    )


def _best_epoch(folder: Path) -> int:
    """Return the epoch of the highest objective in a training's metrics.jsonl, the earliest of
    equals.
    """
    if not (folder / RECORD).is_file():
        raise ConfigError(str(folder), [f"expected the folder of a training, found no {RECORD}"])
    best = best_of(epochs_in(folder))
    if best is None:
        raise ConfigError(
            str(folder), ["expected a training that was validated, received no epoch with scores"]
        )
    return best.epoch
