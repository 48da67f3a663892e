"""A nudge goes up the cosine by a set length, each cell by itself, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geodiff.errors import ModelError
from geodiff.models.casting import cast
from geodiff.models.parts import WEIGHTS
from geodiff.models.probe import TOGETHER, LatentNetwork, Probe

CHANNELS, DIM = 4, 8
SIDES = [2, 3, 7, 8]


def probe_of(side: int, bf16: bool = False) -> Probe:
    """A random one, as it is loaded."""
    torch.manual_seed(side)
    net = LatentNetwork(CHANNELS, DIM, side, (8, 16, 16)).eval().requires_grad_(False)
    return Probe(cast(net, channels_last=True), bf16)


def cells(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Latents and what is asked of them."""
    generator = torch.Generator().manual_seed(count)
    latents = torch.randn(count, CHANNELS, side, side, generator=generator)
    return latents, normalize(torch.randn(count, DIM, generator=generator), dim=1)


def rms(change: Tensor) -> Tensor:
    return change.square().mean((1, 2, 3)).sqrt()


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("side", SIDES)
def test_a_nudge_raises_the_cosine(side: int) -> None:
    probe, (latents, asked) = probe_of(side), cells(9, side)
    before, after = (probe.cosines(x, asked) for x in (latents, probe.nudge(latents, asked, 0.01)))
    assert (after > before).all()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("strength", [0.05, 0.4])
def test_its_length_is_the_strength_times_what_is_lacking(side: int, strength: float) -> None:
    probe, (latents, asked) = probe_of(side), cells(9, side)
    seen = normalize(probe.net(latents), dim=1)
    asked[:3] = normalize(asked[:3] + 2 * seen[:3], dim=1)  # nearly what they show
    asked[3:6] = normalize(asked[3:6] - 2 * seen[3:6], dim=1)  # nearly the opposite
    lack = 1 - probe.cosines(latents, asked)
    assert float(lack[:3].max()) < 1 < float(lack[3:6].min())
    change = rms(probe.nudge(latents, asked, strength) - latents)
    torch.testing.assert_close(change, strength * lack.clamp(0, 1), rtol=1e-3, atol=1e-6)


def test_the_length_is_the_strength_at_most(probe: Probe) -> None:
    """Cells whose vector is away from what is asked by more than a right angle."""
    latents, asked = cells(40, 2)
    away = probe.cosines(latents, asked) < 0
    assert away.any()
    change = rms(probe.nudge(latents, asked, 0.2) - latents)
    torch.testing.assert_close(change[away], torch.full_like(change[away], 0.2), rtol=1e-3, atol=0)
    assert (change[~away] < 0.2).all()


def test_strength_0_changes_nothing(probe: Probe) -> None:
    latents, asked = cells(5, 2)
    assert torch.equal(probe.nudge(latents, asked, 0.0), latents)


@pytest.fixture(scope="module")
def probe() -> Probe:
    """Of cells of 2 latents a side."""
    return probe_of(2)


@pytest.mark.parametrize("side", [3, 8])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_cell_does_not_know_its_company(side: int, bf16: bool) -> None:
    probe, (latents, asked) = probe_of(side, bf16), cells(TOGETHER + 7, side)
    together = probe.nudge(latents, asked, 0.3)
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(1))
    for count in (1, 2):
        with threads(count):
            assert torch.equal(probe.nudge(latents[order], asked[order], 0.3), together[order])
            assert torch.equal(probe.nudge(latents[66:], asked[66:], 0.3), together[66:])
            alone = probe.nudge(latents[5:6], asked[5:6], 0.3)
            assert torch.equal(alone, together[5:6])


def test_it_works_where_no_gradients_are_kept_and_leaves_none(probe: Probe) -> None:
    latents, asked = cells(3, 2)
    kept = latents.clone(), asked.clone()
    with torch.no_grad():
        without = probe.nudge(latents, asked, 0.3)
        assert not torch.is_grad_enabled()
    assert torch.equal(without, probe.nudge(latents, asked, 0.3))
    assert not without.requires_grad
    assert not latents.requires_grad
    assert all(torch.equal(*pair) for pair in zip(kept, (latents, asked), strict=True))
    learning = Probe(probe_of(2).net.requires_grad_(True), bf16=False)
    assert torch.equal(learning.nudge(latents, asked, 0.3), without)
    assert all(parameter.grad is None for parameter in learning.net.parameters())


def test_no_cells_are_no_cells(probe: Probe) -> None:
    assert probe.nudge(*cells(0, 2), 0.3).shape == (0, CHANNELS, 2, 2)


@pytest.mark.parametrize("side", SIDES)
def test_saving_and_loading_keeps_half_precision(tmp_path: Path, side: int) -> None:
    probe, (latents, asked) = probe_of(side), cells(4, side)
    probe.save(tmp_path / "probe")
    loaded = Probe.load(tmp_path / "probe")
    assert (loaded.side, loaded.dim, loaded.channels) == (side, DIM, CHANNELS)
    kept = loaded.net.state_dict()
    assert all(torch.equal(v.half(), kept[n].half()) for n, v in probe.net.state_dict().items())
    moved = loaded.to(torch.device("cpu"), bf16=False)
    torch.testing.assert_close(
        moved.cosines(latents, asked), probe.cosines(latents, asked), atol=5e-3, rtol=0
    )
    moved.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (
        tmp_path / "probe" / WEIGHTS
    ).read_bytes()


def test_what_is_no_probe_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"the probe in .*none cannot be loaded"):
        Probe.load(tmp_path / "none")
    with pytest.raises(ModelError, match="describes no LatentNetwork"):
        Probe.load(folder / "denoiser")
    probe_of(2).save(tmp_path / "probe")
    probe_of(8).save(tmp_path / "other")
    (tmp_path / "probe" / WEIGHTS).write_bytes((tmp_path / "other" / WEIGHTS).read_bytes())
    with pytest.raises(ModelError, match=r"the probe in .* cannot be loaded"):
        Probe.load(tmp_path / "probe")
