"""Errors of a reconstruction, and the rolling of what judges see."""

import pytest
import torch

from geodiff.jobs.train_codec import shifted
from geodiff.jobs.training.reconstruction import mesh_distance


def image(seed: int, side: int = 128, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_a_pattern_in_every_latent_counts_in_full() -> None:
    real, pattern = image(0), image(1, 8, 1)
    made = real + pattern.repeat(2, 1, 16, 16)
    found = mesh_distance(made, real, 8)
    torch.testing.assert_close(found, pattern.abs().mean(), rtol=1e-4, atol=1e-6)


def test_chance_cancels_out_and_an_equal_image_has_none() -> None:
    real = image(2)
    grain = 2 * image(3)
    assert mesh_distance(real, real, 8) == 0
    # 64 errors are averaged, so an eighth of them is left; of a normal mean 0.8 in absolute value.
    found = float(mesh_distance(real + grain, real, 8))
    assert found == pytest.approx(0.8 * float(grain.std()) / 8, rel=0.05)


def test_squares_apart_do_not_cancel_and_a_rest_is_left_out() -> None:
    real = torch.zeros(1, 3, 128, 136)
    pattern = image(4, 8, 1).repeat(1, 1, 16, 8)
    made = torch.cat([pattern, -pattern, torch.full((1, 3, 128, 8), 9.0)], dim=-1)
    torch.testing.assert_close(mesh_distance(made, real, 8), pattern.abs().mean())


def test_a_small_image_is_one_square() -> None:
    real, pattern = torch.zeros(1, 3, 24, 40), image(5, 8, 1)
    found = mesh_distance(real + pattern.repeat(1, 1, 3, 5), real, 8)
    torch.testing.assert_close(found, pattern[..., :8, :8].abs().mean())


def test_judges_see_both_images_rolled_alike_and_every_place_in_a_latent() -> None:
    made, real = image(6, 16), image(7, 16)
    seen = set()
    for step in range(600):
        one, other = shifted(made, real, 8, step)
        places = [
            (rows, cols)
            for rows in range(8)
            for cols in range(8)
            if torch.equal(one, made.roll((rows, cols), (-2, -1)))
        ]
        assert len(places) == 1
        assert torch.equal(other, real.roll(places[0], (-2, -1)))
        seen.add(places[0])
    assert len(seen) == 64
    assert torch.equal(shifted(made, real, 8, 5)[0], shifted(made, real, 8, 5)[0])
