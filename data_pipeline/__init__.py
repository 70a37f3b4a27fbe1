"""Images and masks: OpenCV prepares them once, tf.data feeds them.

>>> import data_pipeline
>>> config = data_pipeline.DataConfig(source="photographs", image_size=(128, 128))
>>> store = data_pipeline.prepare(config)
>>> store.classes, store.splits["train"].count
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.config import DataConfig as DataConfig
    from data_pipeline.problems import DataError as DataError
    from data_pipeline.stores.prepare import prepare as prepare
    from data_pipeline.stores.store import Store as Store

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "DataConfig": "data_pipeline.config",
        "DataError": "data_pipeline.problems",
        "Store": "data_pipeline.stores.store",
        "prepare": "data_pipeline.stores.prepare",
    },
)
