"""Saved models put to use: evaluated, used for prediction, exported."""
