"""The command `geodiff import`: a summary, or one line and no trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from geodiff.models.foreign.checkpoint import LARGEST
from geodiff.models.foreign.published import KINDS
from geodiff_cli import import_ as command
from tests.cli.conftest import Invoke, failed
from tests.models.foreign import ldm
from tests.models.foreign.hostile import HOSTILE


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    unet = ldm.UNet(mult=(1, 1), blocks=1, attended=(2,))
    path = tmp_path_factory.mktemp("source") / "last.ckpt"
    torch.save({"state_dict": ldm.LatentDiffusion(ldm.Patch(region=7), unet).state()}, path)
    return str(path)


def test_a_summary(invoke: Invoke, checkpoint: str) -> None:
    result = invoke("import", checkpoint, "--out", "model", "--name", "slides")
    assert result.exit_code == 0, result.output
    first, *others = result.stdout.splitlines()
    assert first.startswith("model: model slides, codec ")
    assert others == ["denoiser: weights as trained", "left out: 12 tensors, the noise schedule"]
    facts = json.loads(invoke("info --model model --json").stdout)["model"]
    assert (facts["name"], facts["cell_px"], facts["codec"]) == ("slides", 256, "f4, 3 channels")


def test_json(invoke: Invoke, checkpoint: str) -> None:
    result = invoke("import", checkpoint, "--out", "model", "--json", "--progress", "json")
    facts = json.loads(result.stdout)
    assert (facts["kind"], facts["averages"], facts["allowed"]) == ("brca-20x", False, [])
    assert json.loads(result.stderr.splitlines()[-1])["stage"] == "done"
    assert "exists" in failed(invoke("import", checkpoint, "--out", "model"), 1)


@pytest.mark.parametrize("name", ["system_call", "a_billion_laughs", "a_link_to_nothing"])
def test_a_hostile_file_is_one_line(invoke: Invoke, tmp_path: Path, name: str) -> None:
    write, _ = HOSTILE[name]
    write(tmp_path / "a.ckpt", tmp_path / "it-ran")
    assert "a.ckpt" in failed(invoke("import a.ckpt --out model --progress none"), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_names_and_defaults_are_those_of_the_job() -> None:
    assert tuple(KINDS) == command.KINDS
    (largest,) = (p for p in command.import_.params if p.name == "largest")
    assert largest.default == LARGEST
