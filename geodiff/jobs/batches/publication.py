"""The catalogue beside the units: its collection, the model's item, the virtual rasters, an API."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from geodiff.errors import OutputError, UsageError
from geodiff.geo.model_item import documents, model_item
from geodiff.geo.names import safe_name
from geodiff.geo.publishing import publish
from geodiff.geo.static_collection import (
    COLLECTION,
    ITEMS,
    Document,
    collection_of,
    item_links,
    write_json,
)
from geodiff.geo.store import Store
from geodiff.geo.transactions import Transactions
from geodiff.geo.virtual_catalogue import virtual_rasters
from geodiff.jobs.batches.ledger import document
from geodiff.jobs.batches.memory import Memory
from geodiff.jobs.batches.report import REPORT, Report
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.batches.units import one_line
from geodiff.models.bundle import Model
from geodiff.steps import Step

SHARE = 20
"""While units are made, at most one part in so many of the time goes into writing the catalogue."""

LONGEST = 5.0
"""Seconds after which it is written all the same."""


class Catalogue:
    """The collection of a store as it grows. Raises OutputError where another one lies there."""

    def __init__(self, store: Store, name: str, words: str, memory: Memory) -> None:
        self.store, self.name, self.words, self.memory = store, name, words, memory
        sizes = store.sizes(ITEMS)
        self.before = self._former(sizes)
        self.items = {item["id"]: item for item in self._unlisted(sizes)}
        self.next = 0.0  # when it may be written without hurry

    def add(self, item: Document) -> None:
        """An item that is there."""
        self.items[item["id"]] = item

    def save(self, report: Report, hurry: bool = True) -> None:
        """Write collection and report; without ``hurry`` only now and then, see SHARE.

        A run that is killed in between leaves items that the collection does not list; the next
        one lists them. The other way round it would list items that are not there.
        """
        if (began := time.monotonic()) < self.next and not hurry:
            return
        self.memory.save(self.store)
        self.store.write(REPORT, write_json(report.as_dict()))
        if self.items or item_links(self.before):
            self.store.write(COLLECTION, write_json(self.document()))
        ended = time.monotonic()
        self.next = ended + min(LONGEST, SHARE * (ended - began))

    def document(self) -> Document:
        """The collection of all items that are there."""
        return collection_of(self.name, self.words, self.items.values(), self.before)

    def _former(self, sizes: Mapping[str, int]) -> Document | None:
        """The collection that lies there, without items that are gone or whose COG is."""
        text = self.store.read(COLLECTION)
        if text is None:
            return None
        try:
            found: Document = json.loads(text)
            ours = found["summaries"].get("geodiff:synthetic") == [True]
        except (ValueError, KeyError, TypeError, AttributeError):
            found, ours = {}, False
        if not ours:
            raise OutputError(
                f"{self.store.where}/{COLLECTION} is not by geodiff batch: take another --out-dir"
            )
        if found["id"] != self.name:
            raise UsageError(
                f"{self.store.where} holds the collection {found['id']}: give --name {found['id']} "
                "or another --out-dir"
            )
        whole = {f"./{name}" for name in sizes if f"{name.removesuffix('json')}tif" in sizes}
        kept = [link for link in item_links(found) if link["href"] in whole]
        return {**found, "links": kept}

    def _unlisted(self, sizes: Mapping[str, int]) -> Iterator[Document]:
        """Items that the collection does not list: those that a killed run made last."""
        listed = {link["href"] for link in item_links(self.before)}
        for name in sizes:
            stem = name.removesuffix(".json")
            if stem == name or f"./{name}" in listed or f"{stem}.tif" not in sizes:
                continue
            item = document(self.store.read(name))
            if item is not None and self._is_ours(item, stem, sizes[f"{stem}.tif"]):
                yield item

    def _is_ours(self, item: Document, stem: str, size: int) -> bool:
        """Whether an item is a member of this collection, and of the file beside it."""
        facts = item["properties"]
        return (
            item.get("collection") == self.name
            and f"{ITEMS}/{item.get('id')}" == stem
            and {"geodiff:batch", "geodiff:variant", "created"} <= facts.keys()
            and item["assets"]["data"].get("file:size") == size
        )


def put_model(store: Store, model: Model, name: str, desk: Path) -> None:
    """Write the model's item and its documents, unless they are there."""
    if store.read(f"model/{name}.json") is not None:
        return
    facts = model.facts() | {"parameters": model.parameters}
    now = datetime.now(UTC)
    item = model_item(name, model.path, facts, ("PyTorch", str(torch.__version__)), now)
    for path in documents(model.path).values():
        copy = desk / f".{name}{path.suffix}.new"
        shutil.copyfile(path, copy)
        store.take(copy, f"model/{name}{path.suffix}")
    store.write(f"model/{name}.json", write_json(item))


def model_name(model: Model) -> str:
    """Id of the model's item."""
    return safe_name(f"{safe_name(model.name)}-{model.hash[:8]}")


def put_virtual(store: Store, catalogue: Catalogue) -> list[str]:
    """Write the virtual rasters of the first variant of all items; their names."""
    first = [
        item for item in members(store, catalogue) if item["properties"]["geodiff:variant"] == 1
    ]
    files = virtual_rasters(first, catalogue.name)
    for name, text in files.items():
        store.write(name, text)
    return list(files)


def api_of(request: BatchRequest) -> tuple[Transactions | None, tuple[str, ...]]:
    """The API that takes the items, if the request names one, and notes on it.

    Raises OutputError where there is none: before the work, not after it.
    """
    if request.publish is None:
        return None, ()
    api = Transactions(request.publish, request.stac_timeout)
    note = api.greet()
    return api, () if note is None else (note,)


def publish_all(
    request: BatchRequest, api: Transactions, catalogue: Catalogue, report: Report
) -> Iterator[Step]:
    """Hand the items of the catalogue that the API lacks to it, yielding progress.

    Raises OutputError for an API that takes none, and with ``on_error`` fail for the first item
    that it does not take.
    """
    items = list(members(catalogue.store, catalogue))
    if not items:
        return
    base = request.public_url or catalogue.store.where
    try:
        handed = publish(api, catalogue.document(), iter(items), base)
        for number, one in enumerate(handed, start=1):
            if one.refused is None:
                (report.held if one.there else report.published).append(one.name)
            elif request.on_error == "fail":
                raise one.refused
            else:
                report.unpublished[one.name] = one_line(one.refused)
            yield Step("publish", number, len(items))
    except OutputError as error:
        raise OutputError(
            f"{error}; the units are kept, and the same command hands over what is missing"
        ) from error


def members(store: Store, catalogue: Catalogue) -> Sequence[Document]:
    """All items of the catalogue, also those of former runs, by id."""
    found = dict(catalogue.items)
    for link in item_links(catalogue.before):
        name = Path(link["href"]).stem
        if name not in found and (item := document(store.read(f"{ITEMS}/{name}.json"))) is not None:
            found[name] = item
    return [found[name] for name in sorted(found)]
