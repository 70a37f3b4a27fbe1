"""The search: configs, trials on a Ray cluster, confirmation and the command line.

    >>> import search
    >>> config = search.load_config("configs/quickstart.yaml", ["search.num_trials=4"])
    >>> summary = search.run(config)
    >>> summary.directory, summary.states

Importing this package loads neither Ray nor TensorFlow nor Optuna; ``run`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.lazy import lazy_names

if TYPE_CHECKING:
    from search.config.errors import ConfigError as ConfigError
    from search.config.loading import load_config as load_config
    from search.config.schema import StudyConfig as StudyConfig
    from search.errors import RunError as RunError
    from search.tuning.session import run as run

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ConfigError": "search.config.errors",
        "RunError": "search.errors",
        "StudyConfig": "search.config.schema",
        "load_config": "search.config.loading",
        "run": "search.tuning.session",
    },
)
