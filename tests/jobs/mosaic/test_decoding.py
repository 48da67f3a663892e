"""Decoding in tiles: the crop of the whole where the codec is local, else a blend of windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geodiff.diffusion import canvas as memory
from geodiff.jobs.mosaic import decoding
from geodiff.jobs.mosaic.decoding import count_tiles, decode
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.models.bundle import Model
from geodiff.models.codec import Codec
from geodiff.window import Window

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def lively(model: Model) -> Model:
    """The tiny model with a decoder that answers strongly (its norms and biases are random)."""
    torch.manual_seed(0)
    codec = Codec.load(model.path / "codec", [0] * 4, [1] * 4)
    for parameter in codec.net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return replace(model, codec=codec)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 16 latents, so that a few of them make a canvas."""
    monkeypatch.setattr(decoding, "TILE", 16)


def latents(canvas: Window) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 4, *canvas.shape, generator=generator)


def sampling(model: Model, mode: str = "balanced", **changes: object) -> Sampling:
    return replace(Sampling.of(mode, model, None, None, 4), **changes)  # type: ignore[arg-type]


def joined(model: Model, how: Sampling, x: torch.Tensor, canvas: Window, core: Window) -> Pixels:
    """All tiles in their places; every pixel is given once."""
    outer, tile = core.zoom_in(8), decoding.TILE * 8
    image, given = np.zeros((3, *outer.shape), np.uint8), np.zeros(outer.shape, int)
    windows = []
    for window, pixels in decode(model, how, x, canvas, core):
        rows, cols = window.within(outer)
        image[:, rows, cols] = pixels
        given[rows, cols] += 1
        windows.append(window)
        assert pixels.flags.c_contiguous
        assert pixels.dtype == np.uint8
        for start, stop, low, high in (
            (window.row, window.bottom, outer.row, outer.bottom),
            (window.col, window.right, outer.col, outer.right),
        ):
            assert start % tile == 0 or start == low
            assert stop % tile == 0 or stop == high
    assert (given == 1).all()
    assert windows == sorted(windows)
    assert len(windows) == count_tiles(core)
    return image


def crop(image: Pixels, canvas: Window, core: Window) -> Pixels:
    return image[:, *core.zoom_in(8).within(canvas.zoom_in(8))]


CANVAS = Window(-9, 5, 50, 44)
CORES = [CANVAS, Window(0, 16, 32, 16), Window(-5, 20, 21, 7), Window(30, 6, 1, 1)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("core", CORES)
def test_tiles_are_the_crop_of_the_whole(lively: Model, core: Window) -> None:
    x = latents(CANVAS)
    whole = lively.codec.decode(x)[0].numpy()
    assert whole.std() > 10
    made = joined(lively, sampling(lively), x, CANVAS, core)
    # Not always to the bit: convolutions of other sizes may add in another order.
    assert np.abs(made.astype(int) - crop(whole, CANVAS, core).astype(int)).max() <= 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mode", ["balanced", "paper"])
def test_pixels_do_not_depend_on_the_core(lively: Model, mode: str) -> None:
    x, how = latents(CANVAS), sampling(lively, mode)
    whole = joined(lively, how, x, CANVAS, CANVAS)
    for core in CORES[1:]:
        part = joined(lively, how, x, CANVAS, core)
        assert np.array_equal(part, crop(whole, CANVAS, core))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mode", ["balanced", "paper"])
def test_a_core_of_whole_tiles_is_the_same_on_every_canvas_that_holds_its_halo(
    lively: Model, mode: str
) -> None:
    """To the bit: the tiles and windows that are decoded are the same ones."""
    how, halo = sampling(lively, mode), lively.codec.halo
    assert halo is not None
    large, core = Window(-16, -16, 96, 80), Window(16, 16, 32, 16)
    reach = max(halo, how.size)
    x = latents(large)
    canvas = core.pad(reach)
    rows, cols = canvas.within(large)
    wide = joined(lively, how, x, large, core)
    assert np.array_equal(joined(lively, how, x[:, :, rows, cols], canvas, core), wide)


@pytest.mark.usefixtures("small")
def test_a_core_of_any_place_differs_by_a_level_at_most(lively: Model) -> None:
    """Here the canvas cuts the tiles that are decoded, so that convolutions have other shapes."""
    how, halo = sampling(lively), lively.codec.halo
    assert halo is not None
    large, core = Window(-16, -16, 96, 80), Window(3, 7, 29, 40)
    canvas = core.pad(halo)
    x = latents(large)
    rows, cols = canvas.within(large)
    wide = joined(lively, how, x, large, core).astype(int)
    tight = joined(lively, how, x[:, :, rows, cols], canvas, core).astype(int)
    assert np.abs(tight - wide).max() <= 1


@pytest.mark.usefixtures("small")
def test_tiles_inside_the_canvas_are_decoded_in_one_shape(
    lively: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little of a tile the core wants: the shape of a convolution may decide its bits."""
    shapes: list[tuple[int, ...]] = []
    real = Codec.decode_tile

    def watched(self: Codec, x: torch.Tensor, margins: tuple[int, int, int, int]) -> torch.Tensor:
        shapes.append((*x.shape, *margins))
        return real(self, x, margins)

    monkeypatch.setattr(Codec, "decode_tile", watched)
    canvas, halo = Window(-16, -16, 80, 96), lively.codec.halo
    assert halo is not None
    assert halo <= 16
    joined(lively, sampling(lively), latents(canvas), canvas, Window(3, 15, 29, 34))
    assert shapes == [(1, 4, 16 + 2 * halo, 16 + 2 * halo, *[halo] * 4)] * 8


def test_tiles_of_the_real_size(lively: Model) -> None:
    canvas = Window(100, 120, 40, 30)
    x, core = latents(canvas), Window(110, 124, 22, 20)
    made = joined(lively, sampling(lively), x, canvas, core)
    assert decoding.TILE == 128
    assert count_tiles(core) == 4
    whole = crop(lively.codec.decode(x)[0].numpy(), canvas, core)
    assert np.abs(made.astype(int) - whole.astype(int)).max() <= 1


def blend(model: Model, x: torch.Tensor, canvas: Window, stride: int) -> NDArray[np.float64]:
    """Every window decoded by itself, averaged with exp(-d^2 / 0.8^2): as published."""
    axis = np.linspace(-1, 1, 64)
    weights = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 0.8**2)
    total = np.zeros((3, canvas.height * 8, canvas.width * 8))
    norm = np.zeros(total.shape[1:])
    for i in range(0, canvas.height - 8 + 1, stride):
        for j in range(0, canvas.width - 8 + 1, stride):
            raw = model.codec.net.decode(x[:, :, i : i + 8, j : j + 8], return_dict=False)[0]
            levels = (raw[0].detach().double().numpy() + 1) * 127.5
            area = np.s_[8 * i : 8 * i + 64, 8 * j : 8 * j + 64]
            total[:, *area] += weights * levels
            norm[area] += weights
    return np.clip(total / norm, 0, 255)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("canvas", [Window(0, 0, 24, 36), Window(-7, 3, 8, 20)])
def test_paper_blends_windows_as_published(lively: Model, canvas: Window) -> None:
    x = latents(canvas)
    made = joined(lively, sampling(lively, "paper"), x, canvas, canvas)
    wanted = blend(lively, x, canvas, 2)
    assert np.abs(made - wanted).max() <= 0.501
    exact = joined(lively, sampling(lively), x, canvas, canvas)
    assert (made != exact).any()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("batch", [2, 8])
def test_blending_does_not_depend_on_the_batch(lively: Model, batch: int) -> None:
    x, core = latents(CANVAS), Window(0, 16, 32, 16)
    made = [
        joined(lively, sampling(lively, "paper", batch=n), x, CANVAS, core).astype(int)
        for n in (batch, 4)
    ]
    assert np.abs(made[0] - made[1]).max() <= 1


@pytest.mark.usefixtures("small")
def test_windows_are_rendered_in_whole_batches(
    lively: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the last ones: in bf16 the size of a batch may decide the last bits."""
    sizes: list[int] = []
    real = Codec.render

    def watched(self: Codec, x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return real(self, x)

    monkeypatch.setattr(Codec, "render", watched)
    canvas = Window(0, 0, 8, 18)  # 6 windows of 8 latents, 2 apart
    joined(lively, sampling(lively, "paper"), latents(canvas), canvas, canvas)
    assert sizes == [4, 4]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mode", ["balanced", "paper"])
def test_latents_and_sums_in_files_give_the_same_pixels(
    lively: Model, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, how = latents(CANVAS), sampling(lively, mode)
    inside = joined(lively, how, x, CANVAS, CANVAS)
    monkeypatch.setattr(memory, "IN_MEMORY", 0)
    kept = memory.zeros_like(x)
    kept += x
    assert np.array_equal(joined(lively, how, kept, CANVAS, CANVAS), inside)


@pytest.mark.usefixtures("small")
def test_a_codec_that_is_not_local_is_blended(
    lively: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, how = latents(CANVAS), sampling(lively)
    wanted = joined(lively, replace(how, decode_stride=4), x, CANVAS, CANVAS)
    monkeypatch.setattr(Codec, "halo", None)
    assert np.array_equal(joined(lively, how, x, CANVAS, CANVAS), wanted)


def test_core_outside_the_canvas_is_refused_at_once(lively: Model) -> None:
    canvas = Window(0, 0, 10, 10)
    with pytest.raises(ValueError, match="is not inside"):
        decode(lively, sampling(lively), latents(canvas), canvas, canvas.pad(1))


@pytest.mark.parametrize(
    ("core", "tiles"),
    [
        (Window(0, 0, 128, 128), 1),
        (Window(-1, 0, 2, 128), 2),
        (Window(127, 127, 2, 2), 4),
        (Window(-256, 128, 512, 512), 16),
    ],
)
def test_tiles_are_counted(core: Window, tiles: int) -> None:
    assert count_tiles(core) == tiles == len(list(core.tiles(128)))
