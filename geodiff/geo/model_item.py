"""The STAC item of a model, in the words of the machine learning model extension (MLM)."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geodiff.geo.provenance import plain
from geodiff.geo.stac import FILE
from geodiff.geo.static_collection import Document

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"

DOCUMENTS = {"model.toml": "application/toml", "README.md": "text/markdown"}
"""Files of a model's folder that go along with its item, and their media types."""


def model_item(
    name: str, folder: Path, facts: dict[str, Any], framework: tuple[str, str], made: datetime
) -> Document:
    """The item ``name`` of the model in ``folder``, as a document that stands beside its files.

    ``facts`` are those of ``geodiff info``, ``framework`` is the library's name and version. The
    weights do not go along: the item names them by their hash. It has no place on the earth. The
    files that it links to are ``documents`` of the folder, called name.toml and name.md.
    """
    window = facts["window_px"]
    cells = max(1, window // facts["cell_px"])
    created = made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    properties = {
        "datetime": created,
        "title": f"the model {plain(facts['name'])}",
        "description": plain(
            f"Latent diffusion model of geodiff. Hash of all its files: {facts['hash']}. Training "
            f"data: {facts['credit']} Licence of the weights: {facts['licence']}."
        ),
        "mlm:name": mlm_name(facts["name"]),
        "mlm:architecture": "latent diffusion: a UNet that sees a field of embeddings",
        "mlm:tasks": ["generative"],
        "mlm:framework": framework[0],
        "mlm:framework_version": framework[1],
        "mlm:total_parameters": facts["parameters"],
        "mlm:pretrained": True,
        "mlm:pretrained_source": plain(facts["credit"]),
        "mlm:accelerator": None,
        "mlm:accelerator_constrained": False,
        "mlm:input": [
            {
                "name": f"embeddings of cells of {facts['cell_px']} px",
                "bands": [],
                "input": shaped([-1, facts["embedding_dim"], cells, cells], "embedding", "float32"),
            }
        ],
        "mlm:output": [
            {
                "name": "synthetic imagery in red, green and blue",
                "bands": [],
                "tasks": ["generative"],
                "result": shaped([-1, 3, window, window], "channel", "uint8"),
            }
        ],
        "mlm:hyperparameters": {
            "gsd_range": facts["gsd_range"], "window_px": window, "cell_px": facts["cell_px"],
        },
        "geodiff:model_hash": facts["hash"],
    }  # fmt: skip
    assets = {
        file: asset(f"./{name}{path.suffix}", path, DOCUMENTS[file])
        for file, path in documents(folder).items()
    }
    assets["model.toml"] |= {
        "title": "facts of the model; the weights lie beside them where geodiff keeps the model",
        "roles": ["mlm:model", "metadata"],
        "mlm:artifact_type": "safetensors.torch.save_file",
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, FILE],
        "id": name,
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": assets,
    }


def documents(folder: Path) -> dict[str, Path]:
    """The files of a model that go along with its item, by name."""
    return {name: folder / name for name in DOCUMENTS if (folder / name).is_file()}


def asset(href: str, path: Path, media_type: str) -> Document:
    """A file of the model with its checksum."""
    content = path.read_bytes()
    return {
        "href": href,
        "type": media_type,
        "roles": ["metadata"],
        "file:checksum": f"1220{hashlib.sha256(content).hexdigest()}",
        "file:size": len(content),
    }


def shaped(shape: list[int], second: str, kind: str) -> Document:
    """The structure of an input or output; -1 is any number."""
    order = ["batch", second, "height", "width"]
    return {"shape": shape, "dim_order": order, "data_type": kind}


def mlm_name(name: str) -> str:
    """The name as the extension wants it: it begins with a letter, and has three characters."""
    tidy = re.sub(r"[^A-Za-z0-9_.\-\s]+", "_", plain(name)).strip("_.- ")
    return tidy if re.fullmatch(r"[A-Za-z][\w.\-\s]+[A-Za-z0-9]", tidy) else f"model {tidy} 1"
