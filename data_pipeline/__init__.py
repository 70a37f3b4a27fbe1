"""Images and masks: OpenCV prepares them once, tf.data feeds them.

>>> import data_pipeline
>>> config = data_pipeline.DataConfig(source="photographs", image_size=(128, 128))
>>> store = data_pipeline.prepare(config)
>>> store.classes, store.splits["train"].count
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_pipeline.config import DataConfig as DataConfig
    from data_pipeline.problems import DataError as DataError
    from data_pipeline.stores.prepare import prepare as prepare
    from data_pipeline.stores.store import Store as Store

_HOMES = {
    "DataConfig": "data_pipeline.config",
    "DataError": "data_pipeline.problems",
    "Store": "data_pipeline.stores.store",
    "prepare": "data_pipeline.stores.prepare",
}

__all__ = ["DataConfig", "DataError", "Store", "prepare"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
