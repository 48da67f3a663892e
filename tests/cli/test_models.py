"""Models from elsewhere on the command line: --model hub:, load, export, and images of a size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from huggingface_hub import constants

from geodiff_cli.params import SIZE
from tests.cli.conftest import Invoke, Spawn, failed
from tests.hub import serving

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def test_a_model_of_the_hub(
    invoke: Invoke, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        commit = hub.add("lab/tiny", Path(model), "main", "v1")
        told = invoke(f"load hub:lab/tiny@{commit}")
        assert told.exit_code == 0, told.output
        assert told.stdout.endswith("licence none\n")
        facts = json.loads(invoke("load hub:lab/tiny@v1 --json").stdout)
        assert Path(facts["path"]).name == commit
        line = "synthesize --size 64x48 --steps 1 --json --out"
        made = json.loads(invoke(f"{line} a.tif --model hub:lab/tiny").stdout)
        assert made["model_hash"] == facts["hash"]
        invoke(f"{line} b.tif --model", model)
        with rasterio.open("a.tif") as one, rasterio.open("b.tif") as other:
            assert np.array_equal(one.read(), other.read())
            assert "hub:lab/tiny" in one.tags()["GEODIFF_COMMAND"]
        assert "no such revision" in failed(invoke("load hub:lab/tiny@v2"), 1)
        assert "no such repository" in failed(invoke(f"{line} c.tif --model hub:a/b"), 1)
    assert "names no model of the hub" in failed(invoke(f"{line} c.tif --model hub:tiny"), 2)


def test_progress_stays_readable_while_a_model_is_fetched(
    spawn: Spawn, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as hub:
        hub.add("lab/tiny", Path(model), "main")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        process = spawn(
            "-m geodiff_cli synthesize --size 64x48 --steps 1 --progress json --out a.tif "
            "--model hub:lab/tiny"
        )
        _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    assert [json.loads(line) for line in told.splitlines()][-1]["stage"] == "done"


def test_export(invoke: Invoke, model: str) -> None:
    told = invoke("export --out shared --model", model)
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("shared: model tiny, hash ")
    facts = json.loads(invoke("info --model shared --json").stdout)
    assert facts["model"]["hash"] in told.stdout
    assert Path("shared/unet/config.json").is_file()
    assert "exists" in failed(invoke("export --out shared --model", model), 1)


def test_a_folder_that_is_no_model_is_not_replaced(invoke: Invoke, model: str) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("mine")
    line = failed(invoke("export --overwrite --out mine --model", model), 1)
    assert "was not exported" in line
    assert Path("mine/thesis.txt").exists()


@pytest.mark.parametrize(
    "text", ["4096x2048", "4096X2048", "4096×2048", " 4096 x 2048 ", "4096,2048"]
)
def test_spellings_of_a_size(text: str) -> None:
    assert SIZE.convert(text, None, None) == (4096, 2048)


@pytest.mark.parametrize("text", ["4096", "4096x", "x20", "1x2x3", "-4x4", "4.5x4", "axb"])
def test_sizes_that_are_none(invoke: Invoke, text: str) -> None:
    line = failed(invoke("synthesize --out a.tif", "--size", text), 2)
    assert "is not WIDTHxHEIGHT, such as 4096x4096" in line
