"""Distances of image sets: what each figure must be for sets that are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from geodiff.errors import UsageError
from geodiff.jobs.measures import metrics
from geodiff.jobs.measures.distances import EncoderSpace, distances, features_of, open_space
from geodiff.models.bundle import Model


@dataclass(frozen=True)
class Toy:
    """A space whose features are made up."""

    name: str = "toy"
    title: str = "Fréchet (toy)"

    def features(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), 1, -1).astype(np.float64)


def gaussian(seed: int, images: int = 40, samples: int = 4, shift: float = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((samples, 5)) + shift for _ in range(images)]


def test_a_set_against_itself_and_against_a_shifted_one() -> None:
    real = gaussian(0)
    same = distances(Toy(), real, real, gaussian(1))
    assert same.frechet == pytest.approx(0, abs=1e-9)
    assert same.similarity == pytest.approx(1)
    assert abs(same.shuffled) < 0.05
    assert (same.images, same.samples, same.few) == (40, 160, False)
    # A half against the other half is what real against real is, not 0.
    assert same.frechet_halves == same.floor_halves > 0
    far = distances(Toy(), real, [part + 2 for part in real], gaussian(1))
    assert far.frechet == pytest.approx(20)
    assert far.frechet_floor == same.frechet_floor
    assert far.kernel > same.kernel_floor
    assert same.halves != far.halves


def test_figures_are_those_of_the_metrics() -> None:
    real, made, other = gaussian(0), gaussian(1, shift=0.5), gaussian(2)
    figures = distances(Toy(), real, made, other)
    a, b, c = (np.concatenate(part) for part in (real, made, other))
    assert figures.frechet == metrics.frechet(b, a)
    assert figures.frechet_floor == metrics.frechet(c, a)
    assert (figures.kernel, figures.kernel_spread) == metrics.kernel_distance(b, a)
    assert figures.similarity_error == pytest.approx(np.std(figures.each) / 40**0.5)
    assert "each" not in figures.as_dict()


def test_few_images_leave_out_what_they_cannot_tell() -> None:
    figures = distances(Toy(), gaussian(0, 2, 1), gaussian(1, 2, 1))
    assert figures.few
    assert figures.frechet > 0
    assert figures.frechet_halves is figures.frechet_floor is figures.kernel is None


def test_the_encoders_space_has_a_unit_vector_a_cell(model: Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 48), dtype=np.uint8)
    parts = features_of(EncoderSpace(model.encoder), images)
    assert [part.shape for part in parts] == [(6, 8)] * 3
    np.testing.assert_allclose(np.linalg.norm(parts[0], axis=1), 1, rtol=1e-5)


def test_unknown_spaces_and_useless_weights_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="choose encoder"):
        open_space("vgg", model, None)
    with pytest.raises(UsageError, match="weights of their own"):
        open_space("encoder", model, "file.pt")
