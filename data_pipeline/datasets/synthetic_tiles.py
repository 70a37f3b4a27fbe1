"""Draws one magnetic tile with its defect, and photographs it: the look of the embedded data.

The look follows the photographs of Huang, Qiu and Yuan, "Surface defect saliency of magnetic
tile" (The Visual Computer, 2018): vertical grinding streaks under uneven light, dark bevels at
the sides, and five defects of very different size. Only their statistics are imitated; no pixel
of theirs is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Rng = np.random.Generator

SIDES = (96, 160)
"""Smallest and largest side of a photograph, pixels."""
EXPOSURES = 6
"""Photographs that are taken of one tile, each brighter than the one before, at most."""

_SLACK = 6  # pixels around a photograph's frame: its place jitters by as much
_DIMMEST = 62.0  # mean grey value of the first exposure; the sixth has about 160
_STEP = 1.21  # ratio of two successive exposures


@dataclass(frozen=True)
class Tile:
    """One tile, before it is photographed.

    Attributes:
        reflectance: float32 [H, W], around 1, light included.
        mask: uint8 [H, W], class index per pixel, 0 for background.
    """

    reflectance: Field
    mask: Mask


def draw_tile(class_index: int, rng: Rng) -> Tile:
    """Draw a tile with one defect.

    Args:
        class_index: 1 Blowhole, 2 Break, 3 Crack, 4 Fray, 5 Uneven; 0 draws a free tile.
        rng: The only source of randomness.

    Returns:
        A tile a few pixels larger than its photographs.

    Raises:
        ValueError: for another class index.
    """
    if not 0 <= class_index <= len(_DEFECTS):
        raise ValueError(f"expected a class index of 0..{len(_DEFECTS)}, received {class_index}")
    height, width = (int(side) + _SLACK for side in rng.integers(SIDES[0], SIDES[1] + 1, 2))
    surface = _streaks(height, width, rng, strength=1.0)
    region = np.zeros((height, width), np.float32)
    if class_index:
        surface, region = _DEFECTS[class_index - 1](surface, rng)
    light = _light(height, width, rng)
    picture = _bevels(surface * light * _stains(height, width, rng), rng)
    mask = np.where(region >= 0.5, class_index, 0).astype(np.uint8)
    return Tile(picture.astype(np.float32), mask)


def expose(tile: Tile, exposure: int, rng: Rng) -> tuple[Mask, Mask]:
    """Photographs a tile: brighter with each exposure, its frame and the lamp moved a little.

    Args:
        tile: The tile.
        exposure: 1 (dim) to EXPOSURES (bright).
        rng: The only source of randomness.

    Returns:
        (image, mask), uint8 [h, w] each, h and w a little below the tile's.

    Raises:
        ValueError: for an exposure out of range.
    """
    if not 1 <= exposure <= EXPOSURES:
        raise ValueError(f"expected an exposure of 1..{EXPOSURES}, received {exposure}")
    top, bottom, left, right = (int(cut) for cut in rng.integers(0, _SLACK // 2 + 1, 4))
    height, width = tile.mask.shape
    frame = np.s_[top : height - bottom, left : width - right]
    picture = tile.reflectance[frame]
    grey = picture * (_DIMMEST * _STEP ** (exposure - 1)) * rng.uniform(0.95, 1.05)
    grey = grey * np.exp(0.05 * _cloud(grey.shape[0], grey.shape[1], 2, rng))
    # Shot noise grows with the root of the light, read-out noise does not.
    deviation = np.sqrt(2.0 + 0.04 * np.maximum(grey, 0.0))
    grey = grey + deviation * rng.standard_normal(grey.shape, np.float32)
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return image, np.ascontiguousarray(tile.mask[frame])


def _cloud(height: int, width: int, cells: int, rng: Rng) -> Field:
    """Smooth noise of mean 0 and deviation about 1, with `cells` bumps along each side."""
    coarse = rng.standard_normal((cells + 2, cells + 2), np.float32)
    return _float(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _streaks(height: int, width: int, rng: Rng, strength: float) -> Field:
    """Ground metal: vertical streaks of several widths, some of them bright, and grain."""
    field = np.zeros((height, width), np.float32)
    for cells_x, cells_y, amount in ((width, 3, 0.065), (width // 3, 4, 0.055), (14, 2, 0.05)):
        coarse = rng.standard_normal((cells_y, cells_x), np.float32)
        coarse += rng.standard_normal(cells_x, np.float32)
        field += amount * 0.7 * _float(cv2.resize(coarse, (width, height)))
    for _ in range(int(rng.integers(1, 5))):
        column = int(rng.integers(0, width))
        along = np.clip(0.6 + 0.6 * _cloud(height, 1, 3, rng)[:, 0], 0.0, 1.2)
        field[:, column] += rng.uniform(0.12, 0.35) * along
    grain = rng.standard_normal((height, width), np.float32)
    field += 0.08 * _float(cv2.GaussianBlur(grain, (1, 5), 0))
    field = _float(cv2.GaussianBlur(field, (3, 1), 0.5))
    return _float(np.maximum(1.0 + strength * field, 0.1))


def _light(height: int, width: int, rng: Rng) -> Field:
    """Light on a curved tile: falls off to the sides, with a bright and a shady place."""
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32) - rng.uniform(-0.3, 0.3)
    falloff = 1.0 - rng.uniform(0.05, 0.35) * np.abs(x) ** 3
    clouds = 0.15 * _cloud(height, width, 2, rng) + 0.05 * _cloud(height, width, 5, rng)
    return _float(np.exp(clouds) * np.maximum(falloff, 0.2)[None, :])


def _stains(height: int, width: int, rng: Rng) -> Field:
    """Return what is no defect: faint dark specks and fine wandering lines, as every real tile
    has.
    """
    specks = np.maximum(_cloud(height, width, 16, rng) - 1.6, 0.0)
    field = 1.0 - np.minimum(0.12 * specks, 0.12)
    lines = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(0, 4))):
        start = rng.uniform(0, 1, 2) * (width, height)
        path = _walk(start, rng.uniform(0, 2 * np.pi), rng.uniform(8, 30), 0.5, rng)
        lines = np.maximum(lines, _stroke((height, width), path))
    return _float(field * (1.0 - 0.10 * lines))


def _bevels(picture: Field, rng: Rng) -> Field:
    """Dark or shining strips where the tile's side faces show, and slanted ends of the tile."""
    height, width = picture.shape
    picture = picture.copy()
    for side in (0, 1):
        if rng.random() < 0.45:
            strip = _SLACK // 2 + int(rng.integers(1, 6))
            columns = np.arange(strip) if side == 0 else width - 1 - np.arange(strip)
            picture[:, columns] *= rng.uniform(0.35, 0.65)
            edge = columns[-1] + (1 if side == 0 else -1)
            picture[:, edge] *= 1.0 + rng.uniform(0.1, 0.5) * np.abs(
                _cloud(height, 1, 5, rng)[:, 0]
            )
    for end in (0, 1):
        if rng.random() < 0.35:
            depth = _SLACK // 2 + rng.uniform(0, 4) + rng.uniform(-3, 3) * np.linspace(-1, 1, width)
            rows = np.arange(height)[:, None]
            outside = (rows if end == 0 else height - 1 - rows) < depth[None, :]
            picture[outside] *= rng.uniform(0.3, 0.55)
    return picture


def _blowhole(surface: Field, rng: Rng) -> tuple[Field, Field]:
    """Return one or two tiny round pits: dark, soft at the edge, the far rim catching light."""
    height, width = surface.shape
    region = np.zeros_like(surface)
    for _ in range(1 if rng.random() < 0.8 else 2):
        center = rng.uniform(0.1, 0.9, 2) * (width, height)
        radius, stretch = rng.uniform(2.0, 3.4), rng.uniform(1.0, 1.5)
        distance = _ellipse(surface.shape, center, (radius, radius * stretch), rng, wobble=0.12)
        pit = np.clip((1.0 - distance) * radius + 0.5, 0.0, 1.0)
        rim = np.exp(-(((distance - 1.45) * radius) ** 2))
        surface = surface * (1.0 - rng.uniform(0.5, 0.7) * pit) * (1.0 + 0.10 * rim)
        region = np.maximum(region, pit)
    return surface, region


def _break(surface: Field, rng: Rng) -> tuple[Field, Field]:
    """Return a piece broken out of an edge or a corner: rough, without streaks, with a jagged
    lip.
    """
    height, width = surface.shape
    inset = _SLACK / 2
    sides = ((inset, None), (width - inset, None), (None, inset), (None, height - inset))
    side = sides[int(rng.integers(0, 4))]
    place = rng.uniform(0.0, 1.0, 2) * (width, height)
    center = np.array(
        [place[0] if side[0] is None else side[0], place[1] if side[1] is None else side[1]]
    )
    along, deep = rng.uniform(0.12, 0.32), rng.uniform(0.07, 0.20)
    radii = (deep * width, along * height) if side[1] is None else (along * width, deep * height)
    distance = _ellipse(surface.shape, center, radii, rng, wobble=0.22)
    distance += 0.04 * _cloud(height, width, 24, rng)
    inside = np.clip((1.0 - distance) * min(radii) + 0.5, 0.0, 1.0)
    rough = 0.62 + 0.13 * _cloud(height, width, 9, rng) + 0.06 * _cloud(height, width, 40, rng)
    lip = np.exp(-(((distance - 1.0) * min(radii)) ** 2))
    broken = rng.uniform(0.8, 1.1) * rough
    surface = surface * (1.0 - inside) + broken * inside
    return surface + rng.uniform(0.1, 0.35) * lip, inside


def _crack(surface: Field, rng: Rng) -> tuple[Field, Field]:
    """Return a thin dark line that wanders along the tile and sometimes branches."""
    height, width = surface.shape
    from_edge = rng.random() < 0.6
    start = np.array(
        [rng.uniform(0.1, 0.9) * width, 0.0 if from_edge else rng.uniform(0.1, 0.5) * height]
    )
    path = _walk(start, np.pi / 2 + rng.normal(0, 0.15), rng.uniform(0.2, 0.6) * height, 0.22, rng)
    paths = [path]
    if rng.random() < 0.5:
        fork = path[int(rng.uniform(0.2, 0.7) * len(path))]
        turn = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 0.9)
        paths.append(_walk(fork, np.pi / 2 + turn, rng.uniform(0.1, 0.25) * height, 0.3, rng))
    if rng.random() < 0.5:
        paths = [np.array([0.0, height - 1.0]) + points * (1.0, -1.0) for points in paths]
    line, region = np.zeros_like(surface), np.zeros_like(surface)
    for points in paths:
        line = np.maximum(line, _stroke(surface.shape, points))
        # People mark a crack wider than it is.
        region = np.maximum(region, _stroke(surface.shape, points, marked=True))
    depth = rng.uniform(0.5, 0.75) * (0.85 + 0.15 * _cloud(height, width, 6, rng))
    return surface * (1.0 - np.clip(depth, 0.3, 0.9) * line), region


def _fray(surface: Field, rng: Rng) -> tuple[Field, Field]:
    """Return a large dull area where the ground surface is worn away: darker, no streaks,
    bell-shaped.
    """
    height, width = surface.shape
    center = rng.uniform((0.3, 0.35), (0.7, 0.75)) * (width, height)
    radii = rng.uniform((0.14, 0.19), (0.25, 0.36)) * (width, height)
    distance = _ellipse(surface.shape, center, radii, rng, wobble=0.14)
    distance += 0.03 * _cloud(height, width, 14, rng)
    inside = np.clip((1.0 - distance) * min(radii) / 1.5 + 0.5, 0.0, 1.0)
    grain = cv2.GaussianBlur(rng.standard_normal(surface.shape, np.float32), (3, 3), 0)
    smooth = cv2.GaussianBlur(surface, (0, 0), 5)
    dull = rng.uniform(0.58, 0.78) * (0.85 * smooth + 0.15 * surface) * (1.0 + 0.07 * grain)
    return surface * (1.0 - inside) + dull * inside, inside


def _uneven(surface: Field, rng: Rng) -> tuple[Field, Field]:
    """Return a band or patch that was ground differently: stronger streaks, other brightness."""
    height, width = surface.shape
    ground = _streaks(height, width, rng, strength=rng.uniform(1.6, 2.4))
    ground *= rng.choice([rng.uniform(1.15, 1.4), rng.uniform(0.7, 0.82)], p=[0.7, 0.3])
    rows = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    wave = 0.012 * _cloud(1, width, 4, rng) + rng.uniform(-0.05, 0.05) * columns
    inside = np.clip((rng.uniform(0.12, 0.42) + wave - rows) * height + 0.5, 0.0, 1.0)
    if rng.random() < 0.25:  # a patch in place of a band
        low, left, right = rng.uniform((0.3, -0.9, 0.2), (0.5, -0.4, 0.9))
        across = np.minimum(columns - left, right - columns) * width / 2
        down = np.minimum(rows - low + wave, low + 0.42 + wave - rows) * height
        inside = np.clip(np.minimum(across, down) + 0.5, 0.0, 1.0)
    if rng.random() < 0.5:
        inside = inside[::-1]
    inside = np.ascontiguousarray(np.broadcast_to(inside, surface.shape))
    return surface * (1.0 - inside) + (0.3 * surface + 0.7) * ground * inside, inside


_DEFECTS = (_blowhole, _break, _crack, _fray, _uneven)


def _ellipse(
    shape: tuple[int, ...], center: npt.NDArray[Any], radii: Any, rng: Rng, wobble: float
) -> Field:
    """Relative distance from a wobbly ellipse's centre: 1 on its outline. float32 [H, W]."""
    x = np.arange(shape[1], dtype=np.float32)[None, :] - center[0]
    y = np.arange(shape[0], dtype=np.float32)[:, None] - center[1]
    angle = np.arctan2(y / radii[1], x / radii[0])
    outline = np.ones(shape, np.float32)
    for order in (2, 3, 5):
        outline += wobble * rng.normal() / order * np.cos(order * angle + rng.uniform(0, 6.28))
    return _float(np.hypot(x / radii[0], y / radii[1]) / np.maximum(outline, 0.4))


def _walk(
    start: npt.NDArray[Any], heading: float, length: float, turning: float, rng: Rng
) -> npt.NDArray[np.float64]:
    """Return points (x, y) of a wandering path, one every three pixels; it keeps to its heading."""
    steps = max(2, round(length / 3.0))
    angles = heading + turning * rng.standard_normal(steps)
    moves = 3.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([np.asarray(start)[None], start + np.cumsum(moves, axis=0)])


def _stroke(shape: tuple[int, ...], path: npt.NDArray[Any], *, marked: bool = False) -> Field:
    """Return a path drawn one pixel wide and soft (two pixels and hard if marked), 0-1, [H, W]."""
    canvas = np.zeros(shape, np.uint8)
    for aside in (-0.5, 0.5) if marked else (0.0,):
        points = np.rint((path + np.array([aside, 0.0])) * 16).astype(np.int32)[:, None]
        cv2.polylines(canvas, [points], False, 255, 1, cv2.LINE_8 if marked else cv2.LINE_AA, 4)
    if marked:
        return _float(canvas / 255)
    soft = _float(cv2.GaussianBlur(canvas.astype(np.float32), (3, 3), 0.5))
    return _float(np.minimum(soft / 170, 1.0))


def _float(picture: Any) -> Field:
    """OpenCV tells no types and NumPy widens some; everything here is float32 [H, W]."""
    result: Field = np.asarray(picture, np.float32)
    return result
