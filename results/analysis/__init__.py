"""Numbers from records: scores, intervals, importances, comparisons."""
