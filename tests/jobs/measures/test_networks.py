"""FID, CLIP FID and DINOv2 from files of the networks' real layouts, whose weights are random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from geodiff.jobs.evaluate import EvaluateRequest, evaluate
from geodiff.models import spaces
from geodiff.models.torchvision_shim import ensure_torchvision
from geodiff.steps import drain

Reference = Callable[[np.ndarray], np.ndarray]
"""uint8 (n, 3, row, col) -> features (n, feature), by other means than the project's."""

DEPRECATED = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def timm_transform(name: str) -> Callable[[np.ndarray], Tensor]:
    """timm's own preparation for the network, of the whole image: no middle is cut out."""
    ensure_torchvision()
    import timm

    config = timm.models.get_pretrained_cfg(spaces.HUBS[name].network)
    transform = timm.data.create_transform(
        (3, 224, 224), interpolation=config.interpolation, mean=config.mean, std=config.std,
        crop_pct=1.0,
    )  # fmt: skip
    return lambda images: torch.stack(
        [transform(Image.fromarray(np.moveaxis(image, 0, -1))) for image in images]
    )


def of_timm(net: nn.Module, name: str) -> Reference:
    prepared = timm_transform(name)

    def features(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(prepared(images)).double().numpy()

    return features


def clip(path: Path) -> Reference:
    """A file as the hub's: model.safetensors of the image half of CLIP, 512 features."""
    ensure_torchvision()
    import timm

    net = timm.create_model("vit_base_patch32_clip_quickgelu_224", num_classes=512).eval()
    save_file(net.state_dict(), path)
    return of_timm(net, "clip")


def dinov2(path: Path) -> Reference:
    """A file as the hub's, of a network for 518 px, whose positions are resized to 224 px."""
    ensure_torchvision()
    import timm

    net = timm.create_model("vit_small_patch14_dinov2").eval()
    for block in net.blocks:  # a fresh network hardly looks at its patches
        nn.init.ones_(block.ls1.gamma)
        nn.init.ones_(block.ls2.gamma)
    save_file(net.state_dict(), path)
    small = timm.create_model("vit_small_patch14_dinov2", img_size=224).eval()
    state = net.state_dict()
    first, rest = state["pos_embed"][:, :1], state["pos_embed"][:, 1:]
    grid = rest.reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, (16, 16), mode="bicubic", antialias=True)
    state["pos_embed"] = torch.cat([first, grid.flatten(2).transpose(1, 2)], 1)
    small.load_state_dict(state)
    return of_timm(small, "dinov2")


class Standard(nn.Module):
    """Speaks like the TorchScript file of FID: bytes in, resized inside, 2048 features out."""

    def __init__(self, net: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        sized = functional.interpolate(
            images.float(), [299, 299], mode="bilinear", align_corners=False
        )
        features: Tensor = self.net((sized - 128.0) / 128.0)
        return features if return_features else features[:, :1]


def inception(path: Path) -> Reference:
    """A TorchScript module around torchvision's Inception v3."""
    ensure_torchvision()
    import torchvision

    net = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False)
    net.fc = nn.Identity()
    for module in net.eval().requires_grad_(False).modules():
        if isinstance(module, nn.Conv2d):  # activations must not fade away
            nn.init.kaiming_normal_(module.weight)
    traced = torch.jit.trace(net, torch.zeros(1, 3, 299, 299), check_trace=False)
    torch.jit.script(Standard(traced)).save(path)

    def features(images: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(images).float()
        sized = functional.interpolate(pixels, (299, 299), mode="bilinear", align_corners=False)
        return net((sized - 128) / 128).double().numpy()

    return features


NETWORKS = {"clip": clip, "dinov2": dinov2, "inception": inception}


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Heusel et al. 2017, equation 6, by the root of one covariance (scipy)."""
    first, second = np.cov(one.T), np.cov(other.T)
    values, vectors = scipy.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    inner = scipy.linalg.eigvalsh(root @ second @ root)
    gap = one.mean(0) - other.mean(0)
    common = np.sqrt(np.maximum(inner, 0)).sum()
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * common)


@DEPRECATED
@pytest.mark.parametrize("name", NETWORKS)
def test_figures_are_those_of_the_networks_own_preparation_and_of_scipy(
    folder: Path, dataset: Path, tmp_path: Path, name: str
) -> None:
    torch.manual_seed(0)
    path = tmp_path / ("model.safetensors" if name in spaces.HUBS else "network.pt")
    reference = NETWORKS[name](path)
    request = EvaluateRequest(
        (str(dataset),), (), str(folder), limit=3, megapixels=0, steps=1, device="cpu",
        features=(name,), weights=((name, str(path)),),
    )  # fmt: skip
    outcome = drain(evaluate(request))
    (part,) = outcome.ours.parts
    own, found = part.row.patch
    assert (own.space, found.space, found.samples, found.few) == ("encoder", name, 3, True)
    assert found.title == f"Fréchet ({name}, {path.name})"
    real, made = reference(part.trial.real), reference(part.trial.made)
    if name == "inception":  # scipy takes long for 2048 features
        for features, expected in zip(part.features[1][:2], (real, made), strict=True):
            np.testing.assert_allclose(np.concatenate(features), expected, rtol=1e-3, atol=1e-4)
        return
    # timm rounds resized pixels to bytes, the project does not.
    assert found.frechet == pytest.approx(frechet(made, real), rel=0.05)
    assert found.frechet_floor is not None
    centre = real.mean(0)
    cosines = [
        float((a - centre) @ (b - centre) / np.linalg.norm(a - centre) / np.linalg.norm(b - centre))
        for a, b in zip(real, made, strict=True)
    ]
    assert found.similarity == pytest.approx(np.mean(cosines), abs=0.02)


@pytest.mark.parametrize("side", [64, 224, 300])
@pytest.mark.parametrize("name", spaces.HUBS)
def test_pixels_reach_a_network_as_timm_prepares_them(name: str, side: int) -> None:
    ensure_torchvision()
    import timm

    config = timm.models.get_pretrained_cfg(spaces.HUBS[name].network)
    net = timm.create_model("test_vit", img_size=224).eval()
    net.pretrained_cfg = {"mean": config.mean, "std": config.std}
    seen: list[Tensor] = []
    net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    # Grey enough that nothing overshoots: timm cuts at black and white between its two passes.
    images = np.random.default_rng(0).integers(96, 160, (2, 3, side, side), dtype=np.uint8)
    spaces.TimmSpace(net, name, "").features(images)
    level = 1 / 255 / min(config.std)
    assert float((seen[0] - timm_transform(name)(images)).abs().max()) < 1.1 * level
