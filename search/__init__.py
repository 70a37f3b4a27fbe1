"""The search: configs, trials on a Ray cluster, confirmation and the command line.

    >>> import search
    >>> config = search.load_config("configs/quickstart.yaml", ["search.num_trials=4"])
    >>> summary = search.run(config)
    >>> summary.directory, summary.states

Importing this package loads neither Ray nor TensorFlow nor Optuna; ``run`` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.config.errors import ConfigError as ConfigError
    from search.config.loading import load_config as load_config
    from search.config.schema import StudyConfig as StudyConfig
    from search.errors import RunError as RunError
    from search.tuning.session import run as run

_HOMES = {
    "ConfigError": "search.config.errors",
    "RunError": "search.errors",
    "StudyConfig": "search.config.schema",
    "load_config": "search.config.loading",
    "run": "search.tuning.session",
}

__all__ = ["ConfigError", "RunError", "StudyConfig", "load_config", "run"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
