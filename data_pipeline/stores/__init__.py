"""Prepared stores: a data set checked, resized and written once for all trials."""
