"""A folder of diffusers without anything of geodiff's is a model of one token a window."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from geodiff.errors import ModelError
from geodiff.models.bundle import Model
from geodiff.models.kl_codec import KLCodec
from geodiff.models.vq_codec import CodecSizes, VQCodec, new_vq
from tests.tiny_tokens import write

SCHEDULER = {
    "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "epsilon",
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline: factor 4, windows of 8 latents, tokens of 12."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("plain") / "others"
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 32), latent_channels=4, scaling_factor=0.5,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), cross_attention_dim=12, attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    write(vae, folder / "vae")
    write(unet, folder / "unet")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Theirs"}))
    return folder


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_its_tables_tell_the_sizes(plain: Path) -> None:
    model = Model.load(plain, "cpu", "fp32")
    assert (model.name, model.window, model.cell, model.dim) == ("others", 8, 32, 12)
    assert (model.codec.factor, model.codec.channels, model.codec.halo) == (4, 4, None)
    assert model.denoiser.sigma_max == pytest.approx(14.6, abs=0.1)
    assert model.encoder_part is model.prior_part is None
    assert model.facts()["licence"].startswith("unknown")


def test_it_predicts_and_decodes_as_diffusers_does(plain: Path) -> None:
    model = Model.load(plain, "cpu", "fp32")
    unet = UNet2DConditionModel.from_pretrained(plain / "unet", low_cpu_mem_usage=False).eval()
    vae = AutoencoderKL.from_pretrained(plain / "vae", low_cpu_mem_usage=False).eval()
    x, vector = random(1, 4, 8, 8), torch.nn.functional.normalize(random(1, 12), dim=1)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    kept = (1 - betas).cumprod(0)[400]
    sigma = float(((1 - kept) / kept).sqrt())
    with torch.no_grad():
        noise = unet(x * kept.sqrt().float(), 400, vector[:, None]).sample
        image = vae.decode(x / 0.5).sample
    field = vector[:, :, None, None].expand(1, 12, 8, 8)
    assert (model.denoiser.clean(x, sigma, field, 1.0) - (x - sigma * noise)).abs().max() < 1e-4
    assert (model.codec.render(x) - (image + 1) * 127.5).abs().max() < 1e-3


def test_pixels_come_back_scaled(plain: Path) -> None:
    codec = Model.load(plain, "cpu", "fp32").codec
    assert isinstance(codec, KLCodec)
    pixels = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        wanted = codec.net.encode(pixels / 127.5 - 1).latent_dist.mode() * 0.5
    assert torch.allclose(codec.encode(pixels), wanted, atol=1e-5)
    with pytest.raises(ValueError, match="do not divide by the factor 4"):
        codec.encode(pixels[..., :30])


def test_its_hash_knows_the_schedule(plain: Path, copy: Path) -> None:
    assert Model.load(copy, "cpu").hash == Model.load(plain, "cpu").hash
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(SCHEDULER | {"beta_end": 0.011}))
    assert Model.load(copy, "cpu").hash != Model.load(plain, "cpu").hash


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("unet", {"sample_size": None}, "tells no sample_size"),
        ("unet", {"_class_name": "Transformer2DModel"}, "describes no UNet2DConditionModel"),
        ("vae", {"_class_name": "AutoencoderOobleck"}, "is a AutoencoderOobleck, which this ver"),
        ("vae", {"latent_channels": "many"}, "the codec in .* cannot be loaded"),
        ("scheduler", {"prediction_type": "v_prediction"}, "only 'epsilon' is known"),
        ("scheduler", {"beta_end": 7}, "the scheduler in .* cannot be loaded"),
        ("scheduler", {"beta_schedule": "linear"}, "is 'linear', only 'scaled_linear' is known"),
        ("scheduler", {"trained_betas": [0.1, 0.2]}, "trained_betas is .*, only None is known"),
        ("scheduler", {"rescale_betas_zero_snr": True}, "is True, only False is known"),
        ("vae", {"scaling_factor": 0}, "scaling_factor is 0"),
        ("vae", {"latents_mean": [0.0, 1.0]}, "has 4 latent channels, but 2 means"),
        ("unet", {"sample_size": [8, 8]}, "tells no sample_size"),
        ("unet", {"sample_size": 0}, "tells no sample_size"),
        ("unet", {"time_cond_proj_dim": 6}, "the denoiser in .* cannot be loaded"),
    ],
)
def test_what_is_not_known_is_refused(
    copy: Path, file: str, change: dict[str, object], message: str
) -> None:
    name = "scheduler_config.json" if file == "scheduler" else "config.json"
    path = copy / file / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=message) as caught:
        Model.load(copy, "cpu")
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named_as_it_is_called_there(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    with pytest.raises(ModelError, match=r"not complete; missing: vae$"):
        Model.load(copy, "cpu")


@pytest.mark.parametrize(
    ("missing", "told"), [("beta_start", "beta_start"), ("beta_schedule", "linear")]
)
def test_a_scheduler_that_does_not_tell(copy: Path, missing: str, told: str) -> None:
    path = copy / "scheduler" / "scheduler_config.json"
    kept = {name: value for name, value in SCHEDULER.items() if name != missing}
    path.write_text(json.dumps(kept))
    with pytest.raises(ModelError, match=f"the scheduler in .* cannot be loaded: .*{told}"):
        Model.load(copy, "cpu")


def test_a_network_that_wants_more_than_tokens(copy: Path) -> None:
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), cross_attention_dim=12, attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), num_class_embeds=5,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), out_channels=8,
    )  # fmt: skip
    write(unet, copy / "unet")
    told = "it asks for num_class_embeds 5, 4 channels for 8 that it gives"
    with pytest.raises(ModelError, match=told):
        Model.load(copy, "cpu")


@pytest.mark.parametrize(
    ("table", "mean", "std"),
    [
        ({"scaling_factor": 0.5}, 0.0, 2.0),
        ({"scaling_factor": None}, 0.0, 1 / 0.18215),  # what diffusers takes then
        ({"scaling_factor": 2.0, "shift_factor": 0.25}, 0.25, 0.5),
        ({"scaling_factor": 2.0, "latents_mean": [3] * 4, "latents_std": [5] * 4}, 3.0, 2.5),
    ],
)
def test_the_factor_of_latents(
    copy: Path, table: dict[str, object], mean: float, std: float
) -> None:
    path = copy / "vae" / "config.json"
    facts = {k: v for k, v in (json.loads(path.read_text()) | table).items() if v is not None}
    path.write_text(json.dumps(facts))
    codec = Model.load(copy, "cpu").codec
    assert isinstance(codec, KLCodec)
    assert codec.mean.tolist() == [mean] * 4
    assert codec.std.tolist() == pytest.approx([std] * 4)


def test_an_autoencoder_with_a_book_under_its_other_name(copy: Path) -> None:
    """As the pipelines of latent diffusion have it, with a card and files that are not read."""
    shutil.rmtree(copy / "vae")
    sizes = CodecSizes((32, 32, 32), 1, (False, False, False), 3, 40, 4, scale=0.25)
    write(new_vq(sizes), copy / "vqvae")
    (copy / "README.md").write_text("# Theirs")
    (copy / "vqvae" / "README.md").write_text("# A book")
    model = Model.load(copy, "cpu", "fp32")
    assert isinstance(model.codec, VQCodec)
    assert (model.codec.channels, model.codec.std.tolist()) == (4, [4.0] * 4)
    before = model.hash
    (copy / "vqvae").rename(copy / "vae")
    assert Model.load(copy, "cpu", "fp32").hash == before


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("vae", r"missing: model\.toml, .* \(it is one network of diffusers; a model is a folder"),
        ("", r"missing: model\.toml, .* \(in a folder of diffusers: model_index\.json\)"),
        ("vae/config.json", "is a file; `geodiff import` turns a checkpoint into a model"),
    ],
)
def test_what_is_no_whole_model(copy: Path, part: str, told: str) -> None:
    (copy / "model_index.json").unlink()
    with pytest.raises(ModelError, match=told) as caught:
        Model.load(copy / part, "cpu")
    assert "\n" not in str(caught.value)
