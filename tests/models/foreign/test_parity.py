"""Imported networks compute what the published description says: two implementations agree."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from geodiff.errors import ModelError, UsageError
from geodiff.models.conditioner import Conditioner
from geodiff.models.foreign.project import Project
from tests.models.foreign import ldm
from tests.models.foreign.placing import found_in, networks

TOLERANCE = 1e-5


Nets = dict[str, Any]


@pytest.fixture(scope="module")
def naip_networks(naip: ldm.LatentDiffusion) -> Nets:
    return networks(naip.state())[1]


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal to the tolerance, and not because there is nothing."""
    assert other.std() > 0.1
    assert one.shape == other.shape
    assert (one - other).abs().max() < TOLERANCE


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def double(net: torch.nn.Module) -> Any:
    return copy.deepcopy(net).double()


@pytest.mark.parametrize("quantised", [True, False])
def test_decoding(naip: ldm.LatentDiffusion, naip_networks: Nets, quantised: bool) -> None:
    latents = random(2, 3, 12, 8)
    made = naip_networks["codec"].decode(
        latents, force_not_quantize=not quantised, return_dict=False
    )[0]
    close(made, double(naip.codec).decode(latents, quantised))


def test_quantising_matters(naip: ldm.LatentDiffusion) -> None:
    codec, latents = double(naip.codec), random(1, 3, 8, 8)
    assert (codec.decode(latents) - codec.decode(latents, False)).abs().max() > 0.1


def test_encoding(naip: ldm.LatentDiffusion, naip_networks: Nets) -> None:
    pixels = random(2, 3, 32, 48).tanh()
    encoded = naip_networks["codec"].encode(pixels).latents
    close(encoded, double(naip.codec).encode(pixels))


def test_an_autoencoder_with_attention_at_its_levels(naip: ldm.LatentDiffusion) -> None:
    torch.manual_seed(0)
    codec = ldm.lively(ldm.Autoencoder(mult=(1, 2), blocks=1, codes=9, attended=True), 5)
    state = {k: v for k, v in naip.state().items() if not k.startswith("first_stage_model.")}
    state |= {f"first_stage_model.{name}": value for name, value in codec.state_dict().items()}
    found, nets = networks(state)
    latents, pixels = random(1, 3, 8, 6), random(1, 3, 16, 16).tanh()
    close(nets["codec"].decode(latents).sample, double(codec).decode(latents))
    close(nets["codec"].encode(pixels).latents, double(codec).encode(pixels))
    assert found.networks["codec"].config["down_block_types"][1] == "AttnDownEncoderBlock2D"


@pytest.mark.parametrize("tokens", [1, 2, 65])
def test_noise_predicted_under_tokens(
    naip: ldm.LatentDiffusion, naip_networks: Nets, tokens: int
) -> None:
    x, context = random(2, 3, 8, 12), random(2, tokens, 24, seed=1)
    times = torch.tensor([0, 731])
    made = naip_networks["denoiser"](x, times, context).sample
    close(made, double(naip.unet)(x, times, context))


def test_heads_come_from_the_configuration(brca: ldm.LatentDiffusion) -> None:
    x, context, times = random(2, 3, 8, 8), random(2, 2, 24, seed=1), torch.tensor([5, 900])
    expected = double(brca.unet)(x, times, context)
    for unet in ({"num_heads": 2}, {"num_heads": 1, "num_head_channels": 32}):
        _, nets = networks(brca.state(), project=Project(unet=unet))
        if "num_head_channels" in unet:  # one head of 32 channels where there are 32, two of 64
            assert nets["denoiser"].config["attention_head_dim"] == (1, 2)
        close(nets["denoiser"](x, times, context).sample, expected)
    _, nets = networks(brca.state())
    assert (nets["denoiser"](x, times, context).sample - expected).abs().max() > 1e-3
    with pytest.raises(ModelError, match="do not divide"):
        networks(brca.state(), project=Project(unet={"num_heads": 5}))


def test_transformers_at_the_finest_level(zoom: ldm.LatentDiffusion) -> None:
    _, nets = networks(zoom.state())
    x, context, times = random(1, 3, 8, 8), random(1, 65, 24, seed=1), torch.tensor([400])
    close(nets["denoiser"](x, times, context).sample, double(zoom.unet)(x, times, context))


def test_tokens_of_a_patch(naip: ldm.LatentDiffusion, brca: ldm.LatentDiffusion) -> None:
    for model, tokens in ((naip, 1), (brca, 2)):
        found, nets = networks(model.state())
        conditioner = Conditioner(nets["conditioner"].float(), found.conditioner)
        vectors = 5 * random(3, 12).float()
        made = conditioner.tokens(vectors[:, None])
        close(made, model.conditioner(vectors))
        assert found.conditioner.tokens == made.shape[1] == tokens
        # Trained with embeddings of zeros in place of none.
        close(conditioner.tokens(None), model.conditioner(torch.zeros(1, 12)))


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_tokens_of_a_grid_and_its_scale(zoom: ldm.LatentDiffusion, level: int) -> None:
    """Of coarser scales than the third there are 8 x 8 means of embeddings."""
    found, nets = networks(zoom.state(), level=level)
    conditioner = Conditioner(nets["conditioner"].float(), found.conditioner)
    side = min(2**level, 8)
    assert found.conditioner.side == side
    grids = random(2, 12, side, side).float()
    made = conditioner.tokens(grids.flatten(2).movedim(1, -1))
    close(made, zoom.conditioner(grids, level))
    assert made.shape == (2, 65, 24)
    assert torch.equal(conditioner.tokens(None), torch.zeros(1, 65, 24))


def test_a_scale_that_is_not_known(zoom: ldm.LatentDiffusion, naip: ldm.LatentDiffusion) -> None:
    with pytest.raises(UsageError, match="has no scale 5: it knows 5"):
        found_in(zoom.state(), level=5)
    with pytest.raises(UsageError, match="this one knows none"):
        found_in(naip.state(), level=1)


def test_old_names_of_a_perceptron(zoom: ldm.LatentDiffusion) -> None:
    state = {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for name, value in zoom.state().items()
    }
    _, old = networks(state)
    _, new = networks(zoom.state())
    for name, value in new["conditioner"].state_dict().items():
        assert torch.equal(old["conditioner"].state_dict()[name], value)


def test_the_table_of_betas(naip: ldm.LatentDiffusion) -> None:
    found = found_in(naip.state())
    assert (found.table.steps, found.table.start, found.table.end) == (1000, 0.0015, 0.0195)
    assert (found.table.betas - ldm.schedule()["betas"]).abs().max() < 1e-8
    other = naip.state() | ldm.schedule(200, 0.001, 0.03)
    found = found_in(other)
    assert (found.table.steps, found.table.start, found.table.end) == (200, 0.001, 0.03)


def test_a_schedule_of_another_kind(naip: ldm.LatentDiffusion) -> None:
    evenly = {"betas": torch.linspace(0.0015, 0.0195, 1000)}
    with pytest.raises(ModelError, match="other schedules are not run"):
        found_in(naip.state() | evenly)
    wrong = {"alphas_cumprod": naip.state()["alphas_cumprod"] * 0.9}
    with pytest.raises(ModelError, match="the checkpoint's alphas_cumprod is not that of betas"):
        found_in(naip.state() | wrong)


def test_without_a_schedule_the_configuration_says_it(naip: ldm.LatentDiffusion) -> None:
    state = {name: v for name, v in naip.state().items() if name not in ldm.schedule()}
    found = found_in(state)
    assert (found.table.steps, found.table.end) == (1000, 0.0195)
    project = Project(model={"timesteps": 500, "linear_end": 0.02})
    found = found_in(state, project=project)
    assert (found.table.steps, found.table.end) == (500, 0.02)


def test_the_factor_of_the_latents(naip: ldm.LatentDiffusion) -> None:
    assert found_in(naip.state()).scale == 1
    assert found_in(naip.state(), project=Project(model={"scale_factor": 0.5})).scale == 0.5
    assert found_in(naip.state() | {"scale_factor": torch.tensor(0.25)}).scale == 0.25
    with pytest.raises(ModelError, match="no such factor"):
        found_in(naip.state() | {"scale_factor": torch.tensor(0.0)})
