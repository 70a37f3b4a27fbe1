"""What a study found: its tables, its figures, its best config.

    >>> import results
    >>> study = results.load_study("studies/quickstart")
    >>> study.tables["trials"].sort_values("value")
    >>> study.figures["search curves"].show()
    >>> results.best_config(study)["model"]

Importing this package loads neither Ray nor TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.lazy import lazy_names

if TYPE_CHECKING:
    from results.pages.notebook import Study as Study
    from results.pages.notebook import best_config as best_config
    from results.pages.notebook import load_study as load_study
    from results.pages.report import write_report as write_report
    from results.records.study import RecordError as RecordError

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "RecordError": "results.records.study",
        "Study": "results.pages.notebook",
        "best_config": "results.pages.notebook",
        "load_study": "results.pages.notebook",
        "write_report": "results.pages.report",
    },
)
