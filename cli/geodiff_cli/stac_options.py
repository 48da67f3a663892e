"""Options of commands that may go by the images of a STAC catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from geodiff.jobs.mosaic.catalogue import ORDERS, SECONDS

F = TypeVar("F", bound=Callable[..., Any])

stac_any_href = click.option(
    "--stac-any-href", is_flag=True,
    help="Read what a remote catalogue should not point to: files of this computer, addresses "
    "with '..'.",
)  # fmt: skip
stac_timeout = click.option(
    "--stac-timeout", type=float, default=SECONDS, show_default=True, metavar="S",
    help="Seconds that servers have for an answer, at each of five attempts.",
)  # fmt: skip


def stac(command: F) -> F:
    """--stac and what belongs to it, of commands that may go by the images of a catalogue."""
    for option in (
        stac_any_href,
        click.option(
            "--stac-requester-pays", is_flag=True,
            help="Pay for what is read from a bucket that wants it (Earth Search's NAIP).",
        ),
        stac_timeout,
        click.option(
            "--stac-order", type=click.Choice(ORDERS), default=ORDERS[0], show_default=True,
            help="Of several images of one ground: the newest, the oldest, or those of the one "
            "year that covers most of the box.",
        ),
        click.option(
            "--asset", metavar="NAME",
            help="Asset of an item with the pixels, or RED,GREEN,BLUE.  "
            "[default: by bands and roles]",
        ),
        click.option(
            "--datetime", metavar="A/B", help="Dates of the items: 2020, or 2018-01-01/2020-12."
        ),
        click.option(
            "--collection", multiple=True, metavar="ID",
            help="Collection of the catalogue; repeat for more.  [default: naip, for the short "
            "names]",
        ),
        click.option(
            "--stac", metavar="URL",
            help="STAC catalogue whose images to go by: planetary-computer, earth-search, or the "
            "address of an API or a static catalogue.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command
