"""Forms of labelled rows, and what is typed into them."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QFormLayout, QWidget

from geodiff_qgis.sources import Unusable, tr


def page(*rows: tuple[str, QWidget]) -> QWidget:
    """A form of labelled rows."""
    made = QWidget()
    form = QFormLayout(made)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for title, widget in rows:
        form.addRow(title, widget)
    return made


def numbers(text: str, count: int, advice: str) -> tuple[float, ...] | None:
    """``count`` numbers between commas or spaces; None for nothing. Raises Unusable."""
    words = text.replace(",", " ").split()
    if not words:
        return None
    try:
        found = tuple(map(float, words))
    except ValueError:
        raise Unusable(advice) from None
    if len(found) != count:
        raise Unusable(advice)
    return found


def positive(text: str) -> float:
    """A number above 0. Raises Unusable."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise Unusable(tr("The pixel size {} is no number above 0.").format(text))
    return number
