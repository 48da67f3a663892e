"""STAC catalogues by short names, and the orders in which their images may be laid down."""

from __future__ import annotations

KNOWN = {
    "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
    "earth-search": "https://earth-search.aws.element84.com/v1",
}
"""Public catalogues that have the collection NAIP, by the names that stand for them."""

NAIP = "naip"
"""The collection of the known catalogues that is taken where none is named."""

ORDERS = ("newest", "oldest", "same-year")
"""Which of several images of one ground is taken; see ``stac_order.arrange``."""

SECONDS = 30.0
"""Time without an answer after which a request is made again."""
