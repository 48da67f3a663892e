"""The catalogue beside the units: its collection, the model's item, the virtual rasters, an API."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from geodiff.errors import OutputError, UsageError
from geodiff.geo.model_item import documents, model_item
from geodiff.geo.names import safe_name
from geodiff.geo.publishing import Transactions, publish
from geodiff.geo.static_collection import (
    COLLECTION,
    ITEMS,
    Document,
    collection_of,
    item_links,
    write_json,
)
from geodiff.geo.store import Store
from geodiff.geo.virtual_catalogue import virtual_rasters
from geodiff.jobs.batches.ledger import document
from geodiff.jobs.batches.memory import Memory
from geodiff.jobs.batches.report import REPORT, Report
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.batches.units import one_line
from geodiff.models.bundle import Model
from geodiff.steps import Step

EVERY = 5.0
"""Seconds between two writings of the collection and the report while units are made."""


class Catalogue:
    """The collection of a store as it grows. Raises OutputError where another one lies there."""

    def __init__(self, store: Store, name: str, words: str, memory: Memory) -> None:
        self.store, self.name, self.words, self.memory = store, name, words, memory
        self.before = self._former()
        self.items: dict[str, Document] = {}
        self.written = time.monotonic()

    def add(self, item: Document) -> None:
        """An item that is there."""
        self.items[item["id"]] = item

    def save(self, report: Report, hurry: bool = True) -> None:
        """Write collection and report; without ``hurry`` not more often than EVERY."""
        if not hurry and time.monotonic() - self.written < EVERY:
            return
        self.memory.save(self.store)
        self.store.write(REPORT, write_json(report.as_dict()))
        if self.items or item_links(self.before):
            self.store.write(COLLECTION, write_json(self.document()))
        self.written = time.monotonic()

    def document(self) -> Document:
        """The collection of all items that are there."""
        return collection_of(self.name, self.words, self.items.values(), self.before)

    def _former(self) -> Document | None:
        """The collection that lies there, without items that are gone."""
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
        there = {f"./{name}" for name in self.store.sizes(ITEMS)}
        kept = [link for link in item_links(found) if link["href"] in there]
        return {**found, "links": kept}


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


def publish_all(
    request: BatchRequest, store: Store, catalogue: Catalogue, report: Report
) -> Iterator[Step]:
    """Hand all items of the catalogue to the API of the request, yielding progress.

    Raises OutputError for an API that takes none, and with ``on_error`` fail for the first item
    that it does not take.
    """
    assert request.publish is not None  # asked before
    items = list(members(store, catalogue))
    if not items:
        return
    collection = catalogue.document()
    base = request.public_url or store.where
    api = Transactions(request.publish, request.stac_timeout)
    for number, (name, refused) in enumerate(publish(api, collection, iter(items), base), start=1):
        if refused is None:
            report.published.append(name)
        elif request.on_error == "fail":
            raise refused
        else:
            report.unpublished[name] = one_line(refused)
        yield Step("publish", number, len(items))


def members(store: Store, catalogue: Catalogue) -> Sequence[Document]:
    """All items of the catalogue, also those of former runs, by id."""
    found = dict(catalogue.items)
    for link in item_links(catalogue.before):
        name = Path(link["href"]).stem
        if name not in found and (item := document(store.read(f"{ITEMS}/{name}.json"))) is not None:
            found[name] = item
    return [found[name] for name in sorted(found)]
