"""A denoiser of tokens: the middle of a window's field, noise levels as steps, constants folded."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from geodiff.diffusion.beta_table import BetaTable
from geodiff.errors import ModelError
from geodiff.models import token_denoiser
from geodiff.models.conditioner import Conditioner, ConditionerSizes, new_conditioner
from geodiff.models.constant_attention import Addend, fold_attention
from geodiff.models.token_denoiser import TokenDenoiser, UNetSizes, centres, new_unet
from tests.tiny_tokens import token_model

TABLE = BetaTable()


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random unit vectors (batch, dim, ...)."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values / values.norm(dim=1, keepdim=True)


def spread(vectors: torch.Tensor, size: int = 8) -> torch.Tensor:
    """One vector a window, everywhere in it."""
    return vectors[:, :, None, None].expand(-1, -1, size, size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return token_model(tmp_path_factory.mktemp("tokens") / "model")


@pytest.fixture(scope="module")
def denoiser(folder: Path) -> TokenDenoiser:
    return TokenDenoiser.load(folder / "denoiser", bf16=False)


def test_clean_is_what_the_predicted_noise_leaves(denoiser: TokenDenoiser, folder: Path) -> None:
    plain = token_denoiser.read_network(
        token_denoiser.UNet2DConditionModel, folder / "denoiser", "denoiser"
    )
    vectors, step = unit(2, 12), 640
    sigma = float(TABLE.sigmas[step])
    x = sigma * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    context = denoiser.conditioner.tokens(vectors[:, None])
    noise = plain(x / math.sqrt(1 + sigma**2), torch.tensor([step] * 2), context).sample
    made = denoiser.clean(x, sigma, spread(vectors), gsd=1.0)
    assert made.dtype == torch.float32
    assert noise.std() > 0.1
    assert ((x - made) / sigma - noise).abs().max() < 1e-5
    assert (made - denoiser.clean(x, sigma, None, gsd=1.0)).abs().max() > 1e-3


def test_facts(denoiser: TokenDenoiser) -> None:
    assert (denoiser.channels, denoiser.dim, denoiser.multiple) == (3, 12, 4)
    assert denoiser.sigma_max == pytest.approx(84, abs=1)
    assert denoiser.taught is None
    assert not denoiser.knows(1.5)
    assert denoiser.device == torch.device("cpu")
    with pytest.raises(ValueError, match="not taught guidance 2"):
        denoiser.clean(torch.zeros(1, 3, 8, 8), 1.0, None, 1.0, guidance=2.0)


def test_parameters_are_those_of_the_files(denoiser: TokenDenoiser, folder: Path) -> None:
    from safetensors import safe_open

    count = 0
    for name in ("denoiser/diffusion_pytorch_model", "conditioner/model"):
        with safe_open(folder / f"{name}.safetensors", "pt") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    assert denoiser.parameters == count


def test_the_middle_of_the_field_counts(denoiser: TokenDenoiser) -> None:
    x, field = torch.randn(1, 3, 8, 8), unit(1, 12, 8, 8, seed=3)
    other = unit(1, 12, 8, 8, seed=4)
    other[:, :, 3:5, 3:5] = field[:, :, 3:5, 3:5]
    made = denoiser.clean(x, 2.0, field, 1.0)
    assert torch.equal(made, denoiser.clean(x, 2.0, other, 1.0))
    middle = field[:, :, 3:5, 3:5].mean((2, 3))
    alone = denoiser.clean(x, 2.0, spread(middle / middle.norm()), 1.0)
    assert (made - alone).abs().max() < 1e-5


def test_centres_of_parts() -> None:
    rows, cols = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    field = torch.stack([rows, cols, torch.ones(8, 8)])[None]
    found = centres(field, 2)
    points = torch.tensor([[1.5, 1.5], [1.5, 5.5], [5.5, 1.5], [5.5, 5.5]])  # rows first
    expected = torch.cat([points, torch.ones(4, 1)], dim=1)
    torch.testing.assert_close(found[0], expected / expected.norm(dim=1, keepdim=True))
    assert centres(field[..., :7, :7], 1)[0, 0, :2].tolist() == pytest.approx([3 / 19**0.5] * 2)


def test_folding_changes_nothing() -> None:
    """The same network with and without its cross-attentions to one token."""
    torch.manual_seed(0)
    sizes = UNetSizes(3, 3, (32, 64, 64), 2, (False, True, True), 2, 24, heads=(1, 2, 2))
    net = new_unet(sizes).eval()
    x, times = torch.randn(2, 3, 8, 12), torch.tensor([3, 800])
    tokens = torch.randn(2, 1, 24)
    with torch.no_grad():
        expected = net(x, times, tokens).sample
        constants = fold_attention(net)
        made = net(x, times, constants(tokens)).sample
        moved = net(x, times, constants(tokens + 1)).sample
    assert sum(isinstance(module, Addend) for module in net.modules()) == 2 * 2 * (2 + 3) + 2
    assert expected.std() > 0.05
    assert (made - expected).abs().max() < 1e-6
    assert (moved - expected).abs().max() > 1e-4


def test_the_saving_of_folding_at_the_published_size() -> None:
    """Counted, without a number in memory: 3 % of the work and 7 % of the weights.

    The network of Graikos et al. 2024: 192 channels times 1, 2, 3, 5, windows of 64 latents.
    """
    with torch.device("meta"):
        levels = (192, 384, 576, 960), 2, (False, True, True, True)
        net = new_unet(UNetSizes(3, 3, *levels, depth=1, context=512))
        x, times = torch.empty(1, 3, 64, 64), torch.zeros(1)
        counts, weights = [], []
        token = torch.empty(1, 1, 512)
        for folded in (False, True):
            if folded:
                token = fold_attention(net)(token)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                net(x, times, token)
            counts.append(counter.get_total_flops())
            weights.append(sum(parameter.numel() for parameter in net.parameters()))
    assert weights[0] == 400_920_579
    assert 1 - counts[1] / counts[0] == pytest.approx(0.03, abs=0.001)
    assert 1 - weights[1] / weights[0] == pytest.approx(0.067, abs=0.001)


def test_constants_are_computed_once_a_window(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = TokenDenoiser.load(folder / "denoiser", bf16=False)
    assert denoiser.constants is not None
    calls = []
    denoiser.constants.register_forward_hook(lambda *_: calls.append(1))
    x, field = torch.randn(2, 3, 8, 8), spread(unit(2, 12))
    first = denoiser.clean(x, 3.0, field, 1.0)
    assert len(calls) == 2
    assert torch.equal(denoiser.clean(x, 3.0, field, 1.0), first)
    denoiser.clean(x, 1.0, field.flip(0), 1.0)  # other noise, the same windows elsewhere
    assert len(calls) == 2
    for _ in range(3):
        denoiser.clean(x, 1.0, None, 1.0)
    assert len(calls) == 3
    monkeypatch.setattr(token_denoiser, "KEPT", 2)
    denoiser.clean(x, 3.0, spread(unit(2, 12, seed=5)), 1.0)
    assert len(calls) == 5
    assert len(denoiser.contexts) == 2
    denoiser.clean(x, 3.0, field, 1.0)
    assert len(calls) == 7
    assert torch.equal(denoiser.clean(x, 3.0, field, 1.0), first)


def test_several_tokens_are_attended_to(tmp_path: Path) -> None:
    denoiser = TokenDenoiser.load(token_model(tmp_path / "m", region=5) / "denoiser", bf16=False)
    assert denoiser.constants is None
    x = torch.randn(1, 3, 8, 8)
    one, other = (denoiser.clean(x, 2.0, spread(unit(1, 12, seed=s)), 1.0) for s in (1, 2))
    assert (one - other).abs().max() > 1e-4
    assert denoiser.context(None, 3).shape == (3, 2, 24)


def test_bfloat16_keeps_tokens_and_constants_exact(folder: Path) -> None:
    exact = TokenDenoiser.load(folder / "denoiser", bf16=False)
    rough = TokenDenoiser.load(folder / "denoiser", bf16=True).to(torch.device("cpu"))
    x, field = torch.randn(1, 3, 8, 8), spread(unit(1, 12))
    assert torch.equal(exact.context(field, 1), rough.context(field, 1))
    a, b = exact.clean(x, 2.0, field, 1.0), rough.clean(x, 2.0, field, 1.0)
    assert 0 < (a - b).abs().max() < 0.1 * a.std()


def test_z_scores_ignore_the_length_of_a_vector() -> None:
    sizes = ConditionerSizes("patch", 12, 24, "zscore")
    conditioner = Conditioner(new_conditioner(sizes).requires_grad_(False), sizes)
    vectors = torch.randn(3, 1, 12)
    torch.testing.assert_close(conditioner.tokens(vectors), conditioner.tokens(7 * vectors))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("denoiser/schedule.json", {"prediction": "sample"}, "prediction is 'sample'"),
        ("denoiser/schedule.json", {"beta_schedule": "linear"}, "beta_schedule is 'linear'"),
        ("denoiser/schedule.json", {"beta_start": 2}, "needs steps above 1 .* and 0 < start"),
        ("denoiser/schedule.json", {"steps": 10**12}, "at most 100000"),
        ("denoiser/config.json", {"layers_per_block": 10**9}, "far larger network"),
        ("denoiser/config.json", {"cross_attention_dim": 10**11}, "far larger network"),
        ("conditioner/config.json", {"width": 10**11}, "far larger network"),
        ("conditioner/config.json", {"kind": "oracle"}, "unknown kind 'oracle'"),
        ("conditioner/config.json", {"normalise": "up"}, "unknown way 'up'"),
        ("conditioner/config.json", {"level": 1}, "knows no scales"),
        ("conditioner/config.json", {"dim": 13}, "size mismatch"),
        ("conditioner/config.json", {"colour": 1}, "unexpected keyword"),
    ],
)
def test_parts_that_misfit(
    folder: Path, tmp_path: Path, file: str, changes: dict[str, object], message: str
) -> None:
    copied = tmp_path / "model"
    shutil.copytree(folder, copied)
    path = copied / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=message) as caught:
        TokenDenoiser.load(copied / "denoiser")
    assert "\n" not in str(caught.value)


def test_tokens_of_another_length(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "model"
    shutil.copytree(folder, copied)
    shutil.rmtree(copied / "conditioner")
    token_model(tmp_path / "other", width=20)
    shutil.copytree(tmp_path / "other" / "conditioner", copied / "conditioner")
    with pytest.raises(ModelError, match="tokens of length 24, but the conditioner makes them 20"):
        TokenDenoiser.load(copied / "denoiser")


def test_a_copy_of_a_denoiser_is_one(denoiser: TokenDenoiser) -> None:
    x, field = torch.randn(1, 3, 8, 8), spread(unit(1, 12))
    copied = copy.deepcopy(denoiser)
    assert torch.equal(copied.clean(x, 2.0, field, 1.0), denoiser.clean(x, 2.0, field, 1.0))
