"""Tables of a study: what the report's figures draw, computed apart from them."""

from results.tables.core import (
    CURVE_COLUMNS,
    StudyTables,
    class_curves_table,
    curves_table,
    dice_table,
    failures_table,
    findings_table,
    history_table,
    parameters_table,
    splits_table,
    states_table,
    tabulate,
    thin,
    trials_table,
)

__all__ = [
    "CURVE_COLUMNS",
    "StudyTables",
    "class_curves_table",
    "curves_table",
    "dice_table",
    "failures_table",
    "findings_table",
    "history_table",
    "parameters_table",
    "splits_table",
    "states_table",
    "tabulate",
    "thin",
    "trials_table",
]
