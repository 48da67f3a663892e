"""The codec is local: a tile with the decoder's halo is the crop of the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from geodiff.errors import ModelError, UsageError
from geodiff.models.bundle import Model
from geodiff.models.codec import Codec, decoder_halo, new_autoencoder
from geodiff.window import Window

LAYERS = [(0, 1), (1, 1), (0, 1, 1), (2, 1, 3), (1, 2, 0), (0, 1, 1, 1), (1, 1, 1, 2), (0, 1, 2, 4)]


def make(layers: tuple[int, ...], seed: int = 0) -> Codec:
    torch.manual_seed(seed)
    net = new_autoencoder(4, (8,) * len(layers), (0, *[1] * (len(layers) - 1)), layers)
    for parameter in net.parameters():  # the class starts norms at one and biases at zero
        torch.nn.init.normal_(parameter, std=0.2)
    return Codec(net.eval().requires_grad_(False), torch.zeros(4), torch.ones(4))


@pytest.mark.parametrize("layers", LAYERS)
def test_halo_is_the_receptive_radius_that_gradients_show(layers: tuple[int, ...]) -> None:
    codec = make(layers)
    halo, factor = decoder_halo(layers), codec.factor
    assert codec.halo == halo
    side = 2 * halo + 5
    centre = side // 2
    block = slice(centre * factor, (centre + 1) * factor)
    reach = torch.zeros(side, side)
    for seed in range(3):  # a ReLU that is off hides what lies behind it
        generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(1, 4, side, side, generator=generator).requires_grad_(True)
        pixels = codec.net.decode(latents, return_dict=False)[0][:, :, block, block]
        torch.autograd.backward([pixels.square().sum()], inputs=[latents])
        assert latents.grad is not None
        reach += latents.grad.abs().sum((0, 1))
    rows, cols = torch.nonzero(reach, as_tuple=True)
    assert int((rows - centre).abs().max()) == halo
    assert int((cols - centre).abs().max()) == halo


@pytest.mark.parametrize("layers", [(0, 1, 1, 1), (1, 1, 1, 2)])
def test_tile_with_halo_is_the_crop_of_the_whole(layers: tuple[int, ...]) -> None:
    codec = make(layers)
    canvas = Window(-3, 5, 34, 40)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, *canvas.shape, generator=generator)
    whole = codec.decode(latents).numpy().astype(int)
    assert whole.std() > 10
    for tile in (Window(8, 20, 6, 7), Window(-3, 5, 9, 9), Window(20, 30, 11, 15)):
        around = tile.pad(codec.halo).intersect(canvas)
        assert around is not None
        rows, cols = around.within(canvas)
        part = codec.decode(latents[:, :, rows, cols]).numpy().astype(int)
        rows, cols = tile.zoom_in(8).within(around.zoom_in(8))
        to_rows, to_cols = tile.zoom_in(8).within(canvas.zoom_in(8))
        # Not to the bit: convolutions of other sizes may add in another order.
        assert np.abs(part[:, :, rows, cols] - whole[:, :, to_rows, to_cols]).max() <= 1


@pytest.mark.parametrize("layers", LAYERS)
def test_a_tile_decodes_to_the_crop_of_the_whole_wherever_the_canvas_ends(
    layers: tuple[int, ...],
) -> None:
    codec = make(layers)
    halo, factor = decoder_halo(layers), codec.factor
    generator = torch.Generator().manual_seed(1)
    side = 2 * halo + 3
    latents = torch.randn(2, 4, side, side, generator=generator)
    whole = codec.decode(latents).numpy().astype(int)
    assert whole.std() > 10
    for margins in ((0, 0, halo, halo), (halo, 0, halo, 0), (0, halo, 0, halo), (0, 0, 0, 0)):
        top, bottom, left, right = margins
        made = codec.decode_tile(latents, margins).numpy().astype(int)
        rows = slice(top * factor, (side - bottom) * factor)
        cols = slice(left * factor, (side - right) * factor)
        assert made.shape == whole[..., rows, cols].shape
        assert np.abs(made - whole[..., rows, cols]).max() <= 1


def test_a_tile_needs_something_inside_its_margins() -> None:
    codec = make((0, 1))
    with pytest.raises(ValueError, match="no tile"):
        codec.decode_tile(torch.zeros(1, 4, 6, 6), (3, 3, 0, 0))


def test_a_decoder_with_attention_has_no_halo() -> None:
    """And rightly: one latent far away changes every pixel."""
    from diffusers import AutoencoderDC

    torch.manual_seed(0)
    kinds = ("ResBlock", "EfficientViTBlock")
    net = AutoencoderDC(
        latent_channels=4, attention_head_dim=8, encoder_block_types="ResBlock",
        decoder_block_types=kinds, encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16), encoder_layers_per_block=(0, 1),
        decoder_layers_per_block=(1, 1), encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
    ).eval()  # fmt: skip
    codec = Codec(net, torch.zeros(4), torch.ones(4))
    assert codec.halo is None
    latents = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    other = latents.clone()
    other[:, :, 0, 0] += 50
    assert bool((codec.render(latents) != codec.render(other))[:, :, -2:, -2:].any())


def test_render_is_decode_before_rounding() -> None:
    codec = make((0, 1, 1, 1))
    latents = 3 * torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    levels = codec.render(latents)
    assert levels.dtype == torch.float32
    assert float(levels.min()) < 0
    assert float(levels.max()) > 255
    assert torch.equal(codec.decode(latents), levels.round().clamp(0, 255).to(torch.uint8))


def test_tile_without_halo_is_not_the_crop_of_the_whole() -> None:
    codec = make((0, 1, 1, 1))
    latents = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    whole = codec.decode(latents).numpy().astype(int)
    part = codec.decode(latents[:, :, 8:16, 8:16]).numpy().astype(int)
    assert np.abs(part - whole[:, :, 64:128, 64:128]).max() > 1


@pytest.mark.parametrize(("layers", "factor"), [((0, 1), 2), ((0, 1, 1), 4), ((0, 1, 1, 1), 8)])
def test_shapes_of_both_ways(layers: tuple[int, ...], factor: int) -> None:
    codec = make(layers)
    assert (codec.factor, codec.channels) == (factor, 4)
    pixels = torch.randint(256, (2, 3, 48, 80), dtype=torch.uint8)
    latents = codec.encode(pixels)
    assert latents.shape == (2, 4, 48 // factor, 80 // factor)
    assert latents.dtype == torch.float32
    made = codec.decode(latents)
    assert made.shape == pixels.shape
    assert made.dtype == torch.uint8


def test_statistics_standardise_on_the_way_in_and_are_undone_on_the_way_out() -> None:
    plain = make((0, 1, 1, 1))
    mean, std = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([2.0, 0.5, 4.0, 1.0])
    codec = Codec(plain.net, mean, std)
    pixels = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    raw, latents = plain.encode(pixels), codec.encode(pixels)
    torch.testing.assert_close(latents, (raw - mean[:, None, None]) / std[:, None, None])
    difference = codec.decode(latents).int() - plain.decode(raw).int()
    assert int(difference.abs().max()) <= 1


@pytest.mark.parametrize("size", [(64, 60), (61, 64)])
def test_sizes_that_the_factor_does_not_divide_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not divide by the factor 8"):
        make((0, 1, 1, 1)).encode(torch.zeros(1, 3, *size, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("widths", "encoder", "decoder"),
    [
        ((8, 8, 8), (0, 1), (0, 1, 1)),
        ((8, 8, 8), (0, 1, 1), (0, 0, 1)),
        ((8, 8, 8), (0, 0, 1), (0, 1, 1)),
        ((8,), (1,), (1,)),
    ],
)
def test_layers_that_would_change_the_factor_are_refused(
    widths: tuple[int, ...], encoder: tuple[int, ...], decoder: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError, match="do not fit the widths"):
        new_autoencoder(4, widths, encoder, decoder)


def test_saving_rounds_to_half_precision_once_and_leaves_the_network_alone(tmp_path: Path) -> None:
    codec = make((0, 1, 1, 1))
    before = {name: value.clone() for name, value in codec.net.state_dict().items()}
    codec.save(tmp_path / "one")
    assert all(torch.equal(before[n], v) for n, v in codec.net.state_dict().items())
    loaded = Codec.load(tmp_path / "one", [0] * 4, [1] * 4)
    for name, value in loaded.net.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name].half().float())
    assert not any(parameter.requires_grad for parameter in loaded.net.parameters())
    loaded.save(tmp_path / "two")
    again = Codec.load(tmp_path / "two", [0] * 4, [1] * 4)
    latents = torch.randn(1, 4, 6, 6)
    assert torch.equal(loaded.decode(latents), again.decode(latents))
    assert loaded.fingerprint == again.fingerprint == codec.fingerprint


def test_fingerprint_tells_weights_and_statistics_apart() -> None:
    one, other = make((0, 1, 1, 1)), make((0, 1, 1, 1), seed=1)
    assert one.fingerprint == make((0, 1, 1, 1)).fingerprint
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint != Codec(one.net, one.mean + 1, one.std).fingerprint


@pytest.mark.parametrize("broken", ["config.json", "diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("how", ["gone", "truncated", "empty"])
def test_damaged_parts_are_one_line(folder: Path, tmp_path: Path, broken: str, how: str) -> None:
    copy = tmp_path / "codec"
    shutil.copytree(folder / "codec", copy)
    content = (copy / broken).read_bytes()
    (copy / broken).unlink()
    if how != "gone":
        (copy / broken).write_bytes(content[: len(content) // 2] if how == "truncated" else b"")
    with pytest.raises(ModelError, match=r"^the codec in .* cannot be loaded: .+$") as caught:
        Codec.load(copy, [0] * 4, [1] * 4)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    new_autoencoder(4, (8, 8, 16, 16), (0, 1, 1, 1), (0, 1, 1, 2)).save_config(tmp_path)
    name = "diffusion_pytorch_model.safetensors"
    shutil.copyfile(folder / "codec" / name, tmp_path / name)
    with pytest.raises(ModelError, match="Missing key") as caught:
        Codec.load(tmp_path, [0] * 4, [1] * 4)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="describes no AutoencoderDC"):
        Codec.load(folder / "denoiser", [0] * 4, [1] * 4)


def test_statistics_of_another_number_of_channels_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"4 latent channels.*3 means"):
        Codec.load(folder / "codec", [0] * 3, [1] * 4)


def test_a_saved_codec_does_not_tell_where_it_was_read_from(tmp_path: Path) -> None:
    net = new_autoencoder(4, (8, 8, 16, 16), (0, 1, 1, 1), (0, 1, 1, 1)).eval()
    net.register_to_config(_name_or_path="/home/somebody/runs")
    Codec(net, torch.zeros(4), torch.ones(4)).save(tmp_path / "codec")
    assert "somebody" not in (tmp_path / "codec" / "config.json").read_text()


def test_a_decoder_in_bf16_is_off_by_one_level_at_most() -> None:
    """Of the shipped codec, on latents of its own; the encoder stays as it is."""
    codec = Model.load(device="cpu", precision="fp32").codec
    rough = np.random.default_rng(3).uniform(60, 180, (3, 12, 12)).astype(np.float32)
    image = torch.nn.functional.interpolate(torch.from_numpy(rough)[None], size=96, mode="bicubic")
    pixels = image.clamp(0, 255).to(torch.uint8)
    latents = codec.encode(pixels)
    exact = codec.decode(latents).int()
    fingerprint = codec.fingerprint
    fast = codec.with_decoder_in(torch.bfloat16)
    assert fast.fingerprint == fingerprint
    assert next(fast.net.decoder.parameters()).dtype == torch.bfloat16
    off = (fast.decode(latents).int() - exact).abs()
    assert off.max() <= 1
    assert torch.equal(fast.encode(pixels), latents)
