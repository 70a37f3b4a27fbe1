"""A page of pictures: one HTML file that needs no network, light and dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

SHOWN_SIDE = 192  # pixels of a picture in a page


def page(title: str, lead: str, figures: Iterable[str], rest: str = "") -> str:
    """Return the page.

    Args:
        title: Heading, any text.
        lead: HTML above the pictures.
        figures: HTML of each row, as `figure` makes it.
        rest: HTML below them.
    """
    said = html.escape(title)
    return _PAGE.format(title=said, lead=lead, figures="\n".join(figures), rest=rest)


def figure(caption: str, tags: Iterable[str]) -> str:
    """Return a row of pictures with its caption, any text."""
    return (
        f"<figure><figcaption>{html.escape(caption)}</figcaption>"
        f"<div>{''.join(tags)}</div></figure>"
    )


def picture_tag(picture: NDArray[np.uint8], said: str, kind: str = "sample") -> str:
    """Return an image tag that holds its picture.

    Args:
        picture: uint8 [h, w, 3], RGB.
        said: What it shows, any text.
        kind: sample, or original, which is framed.
    """
    data = base64.b64encode(_jpeg(picture)).decode("ascii")
    source = f"data:image/jpeg;base64,{data}"
    return f'<img class="{kind}" alt="{html.escape(said)}" src="{source}">'


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Return a fifth of a PNG's size; photographs need no more."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1])


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem;
  padding: 0 1rem; }}
figure {{ margin: 0 0 1rem; }}
figure div {{ display: flex; flex-wrap: wrap; gap: 4px; }}
img {{ width: 11rem; height: auto; image-rendering: pixelated; border-radius: 3px; }}
img.original {{ outline: 3px solid #3b6ea5; outline-offset: -3px; margin-right: 8px; }}
figcaption {{ font-size: .85rem; overflow-wrap: anywhere; }}
ul {{ display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }}
ul span {{ display: inline-block; width: 1em; height: 1em; margin-right: .4em;
  border-radius: 3px; vertical-align: -.1em; border: 1px solid #8888; }}
th, td {{ padding: .1rem .8rem .1rem 0; text-align: left; font-weight: normal; }}
td {{ font-variant-numeric: tabular-nums; text-align: right; }}
</style>
</head>
<body>
<h1>{title}</h1>
{lead}
{figures}
{rest}
</body>
</html>
"""
