"""A checkpoint becomes a model directory as a whole, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from geodiff.errors import DataError, GeodiffError, ModelError, OutputError, UsageError
from geodiff.jobs.import_checkpoint import Imported, ImportRequest, import_checkpoint, steps
from geodiff.models.bundle import Model
from tests.models.foreign import ldm


@pytest.fixture(scope="module")
def source() -> ldm.LatentDiffusion:
    unet = ldm.UNet(mult=(1, 1), blocks=1, attended=(2,))
    return ldm.LatentDiffusion(ldm.Patch(), unet)


@pytest.fixture(scope="module")
def checkpoint(source: ldm.LatentDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "last.ckpt"
    torch.save({"state_dict": source.state(), "optimizer_states": [torch.zeros(9)]}, path)
    return path


@pytest.fixture
def request_(checkpoint: Path, tmp_path: Path) -> ImportRequest:
    return ImportRequest(str(checkpoint), str(tmp_path / "model"), kind="naip")


def test_a_model_that_loads_and_agrees(
    request_: ImportRequest, source: ldm.LatentDiffusion
) -> None:
    made = import_checkpoint(request_)
    model = Model.load(request_.out, device="cpu", precision="fp32")
    assert (model.name, model.window, model.cell, model.guidance) == ("naip", 64, 256, 4.0)
    assert (model.gsd, model.gsd_range, model.denoiser.dim) == (1.0, (1.0, 1.0), 12)
    assert "arXiv:2312.07330" in model.credit
    torch.manual_seed(1)
    latents = torch.randn(1, 3, 8, 8)
    pixels = (source.codec.decode(latents) + 1) * 127.5
    assert (model.codec.render(latents) / 127.5 - pixels / 127.5).abs().max() < 1e-5
    step, vectors = 500, torch.nn.functional.normalize(torch.randn(2, 12), dim=1)
    sigma = float(ldm.schedule()["sqrt_recipm1_alphas_cumprod"][step])
    noisy = torch.randn(2, 3, 8, 8)
    noise = source.unet(noisy, torch.tensor([step] * 2), source.conditioner(vectors))
    x = noisy * (1 + sigma**2) ** 0.5
    field = vectors[:, :, None, None].expand(-1, -1, 8, 8)
    clean = model.denoiser.clean(x, sigma, field, gsd=1.0)
    assert ((x - clean) / sigma - noise).abs().max() < 1e-5
    weights = sum(parameter.numel() for parameter in source.unet.parameters())
    assert made.weights["denoiser"] == weights
    assert made.left_out == {"the noise schedule": 12, "beside the weights: optimizer_states": 1}


def test_the_source_is_written_down(request_: ImportRequest, checkpoint: Path) -> None:
    made = import_checkpoint(request_)
    facts = json.loads((Path(request_.out) / "import.json").read_text())
    assert facts["file"] == "last.ckpt"
    assert facts["sha256"] == sha256(checkpoint.read_bytes()).hexdigest()
    assert facts["left_out"] == made.left_out
    assert [path.name for path in Path(request_.out).parent.iterdir()] == ["model"]


def test_what_no_file_tells_can_be_said(request_: ImportRequest) -> None:
    said = replace(request_, name='a "b"', gsd=0.6, guidance=2.5, licence="MIT")
    import_checkpoint(said)
    model = Model.load(request_.out, device="cpu")
    assert (model.name, model.gsd, model.guidance, model.licence) == ('a "b"', 0.6, 2.5, "MIT")


def test_the_factor_of_latents(
    request_: ImportRequest, source: ldm.LatentDiffusion, tmp_path: Path
) -> None:
    path = tmp_path / "scaled.safetensors"
    state = source.state() | {"scale_factor": torch.tensor(0.25)}
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    import_checkpoint(replace(request_, checkpoint=str(path)))
    model = Model.load(request_.out, device="cpu", precision="fp32")
    raw = torch.randn(1, 3, 8, 8)
    expected = (source.codec.decode(raw) + 1) * 127.5
    assert (model.codec.render(0.25 * raw) - expected).abs().max() < 1e-2


def test_averages_are_taken_unless_not_wanted(
    request_: ImportRequest, source: ldm.LatentDiffusion, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    smooth = ldm.UNet(mult=(1, 1), blocks=1, attended=(2,))
    torch.save(source.state(smooth), tmp_path / "ema.ckpt")
    averaged = replace(request_, checkpoint=str(tmp_path / "ema.ckpt"), overwrite=True)
    for ema, net in ((True, smooth), (False, source.unet)):
        assert import_checkpoint(replace(averaged, ema=ema)).averages == ema
        held = Model.load(request_.out, device="cpu", precision="fp32").denoiser
        assert torch.equal(held.net.conv_in.weight, net.input_blocks[0][0].weight)


def test_scales_of_zoomldm(tmp_path: Path) -> None:
    unet = ldm.UNet(mult=(1, 1), blocks=1, attended=(2,))
    zoom = ldm.LatentDiffusion(ldm.Summarizer(levels=4), unet)
    torch.save(zoom.state(), tmp_path / "weights.ckpt")
    request = ImportRequest(str(tmp_path / "weights.ckpt"), str(tmp_path / "model"), level=2)
    assert import_checkpoint(request).kind == "zoomldm-naip"
    model = Model.load(request.out, device="cpu", precision="fp32")
    assert (model.cell, model.gsd) == (64, 4.0)  # a window of 256 px sees 4 x 4 embeddings
    torch.manual_seed(1)
    field = torch.randn(1, 12, 16, 16)
    field[:] = field[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
    field = torch.nn.functional.normalize(field, dim=1)
    noisy, sigma = torch.randn(1, 3, 16, 16), float(model.denoiser.table.sigmas[300])
    tokens = zoom.conditioner(field[:, :, ::4, ::4], 2)
    noise = zoom.unet(noisy, torch.tensor([300]), tokens)
    x = noisy * (1 + sigma**2) ** 0.5
    clean = model.denoiser.clean(x, sigma, field, gsd=4.0)
    assert ((x - clean) / sigma - noise).abs().max() < 1e-5


def test_half_precision_halves_the_files(request_: ImportRequest) -> None:
    def megabytes() -> float:
        files = Path(request_.out).rglob("*.safetensors")
        return sum(path.stat().st_size for path in files) / 1e6

    import_checkpoint(request_)
    whole = megabytes()
    import_checkpoint(replace(request_, half=True, overwrite=True))
    assert megabytes() < 0.55 * whole


def test_steps_tell_how_far_it_is(request_: ImportRequest) -> None:
    job, seen = steps(request_), []
    while True:
        try:
            seen.append(next(job))
        except StopIteration as end:
            made = end.value
            break
    assert isinstance(made, Imported)
    assert list(dict.fromkeys(step.stage for step in seen)) == ["check", "write", "load"]
    assert all(0 <= step.done <= step.total for step in seen)


def test_a_model_is_replaced_only_on_demand(request_: ImportRequest) -> None:
    import_checkpoint(request_)
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        import_checkpoint(request_)
    assert import_checkpoint(replace(request_, overwrite=True, name="b")).name == "b"


def test_nothing_else_is_ever_replaced(request_: ImportRequest, tmp_path: Path) -> None:
    kept = tmp_path / "thesis"
    kept.mkdir()
    (kept / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is no model directory"):
        import_checkpoint(replace(request_, out=str(kept), overwrite=True))
    link = tmp_path / "link"
    link.symlink_to(kept)
    with pytest.raises(OutputError, match="is a link: give another name"):
        import_checkpoint(replace(request_, out=str(link), overwrite=True))
    assert (kept / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"checkpoint": "/none.ckpt"}, DataError, "the checkpoint /none.ckpt does not exist"),
        ({"config": "/none.yaml"}, DataError, "the configuration /none.yaml does not exist"),
        ({"kind": None}, UsageError, "say which by --kind"),
        ({"kind": "brca-20x"}, UsageError, "not of kind brca-20x"),
        ({"level": 1}, UsageError, "this one knows none"),
        ({"largest": 1e-6}, DataError, "over the limit"),
        ({"largest": float("nan")}, UsageError, "--largest nan must be GB above 0"),
        ({"gsd": float("nan")}, UsageError, "--gsd nan must be metres above 0"),
        ({"guidance": -1.0}, UsageError, "must be between 0 and 20"),
        ({"out": ".."}, OutputError, "has no name of its own"),
    ],
)
def test_failing_leaves_nothing(
    request_: ImportRequest, changes: dict[str, Any], error: type[GeodiffError], message: str
) -> None:
    with pytest.raises(error, match=message):
        import_checkpoint(replace(request_, **changes))
    assert list(Path(request_.out).parent.iterdir()) == []


def test_failing_while_weights_are_read_leaves_the_old_model(
    request_: ImportRequest, source: ldm.LatentDiffusion, tmp_path: Path
) -> None:
    import_checkpoint(request_)
    state = source.state() | {"model.diffusion_model.out.2.bias": torch.full((3,), torch.inf)}
    torch.save(state, tmp_path / "bad.ckpt")
    before = (Path(request_.out) / "import.json").read_bytes()
    with pytest.raises(ModelError, match="holds what is no finite number"):
        import_checkpoint(replace(request_, checkpoint=str(tmp_path / "bad.ckpt"), overwrite=True))
    assert (Path(request_.out) / "import.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"model", "bad.ckpt"}
