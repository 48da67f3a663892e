"""Pictures without a plotting library: labelled images side by side, and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def side_by_side(
    path: Path, images: Mapping[str, NDArray[np.uint8]], side: int = 512, columns: int = 4
) -> None:
    """Write the top left ``side`` pixels of images (3, row, col) with their names above."""
    font = ImageFont.load_default(16)
    strip, gap = 26, 6
    lines = math.ceil(len(images) / columns)
    wide = min(columns, len(images))
    size = (wide * (side + gap) + gap, lines * (side + strip) + gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, image) in enumerate(images.items()):
        left = gap + number % columns * (side + gap)
        top = number // columns * (side + strip)
        draw.text((left, top + 4), name, fill="black", font=font)
        crop = np.moveaxis(image[:, :side, :side], 0, -1)
        sheet.paste(Image.fromarray(np.ascontiguousarray(crop)), (left, top + strip))
    sheet.save(path)


def curves(
    path: Path,
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    title: str,
    x_name: str,
    log: bool = True,
) -> None:
    """Write curves over ``x`` with a legend; ``log`` takes a logarithmic vertical axis."""
    width, height, left, right, top, bottom = 860, 520, 80, 250, 50, 60
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    known = [
        v for values in lines.values() for v in values if math.isfinite(v) and (v > 0 or not log)
    ]
    low, high = scale(min(known), max(known), log)

    def at(a: float, b: float) -> tuple[float, float]:
        b = math.log10(max(b, 10**low)) if log else b
        across = (a - min(x)) / (max(x) - min(x) or 1)
        up = (b - low) / (high - low)
        return left + across * (width - left - right), height - bottom - up * (
            height - top - bottom
        )

    draw.text((left, 14), title, fill="black", font=ImageFont.load_default(16))
    for mark in marks(low, high, log):
        y = at(min(x), mark)[1]
        draw.line((left, y, width - right, y), fill="#dddddd")
        draw.text((8, y - 8), f"{mark:g}", fill="black", font=font)
    for value in x:
        draw.text((at(value, 10**low if log else low)[0] - 8, height - bottom + 8), f"{value:g}",
                  fill="black", font=font)  # fmt: skip
    draw.text((left, height - 26), x_name, fill="black", font=font)
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [at(a, b) for a, b in zip(x, values, strict=True) if math.isfinite(b)]
        draw.line(points, fill=colour, width=2)
        for a, b in points:
            draw.ellipse((a - 3, b - 3, a + 3, b + 3), fill=colour)
        draw.text((width - right + 14, top + 20 * number), name, fill=colour, font=font)
    sheet.save(path)


def scale(least: float, most: float, log: bool) -> tuple[float, float]:
    """Ends of the vertical axis; powers of ten where it is logarithmic."""
    if log:
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        return low, max(high, low + 1)
    return min(0.0, least), most or 1.0


def marks(low: float, high: float, log: bool) -> list[float]:
    """Where the horizontal lines stand."""
    if log:
        return [10.0**k for k in range(int(low), int(high) + 1)]
    return [low + (high - low) * k / 5 for k in range(6)]


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table; the keys of the first row are its head."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row[name] for name in head) + " |" for row in rows]
    return "\n".join(lines)
