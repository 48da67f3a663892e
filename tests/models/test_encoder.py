"""Embeddings are unit vectors of a cell's pixels alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from geodiff.errors import ModelError
from geodiff.models.bundle import Model
from geodiff.models.encoder import CellNetwork, Encoder


def pixels(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 3, 16, 16), generator=generator).to(torch.uint8)


def test_vectors_have_unit_length(model: Model) -> None:
    vectors = model.encoder.embed(pixels(10))
    assert vectors.shape == (10, 8)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(10))
    assert float(vectors.std(0).min()) > 0  # and they tell cells apart


@pytest.mark.parametrize("before", [0, 1, 5, 7, 8, 13])
@pytest.mark.parametrize("after", [0, 3, 11])
def test_a_vector_does_not_depend_on_its_company(model: Model, before: int, after: int) -> None:
    cell = pixels(1)
    alone = model.encoder.embed(cell, batch=8)
    crowd = torch.cat([pixels(before, 1), cell, pixels(after, 2)])
    assert torch.equal(model.encoder.embed(crowd, batch=8)[before], alone[0])


def test_the_network_sees_batches_of_one_size(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = CellNetwork.forward

    def counted(self: CellNetwork, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(CellNetwork, "forward", counted)
    model.encoder.embed(pixels(19), batch=8)
    assert sizes == [8, 8, 8]


def test_no_cells_give_no_vectors(model: Model) -> None:
    assert model.encoder.embed(pixels(0)).shape == (0, 8)


@pytest.mark.parametrize("shape", [(2, 3, 16, 15), (2, 3, 32, 32), (2, 1, 16, 16), (3, 16, 16)])
def test_other_sizes_are_refused(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"wants \(n, 3, 16, 16\)"):
        model.encoder.embed(torch.zeros(shape, dtype=torch.uint8))


def test_fingerprint_follows_the_weights_through_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = CellNetwork("test_resnet", 8, 16).eval()
    encoder = Encoder(net, "test_resnet", 8, 16)
    first = encoder.fingerprint
    encoder.save(tmp_path)
    loaded = Encoder.load(tmp_path)
    assert loaded.fingerprint == first
    assert (loaded.network, loaded.dim, loaded.cell) == ("test_resnet", 8, 16)
    torch.testing.assert_close(loaded.embed(pixels(4)), encoder.embed(pixels(4)), atol=2e-3, rtol=0)
    with torch.no_grad():
        net.head.weight[3, 5] += 0.01
    assert encoder.fingerprint != first
    net.head.weight.data[3, 5] -= 0.01
    net.norm.running_mean[0] += 0.1  # statistics count as well
    assert encoder.fingerprint != first


@pytest.mark.parametrize("broken", ["encoder.json", "model.safetensors"])
@pytest.mark.parametrize("how", ["gone", "truncated", "empty"])
def test_damaged_parts_are_one_line(folder: Path, tmp_path: Path, broken: str, how: str) -> None:
    copy = tmp_path / "encoder"
    shutil.copytree(folder / "encoder", copy)
    content = (copy / broken).read_bytes()
    (copy / broken).unlink()
    if how != "gone":
        (copy / broken).write_bytes(content[: len(content) // 2] if how == "truncated" else b"")
    with pytest.raises(ModelError, match=r"^the encoder in .* cannot be loaded: .+$") as caught:
        Encoder.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", ["test_resnet", "test_vit", "test_convnext"])
def test_a_network_is_read_without_drawing_one_at_random(network: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder(CellNetwork(network, 8, 160).eval(), network, 8, 160)
    encoder.save(tmp_path)
    before = torch.get_rng_state()
    loaded = Encoder.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dim": 10**9}, "far larger network than the"),
        ({"network": "vit_giant_patch14_clip_224"}, "far larger network than the|cannot be loaded"),
        ({"cell": 10**6}, "its cells are 1000000 px"),
    ],
)
def test_a_table_makes_no_far_larger_network(
    changes: dict[str, object], told: str, tmp_path: Path
) -> None:
    Encoder(CellNetwork("test_resnet", 8, 16).eval(), "test_resnet", 8, 16).save(tmp_path)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=told) as caught:
        Encoder.load(tmp_path)
    assert "\n" not in str(caught.value)
