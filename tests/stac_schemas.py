"""Offline validation of items with their extensions: what the published schemas ask, restated.

pystac carries the schemas of core STAC, those of extensions lie on the web. Here stand the rules of
projection 2.0, processing 1.2, file 2.1 and MLM 1.4 for the fields that geodiff writes, as draft-07
schemas in words of our own: an unknown field of a prefix is an error, as it is there.
"""

from __future__ import annotations

from typing import Any

import pystac
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from geodiff.geo.model_item import MLM
from geodiff.geo.stac import FILE, PROCESSING, PROJECTION

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer", "minimum": 0}
SHAPE: Schema = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": -1}}
ORDER: Schema = {
    "type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": "^[a-z-_]+$"},
}  # fmt: skip
TASKS: Schema = {"type": "array", "uniqueItems": True, "items": {"enum": ["generative"]}}


def numbers(count: int, kind: str = "number") -> Schema:
    """A list of so many numbers."""
    return {"type": "array", "minItems": count, "maxItems": count, "items": {"type": kind}}


def tensor(name: str) -> Schema:
    """An array that goes into a model or comes out of it, with its shape under ``name``."""
    inner = {"shape": SHAPE, "dim_order": ORDER, "data_type": TEXT}
    return {"type": "object", "required": [*inner], "properties": inner, "title": name}


FIELDS: dict[str, dict[str, Schema]] = {
    PROJECTION: {
        "proj:code": {"type": ["string", "null"], "pattern": "^[A-Z]+:[0-9A-Z]+$"},
        "proj:wkt2": {"type": ["string", "null"]},
        "proj:projjson": {"type": ["object", "null"], "required": ["type", "name"]},
        "proj:shape": numbers(2, "integer"),
        "proj:transform": numbers(6),
        "proj:bbox": numbers(4),
    },
    PROCESSING: {
        "processing:level": TEXT,
        "processing:lineage": TEXT,
        "processing:datetime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT[\d:.]+Z$"},
        "processing:software": {"type": "object", "additionalProperties": TEXT},
    },
    FILE: {
        "file:checksum": {"type": "string", "pattern": "^1220[0-9a-f]{64}$"}, "file:size": WHOLE,
    },
    MLM: {
        "mlm:name": {"type": "string", "pattern": "^[a-zA-Z][a-zA-Z0-9_.-]+[a-zA-Z0-9]$"},
        "mlm:architecture": TEXT,
        "mlm:tasks": TASKS,
        "mlm:framework": TEXT,
        "mlm:framework_version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
        "mlm:total_parameters": WHOLE,
        "mlm:pretrained": {"type": "boolean"},
        "mlm:pretrained_source": {"type": ["string", "null"]},
        "mlm:accelerator": {"enum": [None, "amd64", "cuda"]},
        "mlm:accelerator_constrained": {"type": "boolean"},
        "mlm:hyperparameters": {
            "type": "object", "minProperties": 1, "propertyNames": {"pattern": "^[0-9a-zA-Z_.-]+$"},
        },
        "mlm:artifact_type": TEXT,
        "mlm:input": {
            "type": "array",
            "items": {
                "required": ["name", "bands", "input"],
                "properties": {"name": TEXT, "input": tensor("input")},
            },
        },
        "mlm:output": {
            "type": "array",
            "items": {
                "required": ["name", "tasks", "result"],
                "properties": {"name": TEXT, "tasks": TASKS, "result": tensor("result")},
            },
        },
    },
}  # fmt: skip
NEEDED = {MLM: ["mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"]}


def schema(uri: str) -> Schema:
    """Of items (and of collections, which only have assets) with one extension."""
    prefix = next(iter(FIELDS[uri])).split(":")[0]
    fields = {
        "type": "object",
        "properties": FIELDS[uri],
        "patternProperties": {f"^(?!{prefix}:)": {}},
        "additionalProperties": False,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": uri,
        "required": ["stac_extensions"],
        "properties": {
            "stac_extensions": {"type": "array", "contains": {"const": uri}},
            "properties": {"allOf": [fields, {"required": NEEDED.get(uri, [])}]},
            "assets": {"type": "object", "additionalProperties": fields},
        },
    }


def validate(content: dict[str, Any]) -> None:
    """Core STAC by pystac's own schemas, and every extension. Raises STACValidationError."""
    kind = {"Feature": pystac.STACObjectType.ITEM}
    validator = JsonSchemaSTACValidator()
    validator.schema_cache = validator.schema_cache | {uri: schema(uri) for uri in FIELDS}
    which = kind.get(content["type"], pystac.STACObjectType.COLLECTION)
    validator.validate(content, which, "1.1.0", content.get("stac_extensions", []))
