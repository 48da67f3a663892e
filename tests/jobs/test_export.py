"""An exported model is the same model, in a layout that others know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import rasterio
import torch

from geodiff.errors import ModelError, OutputError
from geodiff.jobs.export import ExportRequest, export
from geodiff.jobs.synthesize import synthesize
from geodiff.models.bundle import Model
from geodiff.models.directory import DIFFUSERS
from geodiff.models.plain import plain_schedule
from tests.jobs.test_imported import vectors
from tests.tiny_tokens import token_model

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return token_model(tmp_path_factory.mktemp("tokens") / "tokens")


def paint(model: Path, out: Path, **options: object) -> np.ndarray:
    synthesize(out, model=model, steps=2, device="cpu", precision="fp32", **options)
    with rasterio.open(out) as dataset:
        image: np.ndarray = dataset.read()
    return image


def test_the_same_pixels_and_hash(folder: Path, model: Model, tmp_path: Path) -> None:
    exported = export(ExportRequest(str(tmp_path / "out"), str(folder)))
    assert exported.hash == model.hash
    names = {path.name for path in exported.path.iterdir()}
    assert names >= {"unet", "vae", "scheduler", "encoder", "prior", "model.toml", "README.md"}
    made = paint(exported.path, tmp_path / "a.tif", size=(64, 64))
    assert np.array_equal(made, paint(folder, tmp_path / "b.tif", size=(64, 64)))


def test_an_imported_model_too(tokens: Path, tmp_path: Path) -> None:
    (tokens / "import.json").write_text("{}")
    out = tmp_path / "out"
    exported = export(ExportRequest(str(out), str(tokens)))
    assert exported.hash == Model.load(tokens, "cpu").hash
    assert (out / "import.json").is_file()
    made = paint(out, tmp_path / "a.tif", embeddings=vectors(2, 2))
    assert np.array_equal(made, paint(tokens, tmp_path / "b.tif", embeddings=vectors(2, 2)))


def test_diffusers_reads_the_parts(tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(ExportRequest(str(out), str(tokens)))
    index = json.loads((out / "model_index.json").read_text())
    for part in ("vae", "unet", "scheduler"):
        library, name = index[part]
        assert library == "diffusers"
        assert hasattr(diffusers, name)
    scheduler = diffusers.DDIMScheduler.from_pretrained(out, subfolder="scheduler")
    assert torch.allclose(scheduler.betas.double(), plain_schedule(out / "scheduler").betas)
    config = json.loads((out / "vae" / "config.json").read_text())
    assert config["_class_name"] == index["vae"][1] == "VQModel"


def test_the_card_tells_whose_it_is(folder: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(folder, tmp_path / "mine"))
    toml = (mine / "model.toml").read_text()
    (mine / "model.toml").write_text(toml.replace('"none"', '"My: terms"'))
    (mine / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n```\n# no heading\n```\n")
    model = export(ExportRequest(str(tmp_path / "out"), str(mine)))
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith('---\nlicense: other\nlicense_name: "My: terms"\n')
    assert "| training imagery | random numbers |" in text
    assert f"`{model.hash}`" in text
    assert "synthetic" in text
    assert "\n### Mine\n```\n# no heading\n```\n" in text
    assert "license: mit" not in text


def test_nothing_is_replaced_unasked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(ExportRequest(str(out), str(folder)))
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        export(ExportRequest(str(out), str(folder)))
    export(ExportRequest(str(out), str(folder), overwrite=True))
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="was not exported, so it is not replaced"):
        export(ExportRequest(str(tmp_path / "mine"), str(folder), overwrite=True))
    with pytest.raises(ModelError, match="does not exist"):
        export(ExportRequest(str(tmp_path / "new"), str(tmp_path / "nowhere")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_names_of_parts_in_both_layouts() -> None:
    assert {part: names[0] for part, names in DIFFUSERS.items()} == {
        "codec": "vae", "denoiser": "unet",
    }  # fmt: skip
