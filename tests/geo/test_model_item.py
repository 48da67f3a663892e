"""The item of a model has the fields that the MLM extension asks for."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pystac
import pytest
from pystac.extensions.mlm import MLMExtension
from pystac.validation import JsonSchemaSTACValidator
from pystac.validation.local_validator import get_local_schema_cache

from geodiff.geo.model_item import mlm_name, model_item

FACTS = {
    "name": "naip-small", "hash": "0123456789abcdef", "gsd_range": [0.3, 1.0], "cell_px": 64,
    "embedding_dim": 64, "window_px": 256, "parameters": 123, "credit": "USDA", "licence": "none",
}  # fmt: skip


def test_the_item_is_valid_and_has_what_the_extension_requires(tmp_path: Path) -> None:
    """The extension's own schema has to be downloaded; its required fields are read by pystac."""
    (tmp_path / "model.toml").write_text("name = 1\n")
    (tmp_path / "README.md").write_text("card\n")
    made = datetime(2026, 1, 1, tzinfo=UTC)
    content = model_item("naip-small-0123", tmp_path, FACTS, ("PyTorch", "2.13.0+cpu"), made)
    assert get_local_schema_cache()
    core = content | {"stac_extensions": []}
    JsonSchemaSTACValidator().validate(core, pystac.STACObjectType.ITEM, "1.1.0", [])
    item = pystac.Item.from_dict(content)
    mlm = MLMExtension.ext(item)
    assert mlm.mlm_name == "naip-small"
    assert mlm.tasks == ["generative"]
    assert mlm.architecture
    assert mlm.total_parameters == 123
    (given,), (result,) = mlm.input, mlm.output
    assert given.input.shape == [-1, 64, 4, 4]
    assert given.input.dim_order == ["batch", "embedding", "height", "width"]
    assert result.result.shape == [-1, 3, 256, 256]
    assert result.result.data_type == "uint8"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\+[0-9a-z.]+)?", mlm.framework_version or "")
    weights = content["assets"]["model.toml"]
    assert "mlm:model" in weights["roles"]
    assert weights["mlm:artifact_type"] == "safetensors.torch.save_file"
    assert weights["href"] == "./naip-small-0123.toml"
    assert content["assets"]["README.md"]["href"] == "./naip-small-0123.md"


@pytest.mark.parametrize("name", ["naip-small", "2 fast", "x", "", "é", "a/b"])
def test_any_name_becomes_one_that_the_extension_takes(name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", mlm_name(name))
