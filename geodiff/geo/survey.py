"""Every item of a search or a file: those that can be read, and what is wrong with the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pystac

from geodiff.errors import DataError, GeodiffError
from geodiff.geo.provenance import is_remote, plain
from geodiff.geo.search import Found, Search, found_of, listed, none_found
from geodiff.geo.signing import WEB
from geodiff.geo.stac_assets import assets_of
from geodiff.geo.stac_items import Unusable, one_line, read_items, unreadable

LARGEST = 2**30
"""Bytes of a file of items."""


@dataclass(frozen=True)
class Survey:
    """The items of a catalogue, ordered by collection and id, none twice."""

    found: tuple[Found, ...]
    unusable: tuple[Unusable, ...]


def survey(query: Search) -> Survey:
    """All items of a search; one that cannot be used spoils no other.

    Raises DataError as ``search`` where the catalogue cannot be asked or has no item.
    """
    unusable: list[Unusable] = []
    items = listed(query, lambda facts, error: unusable.append(unreadable(facts, error)))
    if not items and not unusable:
        raise none_found(query)
    return sorted_out(items, query, unusable)


def survey_file(path: str, query: Search) -> Survey:
    """The items in a file: one item, an ItemCollection or a list of items, in JSON.

    Relative addresses count from the file. Without ``query.any_href`` an item may lie on the web or
    beside and below the file, nowhere else: what a server sent may have been saved in it. Raises
    DataError for a file that cannot be read or holds no item.
    """
    unusable: list[Unusable] = []
    answer = load(path)
    items = read_items(answer, lambda facts, error: unusable.append(unreadable(facts, error)))
    folder, known = Path(path).absolute().parent, dict[tuple[str | None, str], pystac.Item]()
    for item in items:
        if (key := (item.collection_id, item.id)) in known:
            unusable.append(Unusable(plain(item.id), "it is in the file twice: the first is taken"))
            continue
        try:
            known[key] = item if query.any_href else confined(item, folder)
        except DataError as error:
            unusable.append(Unusable(plain(item.id), str(error)))
    ordered = [known[key] for key in sorted(known, key=lambda key: (key[0] or "", key[1]))]
    for item in ordered:
        if item.get_self_href() is None:
            item.set_self_href(str(folder / "item.json"))  # what relative addresses count from
    # What is left was checked against the folder of the file, not as a server's answer.
    found = sorted_out(ordered, replace(query, url=str(folder / "items.json")), unusable)
    return replace(found, found=tuple(unlinked(one, folder) for one in found.found))


def sorted_out(items: Sequence[pystac.Item], query: Search, unusable: Sequence[Unusable]) -> Survey:
    """The items that have what is wanted, and those that do not beside ``unusable``."""
    found, others = list[Found](), list(unusable)
    for item in items:
        try:
            found.append(found_of(item, assets_of(item, query.asset), query))
        except GeodiffError as error:
            others.append(Unusable(plain(item.id), str(error)))
        except Exception as error:  # fields of whatever type
            others.append(unreadable(item.to_dict(False, False), error))
    return Survey(tuple(found), tuple(others))


def confined(item: pystac.Item, folder: Path) -> pystac.Item:
    """The item, if all its assets lie on the web or in ``folder``. Raises DataError if not."""
    own = item.get_self_href()
    for asset in item.assets.values():
        href = str(asset.href)
        if "://" in href and urlsplit(href).scheme.lower() in WEB:
            continue
        if own is not None and is_remote(own) and not is_remote(href) and href[:1] not in "/\\":
            continue  # relative to an address on the web
        inside = not is_remote(href) and (folder / href).resolve().is_relative_to(folder.resolve())
        if not inside:
            raise DataError(
                f"the item {plain(item.id)} points to {plain(href)[:120]}, which is neither on the "
                "web nor in the folder of the file: refused; --stac-any-href takes it, if you "
                "trust the file"
            )
    return item


def unlinked(found: Found, folder: Path) -> Found:
    """The item of a file without an address of its own: it is known by its pixels."""
    return replace(found, link=found.hrefs[0]) if found.link == str(folder / "item.json") else found


def load(path: str) -> list[Any]:
    """The objects of a file that should be items. Raises DataError where it cannot be read."""
    try:
        if Path(path).stat().st_size > LARGEST:
            raise DataError(f"{path} is larger than {LARGEST >> 20} MB: divide it")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check --items") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({one_line(error)}): check --items") from error
    if isinstance(content, dict):
        content = content.get("features", [content])
    if not isinstance(content, list) or not content:
        raise DataError(f"{path} holds no item: give an ItemCollection, an item or a list of items")
    return content
