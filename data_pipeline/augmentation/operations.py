"""The augmentation operations by name, and the presets: which of them, how far, how often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Cells of the control grids, per side. Displacements below 0.48 of a cell cannot by themselves fold
# a picture over itself: Choi & Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline
# functions, Graphical Models 62 (2000).
CELLS = {"elastic": 8, "distortion": 3}
LARGEST_STEP = 0.48

# The operations by name, each with what it is where it is as strong as can be of use.
GEOMETRIC: Mapping[str, Any] = {
    "horizontal_flip": True,
    "vertical_flip": True,
    "quarter_turns": True,
    "rotation": 60.0,
    "scale": 0.5,
    "shift": 0.3,
    "shear": 30.0,
    "perspective": 0.6,
    "elastic": LARGEST_STEP / CELLS["elastic"],
    "distortion": LARGEST_STEP / CELLS["distortion"],
    "barrel": 1.0,
    "pincushion": 0.3,
    "crop": 0.6,
}
PHOTOMETRIC: Mapping[str, Any] = {
    "gamma": 1.0,
    "contrast": 0.8,
    "brightness": 0.5,
    "saturation": 1.0,
    "hue": 90.0,
    "sharpening": 3.0,
    "blur": 3.0,
    "noise": 0.2,
    "jpeg": 0.95,
    "cutout": 0.7,
}
OPERATIONS: Mapping[str, Any] = {**GEOMETRIC, **PHOTOMETRIC}
FILLED = (*OPERATIONS, "probability")  # from the preset, where a config says nothing of them
COLOR_ONLY = ("saturation", "hue")
SWITCHES = tuple(name for name, full in OPERATIONS.items() if full is True)
IGNORE = "ignore"

# One uniform number in [0, 1) a sample for each of these, and one (with "?") that decides whether
# an operation happens. The order is part of what a seed means: append new draws at the end, and
# what the older ones drew stays as it was.
DRAWS = (
    *("quarter_turns", "rotation", "scale", "shift_y", "shift_x", "shear_y", "shear_x"),
    *("perspective_y", "perspective_x", "elastic", "distortion", "barrel", "pincushion"),
    *("crop", "crop_class", "crop_pixel", "gamma", "contrast", "brightness", "saturation", "hue"),
    *("sharpening", "blur", "noise", "jpeg", "cutout_y", "cutout_x", "cutout_y_side"),
    *("cutout_x_side", "horizontal_flip?", "vertical_flip?", "quarter_turns?", "rotation?"),
    *("scale?", "shift?", "shear?", "perspective?", "elastic?", "distortion?", "barrel?"),
    *("pincushion?", "crop?", "gamma?", "contrast?", "brightness?", "saturation?", "hue?"),
    *("sharpening?", "blur?", "noise?", "jpeg?", "cutout?"),
)

FLIPS = {"horizontal_flip": True, "vertical_flip": True}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "light": {**FLIPS, "rotation": 5.0, "shift": 0.02, "brightness": 0.05, "contrast": 0.1},
    "default": {
        **FLIPS,
        "rotation": 10.0,
        "scale": 0.1,
        "shift": 0.05,
        "elastic": 0.02,
        "brightness": 0.1,
        "contrast": 0.2,
        "probability": {"elastic": 0.5},
    },
    "strong": {
        **FLIPS,
        "rotation": 30.0,
        "scale": 0.25,
        "shift": 0.1,
        "shear": 10.0,
        "perspective": 0.2,
        "elastic": 0.03,
        "distortion": 0.06,
        "barrel": 0.2,
        "pincushion": 0.15,
        "brightness": 0.15,
        "contrast": 0.3,
        "gamma": 0.3,
        "sharpening": 1.0,
        "blur": 1.0,
        "noise": 0.05,
        "jpeg": 0.6,
        "cutout": 0.25,
        "probability": {
            "perspective": 0.3,
            "elastic": 0.5,
            "distortion": 0.3,
            "barrel": 0.2,
            "pincushion": 0.2,
            "sharpening": 0.2,
            "blur": 0.2,
            "noise": 0.3,
            "jpeg": 0.2,
            "cutout": 0.3,
        },
    },
}
