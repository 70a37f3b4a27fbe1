"""Augmentation in the reference's terms, and back: its [augmentor] and what belongs to it.

The reference makes one copy of an image an operation; here an image passes all of them, each drawn
with its share. Its elastic fields differ between image and mask, and its sharpening and brightening
change masks: those are taken over from its files, where here the mask moves with the image, but
never switched on in a file for its trainer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from results.records.config_fields import bounds, operations

# What a published file says of the operations, written beside those that are off.
DETAILS: Mapping[str, Mapping[str, Any]] = {
    "deformation": {"alpah": 1300, "sigmoids": [8.0]},
    "distortion": {
        "gaussian_filter_rsigma": 40,
        "gaussian_filter_sigma": 0.5,
        "distortions": [0.02],
    },
    "sharpening": {"k": 1.0},
    "brightening": {"alpha": 1.2, "beta": 10},
    "barrdistortion": {"radius": 0.3, "amount": 0.3, "centers": [(0.5, 0.5)]},
    "pincdistortion": {"radius": 0.3, "amount": 0.3, "centers": [(0.5, 0.5)]},
}

OFF: Mapping[str, Any] = {
    "rotation": False,
    "angles": [],
    "shrinks": [],
    "shears": [],
    "hflip": False,
    "vflip": False,
    "deformation": False,
    "distortion": False,
    "sharpening": False,
    "brightening": False,
    "barrdistortion": False,
    "pincdistortion": False,
}

_APART = "off: that trainer bends image and mask apart"
_MASKS = "off: that trainer changes the masks, too"
_REFUSED = {
    "elastic": _APART,
    "distortion": _APART,
    "sharpening": _MASKS,
    "brightness": _MASKS,
    "contrast": _MASKS,
}
_WRITTEN = (
    "horizontal_flip",
    "vertical_flip",
    "quarter_turns",
    "rotation",
    "scale",
    "shear",
    "barrel",
    "pincushion",
)
ELASTIC = 0.03
"""What a [deformation] becomes: its strength depends on code, not on its numbers alone."""
_PHOTOMETRIC = ("sharpening", "brightening")
_MASK = {True: "the mask stays", False: "image and mask alike"}


@dataclass
class Augmentor:
    """The sections that say how the reference augments, and what they cannot say.

    Attributes:
        sections: [augmentor] and those of its operations, every key of them.
        lost: (field, value, nearest) of what is not said exactly.
    """

    sections: dict[str, dict[str, Any]]
    lost: list[tuple[str, Any, str]] = field(default_factory=list)

    @property
    def used(self) -> bool:
        return any(bool(value) for value in self.sections["augmentor"].values())


def to_augmentor(augment: Mapping[str, Any]) -> Augmentor:
    """Say a config's ``augment`` section, of constants, in the reference's terms."""
    sections = {name: dict(keys) for name, keys in DETAILS.items()}
    found = Augmentor({"augmentor": dict(OFF), **sections})
    for name in operations():
        if _is_on(augment, name):
            _switch_on(found, name, augment[name])
    if found.used:
        shares = {name: _share(augment, name) for name in _WRITTEN if _is_on(augment, name)}
        nearest = "each alone, on a copy of its own"
        found.lost.append(("augment.probability", shares, nearest))
        if any(name in shares for name in ("rotation", "scale", "shear")):
            border = augment.get("border", "reflect")
            found.lost.append(("augment.border", border, "what that trainer fills it with"))
    every = "every training image equally often"
    for name, natural, nearest in (
        ("sampling", "natural", every),
        ("oversample", None, every),
        ("paste", 0.0, every),
        ("patch_size", None, "whole images"),
    ):
        value = augment.get(name, natural)
        if value != natural:
            found.lost.append((f"augment.{name}", value, nearest))
    return found


def _is_on(augment: Mapping[str, Any], name: str) -> bool:
    return bool(augment.get(name)) and _share(augment, name) > 0


def _share(augment: Mapping[str, Any], name: str) -> float:
    """Return how often an operation is drawn, by ``AugmentConfig.share`` where the config says
    nothing.
    """
    default = 0.5 if name in ("horizontal_flip", "vertical_flip") else 1.0
    return float((augment.get("probability") or {}).get(name, default))


def _switch_on(found: Augmentor, name: str, amount: Any) -> None:
    flags = found.sections["augmentor"]
    nearest: str | None = None
    if name in ("horizontal_flip", "vertical_flip"):
        flags[name[0] + "flip"] = True
    elif name == "quarter_turns":
        flags.update(rotation=True, angles=[*flags["angles"], 90, 180, 270])
    elif name == "rotation":
        flags.update(rotation=True, angles=[*flags["angles"], amount, 360 - amount])
        nearest = f"by {amount:g} and {360 - amount:g} degrees, none between"
    elif name == "scale":
        flags["shrinks"] = [round(1 - amount, 6)]
        nearest = f"shrunk to {1 - amount:g}, none between and none larger"
    elif name == "shear":
        flags["shears"] = [round(math.tan(math.radians(amount)), 6)]
        nearest = f"by {flags['shears'][0]:g}, none between"
    elif name in ("barrel", "pincushion"):
        section = "barrdistortion" if name == "barrel" else "pincdistortion"
        flags[section] = True
        found.sections[section]["amount"] = amount
        nearest = f"[{section}] of this amount, by that trainer's formula"
    else:
        nearest = _REFUSED.get(name, "off: that trainer has no such operation")
    if nearest is not None:
        found.lost.append((f"augment.{name}", amount, nearest))


def from_augmentor(
    sections: Mapping[str, Mapping[str, Any]], square: bool
) -> tuple[dict[str, Any], list[str]]:
    """Say the reference's [augmentor] as the ``augment`` section of a config.

    Args:
        sections: A file's sections.
        square: Whether images are square, as quarter turns need.

    Returns:
        The section, and a sentence on each operation that is not taken over exactly.
    """
    augment: dict[str, Any] = {"preset": "none", "sampling": "natural"}
    notes: list[str] = []
    flags = {**OFF, **sections.get("augmentor", {})}
    for name in ("horizontal_flip", "vertical_flip"):
        if flags[name[0] + "flip"]:
            augment[name] = True
    if flags["rotation"]:
        _take_angles(augment, notes, flags["angles"], square)
    if flags["shrinks"]:
        scale = max(abs(1 - shrink) for shrink in flags["shrinks"])
        augment["scale"] = min(round(scale, 6), 0.99)
        notes.append(_note("shrinks", flags["shrinks"], f"scale {augment['scale']:g}, both ways"))
    if flags["shears"]:
        shear = math.degrees(math.atan(max(abs(value) for value in flags["shears"])))
        augment["shear"] = min(round(shear, 2), 45.0)
        notes.append(_note("shears", flags["shears"], f"shear {augment['shear']:g} degrees"))
    _take_amounts(augment, notes, flags, sections)
    names = [name for name in operations() if name in augment]
    if names:
        share = round(1 / (len(names) + 1), 3)
        augment["probability"] = dict.fromkeys(names, share)
        notes.append(
            "augmentor: one copy of an image an operation becomes a share of "
            f"{share:g} each (augment.probability), drawn together"
        )
    return augment, notes


def _note(key: str, value: Any, taken: str) -> str:
    return f"augmentor.{key}: {value!r} becomes augment.{taken}"


def _take_angles(augment: dict[str, Any], notes: list[str], angles: Any, square: bool) -> None:
    if not angles:
        notes.append("augmentor.rotation: no angles are given, so nothing is turned")
        return
    folded = [min(angle % 360, -angle % 360) for angle in angles]
    quarters = [angle for angle in folded if angle % 90 == 0] if square else []
    others = [angle for angle in folded if angle not in quarters]
    if quarters:
        augment["quarter_turns"] = True
    if others:
        augment["rotation"] = float(max(others))
        notes.append(_note("angles", angles, f"rotation {max(others):g} degrees, and all below"))


def _take_amounts(
    augment: dict[str, Any],
    notes: list[str],
    flags: Mapping[str, Any],
    sections: Mapping[str, Mapping[str, Any]],
) -> None:
    given = {name: {**keys, **sections.get(name, {})} for name, keys in DETAILS.items()}
    amounts: dict[str, dict[str, float]] = {
        "deformation": {"elastic": ELASTIC},
        "distortion": {"distortion": max(map(abs, given["distortion"]["distortions"]), default=0)},
        "sharpening": {"sharpening": abs(given["sharpening"]["k"])},
        "brightening": {
            "contrast": min(abs(given["brightening"]["alpha"] - 1), 0.99),
            "brightness": min(abs(given["brightening"]["beta"]) / 255, 1.0),
        },
        "barrdistortion": {"barrel": abs(given["barrdistortion"]["amount"])},
        "pincdistortion": {"pincushion": abs(given["pincdistortion"]["amount"])},
    }
    for operation, found in amounts.items():
        if not flags[operation]:
            continue
        taken = {name: round(_within(name, amount), 6) for name, amount in found.items()}
        augment.update(taken)
        words = ", ".join(f"{name} {amount:g}" for name, amount in taken.items())
        notes.append(_note(operation, True, f"{words}; {_MASK[operation in _PHOTOMETRIC]}"))


def _within(operation: str, amount: float) -> float:
    """Return the amount, or the most that the operation takes."""
    return min(amount, bounds()[f"augment.{operation}"].get("maximum", amount))
