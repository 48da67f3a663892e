"""A vector-quantised codec keeps the promises that the engine relies on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from geodiff.errors import ModelError
from geodiff.models import vq_codec
from geodiff.models.vq_codec import VQCodec
from tests.tiny_tokens import token_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return token_model(tmp_path_factory.mktemp("vq") / "model") / "codec"


@pytest.fixture(scope="module")
def codec(folder: Path) -> VQCodec:
    return VQCodec.load(folder, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_shapes_of_both_ways(codec: VQCodec) -> None:
    assert (codec.factor, codec.channels, codec.halo) == (4, 3, None)
    pixels = torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8)
    latents = codec.encode(pixels)
    assert latents.shape == (2, 3, 8, 12)
    made = codec.decode(latents)
    assert made.shape == pixels.shape
    assert made.dtype == torch.uint8
    with pytest.raises(ValueError, match="do not divide by the factor 4"):
        codec.encode(pixels[..., :30])


def test_it_decodes_as_the_network_itself_does(codec: VQCodec) -> None:
    latents = random(2, 3, 6, 10)
    raw = latents * torch.tensor([1.0, 2, 3])[:, None, None]
    raw += torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    with torch.no_grad():
        expected = (codec.net.decode(raw).sample + 1) * 127.5
    made = codec.render(latents)
    assert (made - expected).abs().max() < 0.01  # of 255 levels
    assert torch.equal(codec.decode(latents), made.round().clamp(0, 255).to(torch.uint8))


def test_quantising_does_not_depend_on_how_many_are_compared_at_once(
    codec: VQCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = random(2, 3, 7, 9)
    whole = codec.quantise(raw)
    monkeypatch.setattr(vq_codec, "COMPARED", 40 * 5)
    assert torch.equal(codec.quantise(raw), whole)
    book = codec.net.quantize.embedding.weight
    gaps = (raw[0, :, 3, 4] - book).norm(dim=1)
    assert torch.equal(whole[0, :, 3, 4], book[gaps.argmin()])


def test_statistics_are_undone_on_the_way_out(codec: VQCodec, folder: Path) -> None:
    pixels = torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8)
    plain = VQCodec.load(folder, [0.0] * 3, [1.0] * 3)
    assert (codec.encode(pixels) - plain.encode(pixels)).abs().max() > 0.05
    one, other = codec.render(codec.encode(pixels)), plain.render(plain.encode(pixels))
    assert (one - other).abs().max() < 1e-2
    assert codec.fingerprint != plain.fingerprint


def test_every_pixel_depends_on_the_whole_tile(codec: VQCodec) -> None:
    latents = random(1, 3, 16, 16)
    other = latents.clone()
    other[:, :, 0, 0] += 50
    assert bool((codec.render(latents) != codec.render(other))[:, :, -2:, -2:].any())
    with pytest.raises(ValueError, match="without halo"):
        codec.decode_tile(latents, (1, 1, 1, 1))


def test_a_rough_decoder_keeps_the_book_exact(folder: Path) -> None:
    exact = VQCodec.load(folder, [0.0] * 3, [1.0] * 3)
    rough = VQCodec.load(folder, [0.0] * 3, [1.0] * 3).to(torch.device("cpu"))
    rough = rough.with_decoder_in(torch.bfloat16)
    latents = random(1, 3, 8, 8)
    assert torch.equal(exact.quantise(latents), rough.quantise(latents))
    apart = (exact.render(latents) - rough.render(latents)).abs()
    assert 0 < apart.max() < 16


@pytest.mark.parametrize(
    ("changes", "statistics", "message"),
    [
        ({}, 4, "has 3 latent channels, but its latents.json gives 4 means"),
        ({"norm_type": "spatial"}, 3, "the codec in .*"),
        ({"_class_name": "AutoencoderKL"}, 3, "describes no VQModel"),
        ({"num_vq_embeddings": 41}, 3, "size mismatch"),
    ],
)
def test_parts_that_misfit(
    folder: Path, tmp_path: Path, changes: dict[str, object], statistics: int, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "codec")
    path = tmp_path / "codec" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=message) as caught:
        VQCodec.load(tmp_path / "codec", [0.0] * statistics, [1.0] * statistics)
    assert "\n" not in str(caught.value)
