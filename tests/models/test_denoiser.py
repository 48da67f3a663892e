"""The denoiser hears its conditions, and nothing of its neighbours in the batch."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from geodiff.errors import ModelError
from geodiff.jobs.training.guided import with_guidance
from geodiff.models.denoiser import Denoiser, FieldUNet
from geodiff.models.sampling_blocks import with_sampling_blocks
from tests.tiny import lively_unet


@pytest.fixture(scope="module")
def net() -> FieldUNet:
    """A tiny network none of whose layers is zero."""
    return lively_unet()


def inputs(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy latents, times and fields of ``n`` windows."""
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn(n, 4, 8, 8, generator=generator)
    field = torch.randn(n, 8, 8, 8, generator=generator)
    return noisy, torch.full((n,), 0.4), torch.nn.functional.normalize(field, dim=1)


def test_unknown_ignores_the_field_to_the_bit(net: FieldUNet) -> None:
    noisy, time, field = inputs(3)
    gsd, known = torch.full((3,), 0.6), torch.tensor([True, False, True])
    one = net(noisy, time, field, gsd, known)
    other = net(noisy, time, field.flip(1) * 7, gsd, known)
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(one[2], other[2])


def test_no_field_is_the_learned_null(net: FieldUNet) -> None:
    noisy, time, field = inputs(2)
    denoiser = Denoiser(net, bf16=False)
    gsd, known = torch.full((2,), 0.6), torch.zeros(2, dtype=torch.bool)
    without = denoiser.velocity(noisy, time, None, 0.6)
    assert torch.equal(without, net(noisy, time, field, gsd, known))
    null = (net.null / 8**0.5)[None, :, None, None].expand_as(field)
    torch.testing.assert_close(without, denoiser.velocity(noisy, time, null, 0.6))


def test_guidance_is_a_condition_of_a_network_that_knows_it(net: FieldUNet) -> None:
    noisy, time, field = inputs(2)
    grown = with_guidance(net, (1.0, 8.0)).eval()
    taught, plain = Denoiser(grown, bf16=False), Denoiser(net, bf16=False)
    base = plain.velocity(noisy, time, field, 0.6)
    for scale in (1.0, 3.0):  # the new input says nothing yet
        assert torch.equal(taught.velocity(noisy, time, field, 0.6, scale), base)
    with torch.no_grad():
        grown.guided[-1].weight.add_(0.1)
    assert not torch.equal(taught.velocity(noisy, time, field, 0.6, 3.0), base)
    assert (taught.taught, plain.taught) == ((1.0, 8.0), None)
    assert [taught.knows(scale) for scale in (0.5, 1.0, 8.0, 8.1)] == [False, True, True, False]
    with pytest.raises(ValueError, match=r"was not taught guidance 8\.1"):
        taught.velocity(noisy, time, field, 0.6, 8.1)
    with pytest.raises(ModelError, match="knows guidance 1 to 8, not 1 to 4"):
        with_guidance(grown, (1.0, 4.0))


@pytest.mark.parametrize("bf16", [False, True])
def test_weights_that_stay_in_bfloat16_change_no_bit(net: FieldUNet, bf16: bool) -> None:
    noisy, time, field = inputs(2)
    net = with_guidance(net, (1.0, 8.0)).eval().requires_grad_(False)
    moved = Denoiser(deepcopy(net), bf16).to(torch.device("cpu"))
    with_sampling_blocks(net)
    plain = Denoiser(net, bf16)
    for known in (field, None):
        want = plain.velocity(noisy, time, known, 0.6, 2.0)
        assert torch.equal(moved.velocity(noisy, time, known, 0.6, 2.0), want)
    kinds = {parameter.dtype for parameter in moved.net.parameters()}
    assert kinds == ({torch.float32, torch.bfloat16} if bf16 else {torch.float32})


@pytest.mark.parametrize("bf16", [False, True])
def test_every_condition_matters(net: FieldUNet, bf16: bool) -> None:
    noisy, time, field = inputs(1)
    denoiser = Denoiser(net, bf16)
    base = denoiser.velocity(noisy, time, field, 0.6)
    assert base.shape == noisy.shape
    assert base.dtype == torch.float32
    assert not torch.equal(base, denoiser.velocity(noisy, time, field, 1.2))
    assert not torch.equal(base, denoiser.velocity(noisy, time + 0.3, field, 0.6))
    assert not torch.equal(base, denoiser.velocity(noisy, time, field.roll(1, 2), 0.6))
    assert not torch.equal(base, denoiser.velocity(noisy, time, None, 0.6))


def test_a_fresh_network_starts_without_the_pixel_size() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(FieldUNet(4, 8, (16, 32), 1, 4).eval(), bf16=False)
    noisy, time, field = inputs(1)
    with torch.no_grad():
        base = denoiser.velocity(noisy, time, field, 0.6)
        assert torch.equal(base, denoiser.velocity(noisy, time, field, 1.2))


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_slots_of_a_batch_are_alike_to_the_bit(net: FieldUNet, bf16: bool, size: int) -> None:
    noisy, time, field = inputs(size)
    denoiser = Denoiser(net, bf16)
    together = denoiser.velocity(noisy, time, field, 0.6)
    for shift in range(1, size):
        moved = denoiser.velocity(noisy.roll(shift, 0), time, field.roll(shift, 0), 0.6)
        assert torch.equal(moved.roll(-shift, 0), together)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_window_alone_is_nearly_the_window_in_a_batch(net: FieldUNet, bf16: bool) -> None:
    noisy, time, field = inputs(4)
    denoiser = Denoiser(net, bf16)
    together = denoiser.velocity(noisy, time, field, 0.6)
    alone = torch.cat(
        [denoiser.velocity(noisy[i : i + 1], time[:1], field[i : i + 1], 0.6) for i in range(4)]
    )
    tolerance = (0.03 if bf16 else 1e-4) * float(together.std())
    assert float((alone - together).abs().mean()) < tolerance


@pytest.mark.parametrize("bf16", [False, True])
def test_saving_keeps_the_predictions(net: FieldUNet, tmp_path: Path, bf16: bool) -> None:
    noisy, time, field = inputs(2)
    denoiser = Denoiser(net, bf16)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    denoiser.save(tmp_path / "one")
    assert all(torch.equal(before[n], v) for n, v in net.state_dict().items())
    loaded = Denoiser.load(tmp_path / "one", bf16)
    loaded.save(tmp_path / "two")
    again = Denoiser.load(tmp_path / "two", bf16)
    prediction = loaded.velocity(noisy, time, field, 0.6)
    assert torch.equal(again.velocity(noisy, time, field, 0.6), prediction)
    exact = denoiser.velocity(noisy, time, field, 0.6)
    assert float((prediction - exact).abs().mean()) < 0.03 * float(exact.std())
    assert loaded.parameters == denoiser.parameters > 1000


def test_damaged_parts_are_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the denoiser in .* cannot be loaded"):
        Denoiser.load(tmp_path / "nowhere")
    copy = tmp_path / "denoiser"
    shutil.copytree(folder / "denoiser", copy)
    FieldUNet(4, 9, (16, 32), 1, 4).save_config(copy)
    with pytest.raises(ModelError, match="size mismatch for null") as caught:
        Denoiser.load(copy)
    assert "\n" not in str(caught.value)
