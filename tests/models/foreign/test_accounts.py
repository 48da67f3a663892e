"""Every tensor of a checkpoint is accounted for, and averages are preferred to raw weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from geodiff.errors import ModelError
from geodiff.models.foreign.latent_diffusion import take_apart
from geodiff.models.foreign.project import Project
from tests.models.foreign import ldm
from tests.models.foreign.placing import found_in, stored

State = dict[str, torch.Tensor]


@pytest.fixture
def state(naip: ldm.LatentDiffusion) -> State:
    return naip.state()


def smooth() -> ldm.UNet:
    """Other weights of the same layout."""
    torch.manual_seed(9)
    return ldm.UNet()


def test_all_tensors_go_somewhere(state: State) -> None:
    accounts = found_in(state).accounts
    used = [name for part in accounts.parts.values() for name in part.names.values()]
    left = [name for names in accounts.left_out.values() for name in names]
    assert sorted(used + left) == sorted(state)  # each of them once
    assert dict(accounts.left_out) == {"the noise schedule": sorted(ldm.schedule())}
    assert accounts.allowed == []


def test_what_training_leaves_behind_is_left_out_for_a_reason(state: State) -> None:
    state["inception.blocks.0.conv.weight"] = torch.zeros(3)
    state["first_stage_model.loss.discriminator.main.0.weight"] = torch.zeros(3)
    state["logvar"] = torch.zeros(1000)
    state["scale_factor"] = torch.tensor(0.5)
    left_out = found_in(state).accounts.left_out
    assert {len(left_out[reason]) for reason in set(left_out) - {"the noise schedule"}} == {1}
    assert sum(map(len, left_out.values())) == len(ldm.schedule()) + 4


def test_unknown_tensors_are_listed_and_refused(state: State) -> None:
    state |= {f"model.extra.{i}": torch.zeros(2) for i in range(3)}
    listed = "3 tensors unknown: model.extra.0, model.extra.1, model.extra.2: allow them by --allow"
    with pytest.raises(ModelError, match=listed):
        found_in(state)
    with pytest.raises(ModelError, match=r"1 tensor unknown: model\.extra\.2"):
        found_in(state, allow=["*.0", "model.extra.1"])
    accounts = found_in(state, allow=["model.extra.*"]).accounts
    assert accounts.allowed == ["model.extra.0", "model.extra.1", "model.extra.2"]


def test_a_long_list_is_counted(state: State) -> None:
    state |= {f"extra.{i:03}": torch.zeros(1) for i in range(500)}
    with pytest.raises(ModelError, match=r"500 tensors unknown: .* and 488 more") as caught:
        found_in(state)
    assert len(str(caught.value)) < 2000


def test_missing_tensors_are_listed_and_refused(state: State) -> None:
    gone = ["first_stage_model.decoder.conv_in.bias", "model.diffusion_model.out.0.weight"]
    for name in gone:
        del state[name]
    with pytest.raises(ModelError, match=f"2 tensors missing: {gone[0]}, {gone[1]}: allow them"):
        found_in(state)


def test_allowed_missing_tensors_are_zeros(state: State) -> None:
    name = "first_stage_model.decoder.conv_in.bias"
    del state[name]
    found = found_in(state, allow=["first_stage_model.decoder.*"])
    assert found.accounts.allowed == [name]
    tensors = dict(found.accounts.tensors("codec", stored(state)))
    assert torch.equal(tensors["decoder.conv_in.bias"], torch.zeros(64))
    assert tensors["decoder.conv_in.weight"].any()


def test_tensors_of_another_shape_are_never_allowed(state: State) -> None:
    state["first_stage_model.decoder.conv_in.bias"] = torch.zeros(7)
    with pytest.raises(ModelError, match=r"of another shape: .*conv_in.bias \(\(7,\) for \(64,\)"):
        found_in(state, allow=["*"])


def test_averages_are_chosen(naip: ldm.LatentDiffusion, state: State) -> None:
    net = smooth()
    state = naip.state(net)
    found = found_in(state)
    assert found.averages
    tensors = dict(found.accounts.tensors("denoiser", stored(state)))
    assert torch.equal(tensors["conv_in.weight"], net.input_blocks[0][0].weight)
    left_out = found.accounts.left_out
    assert len(left_out["weights whose running averages were taken"]) == len(net.state_dict())
    assert len(left_out["counters of averages"]) == 2


def test_averages_are_left_alone_on_demand(naip: ldm.LatentDiffusion) -> None:
    state = naip.state(smooth())
    found = found_in(state, averages=False)
    assert not found.averages
    tensors = dict(found.accounts.tensors("denoiser", stored(state)))
    assert torch.equal(tensors["conv_in.weight"], naip.unet.input_blocks[0][0].weight)
    assert "running averages that were not asked for" in found.accounts.left_out


def test_averages_of_some_weights_only_are_refused(naip: ldm.LatentDiffusion) -> None:
    state = naip.state(smooth())
    del state["model_ema.diffusion_modelout2weight"]
    with pytest.raises(ModelError, match=r"1 tensor missing: model_ema\.diffusion_modelout2weight"):
        found_in(state)


@pytest.mark.parametrize("bad", [torch.full((3,), torch.nan), torch.zeros(3, dtype=torch.int64)])
def test_weights_are_finite_numbers(state: State, bad: torch.Tensor) -> None:
    name = "model.diffusion_model.out.2.bias"
    state[name] = bad
    accounts = found_in(state).accounts
    with pytest.raises(ModelError, match=f"{name} holds what is no finite number"):
        dict(accounts.tensors("denoiser", stored(state)))


def test_numbers_that_half_precision_does_not_have(state: State) -> None:
    name = "model.diffusion_model.out.2.bias"
    state[name] = torch.tensor([1.0, -7e4, 0.0])
    accounts = found_in(state).accounts
    assert dict(accounts.tensors("denoiser", stored(state)))["conv_out.bias"][1] == -7e4
    with pytest.raises(ModelError, match=f"{name} has numbers up to 7e.04, too large for float16"):
        dict(accounts.tensors("denoiser", stored(state), torch.float16))


def test_names_that_only_begin_like_known_ones(state: State) -> None:
    state["logvar_network.weight"] = torch.zeros(3)
    with pytest.raises(ModelError, match=r"1 tensor unknown: logvar_network\.weight"):
        found_in(state)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"model.diffusion_model.attn2.to_k.weight": (2, 2)}, "1 tensor unknown"),
        ({f"model.diffusion_model.x.transformer_blocks.{i}.attn2.to_k.weight": (1, 1)
          for i in range(70)}, "transformers of 70 layers"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (1, 2**20 + 1, 1, 1)}, "has the shape"),
        ({"betas": (100_001,)}, "betas are 100001 numbers: no schedule"),
        ({"betas": (1, 1)}, "betas are 1 numbers: no schedule"),
    ],
)  # fmt: skip
def test_sizes_without_reason(
    state: State, extra: dict[str, tuple[int, ...]], message: str
) -> None:
    state |= {name: torch.zeros(shape) for name, shape in extra.items()}
    with pytest.raises(ModelError, match=message):
        found_in(state)


def test_a_table_of_another_length_is_not_even_read(state: State) -> None:
    state["alphas_cumprod"] = torch.zeros(7)
    placed = stored(state)
    object.__setattr__(placed["alphas_cumprod"], "place", None)  # reading it would fail
    with pytest.raises(ModelError, match="alphas_cumprod is not that of betas"):
        take_apart(placed, Project())


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("model.diffusion_model.", "input_blocks.0.0.weight is missing"),
        ("first_stage_model.", "quantize.embedding.weight is missing"),
        ("first_stage_model.quantize", "is not vector-quantised"),
        ("cond_stage_model.", "conditioner is of an unknown layout"),
    ],
)
def test_checkpoints_of_other_models(state: State, removed: str, message: str) -> None:
    kept = {name: value for name, value in state.items() if not name.startswith(removed)}
    with pytest.raises(ModelError, match=message):
        found_in(kept)


def test_a_network_without_cross_attention(state: State) -> None:
    kept = {name: value for name, value in state.items() if "transformer_blocks" not in name}
    with pytest.raises(ModelError, match="has no cross-attention"):
        found_in(kept)


def test_parts_that_do_not_fit_each_other(state: State) -> None:
    state["cond_stage_model.patch_fc.weight"] = torch.zeros(20, 12)
    with pytest.raises(ModelError, match="tokens of length 24, but the conditioner makes them 20"):
        found_in(state)
    state["cond_stage_model.patch_fc.weight"] = torch.zeros(24, 12)
    state["first_stage_model.quantize.embedding.weight"] = torch.zeros(50, 4)
    with pytest.raises(ModelError, match="takes 3 channels and gives 3, the codec has 4"):
        found_in(state)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"unet": {"model_channels": 192}}, "says model_channels 192, but the checkpoint says 32"),
        ({"unet": {"channel_mult": [1, 2, 3, 5]}}, "says channel_mult"),
        ({"unet": {"attention_resolutions": [8, 4, 2]}}, "says attention_resolutions"),
        ({"unet": {"attention_resolutions": "all"}}, "says attention_resolutions all"),
        ({"codec": {"n_embed": 8192}}, "says n_embed 8192, but the checkpoint says 50"),
        ({"codec": {"ddconfig": {"ch_mult": [1, 2, 4]}}}, "says ch_mult"),
        ({"conditioner": {"patch_embed_dim": 768}}, "says patch_embed_dim 768"),
        ({"model": {"linear_end": 0.02}}, "says linear_end 0.02, but the checkpoint says 0.0195"),
        ({"model": {"parameterization": "x0"}}, "says parameterization x0, but"),
        ({"model": {"scale_factor": "much"}}, "gives scale_factor as 'much': give a number"),
    ],
)
def test_the_configuration_of_another_checkpoint(
    state: State, tables: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        found_in(state, project=Project(**tables))


def test_the_configuration_of_this_checkpoint(state: State) -> None:
    unet = {
        "model_channels": 32, "channel_mult": [1, 1, 2], "attention_resolutions": [4, 2],
        "num_res_blocks": 2, "num_heads": 1, "transformer_depth": 1, "context_dim": 24,
    }  # fmt: skip
    codec = {"embed_dim": 3, "n_embed": 50, "ddconfig": {"ch": 32, "ch_mult": [1, 1, 2]}}
    project = Project(
        unet=unet, codec=codec, conditioner={"patch_embed_dim": 12, "normalize_ssl": True},
        model={"timesteps": 1000, "linear_start": 0.0015, "parameterization": "eps"},
    )  # fmt: skip
    assert found_in(state, project=project).conditioner.normalise == "l2"
    project = Project(conditioner={"normalize_ssl": False})
    assert found_in(state, project=project).conditioner.normalise == "none"
