"""Where the reference's config file says the images are, by default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SYNTHETIC = "synthetic"  # as data_pipeline.config has it, which this package does not import
_KINDS = ("images", "masks")
_SPLITS = ("train", "valid", "test")


def images_root(config: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the folder of the split folders that a config's data have, and what to mind of it.

    A relative ``data.source`` is made absolute where it is there: the reference takes a path from
    where it is started, an import here from where the file lies.

    Args:
        config: The tree of a config.
    """
    data = config.get("data")
    source = str(data.get("source") if isinstance(data, Mapping) else None)
    if source == SYNTHETIC:
        told = "the data are drawn, not stored: `data synthetic DIR` writes them"
        return source, (f"{told}, --images-root DIR names them",)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return source, (f"the data, {source}, are not here: --images-root names their folder",)
    root = folder.absolute()
    missing = [f"{s}/{k}" for s in _SPLITS for k in _KINDS if not (root / s / k).is_dir()]
    if not missing:
        return root.as_posix(), ()
    return root.as_posix(), (
        f"{root} has no {', '.join(missing)}: `data resplit` makes such folders, --images-root "
        "names others",
    )
