"""Arrays as pictures inside an HTML file, and lines as SVG: no plotting library, no other files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from geodiff.geo.writing import gdal

Image = NDArray[np.uint8]

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def inline(image: Image, width: int | None = None) -> str:
    """An ``img`` element of uint8 (3, row, col), a JPEG of quality 92; ``width`` in CSS pixels."""
    bands, rows, cols = image.shape
    settings = {"driver": "JPEG", "dtype": "uint8", "quality": 92}
    with gdal(), MemoryFile() as file:
        with file.open(count=bands, height=rows, width=cols, **settings) as out:
            out.write(image)
        data = base64.b64encode(file.read()).decode()
    return f'<img width="{width or cols}" alt="" src="data:image/jpeg;base64,{data}">'


def figure(cells: Sequence[tuple[str, Image]], caption: str, width: int = 192) -> str:
    """Images side by side, each with its name below, under one caption."""
    parts = "".join(f"<div>{inline(image, width)}<br>{escape(name)}</div>" for name, image in cells)
    return (
        f"<figure><div class=row>{parts}</div><figcaption>{escape(caption)}</figcaption></figure>"
    )


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """An HTML table; the keys of the first row are its head."""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(row[name])}</td>" for name in rows[0]) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def curves(
    lines: Mapping[str, Sequence[float | None]], x_end: float, names: tuple[str, str]
) -> str:
    """SVG of curves over equal steps from 0 to ``x_end``; a line at 0; ``names`` of both axes."""
    width, height, left, bottom = 640, 260, 60, 40
    known = [value for line in lines.values() for value in line if value is not None]
    low, high = min([*known, -0.1]), max([*known, 0.1])

    def at(step: float, value: float) -> tuple[float, float]:
        across = left + step * (width - left - 180)
        return across, 10 + (high - value) / (high - low) * (height - bottom - 20)

    marks = [low, 0.0, high]
    parts = [
        f'<line x1="{left}" x2="{width - 180}" y1="{at(0, m)[1]:.1f}" y2="{at(0, m)[1]:.1f}" '
        f'stroke="#ccc"/><text x="4" y="{at(0, m)[1] + 4:.1f}">{m:.2f}</text>'
        for m in marks
    ]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            "{:.1f},{:.1f}".format(*at((k + 0.5) / len(line), value))
            for k, value in enumerate(line)
            if value is not None
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(
            f'<text x="{width - 170}" y="{20 + 18 * number}" fill="{colour}">{escape(name)}</text>'
        )
    middle, base = (left + width - 180) / 2, height - 8
    parts.append(f'<text x="{middle:.0f}" y="{base}">{escape(names[0])} (0 to {x_end:g})</text>')
    return (
        f"<p>{escape(names[1])}</p>"
        f'<svg width="{width}" height="{height}" font-size="12">{"".join(parts)}</svg>'
    )
