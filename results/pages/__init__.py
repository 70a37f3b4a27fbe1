"""Whole HTML pages: the report, the comparison, the gallery, a training's curves."""
