"""The diffusion prior is a pure function of seed, condition and position, chart by chart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geodiff.errors import ModelError, UsageError
from geodiff.models.diffusion_prior import CORE, DiffusionPrior
from geodiff.models.prior import AtlasPrior
from geodiff.models.prior_condition import Condition, Wish
from geodiff.models.prior_network import CellTransformer
from geodiff.models.priors import load_prior, read_facts
from geodiff.models.whitening import Whitening
from geodiff.window import Window

DIM, TEXT = 6, 10


def unit(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def shaken(net: CellTransformer) -> CellTransformer:
    """Weights that begin at zero made to count, as after training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def prior() -> DiffusionPrior:
    net = shaken(CellTransformer(DIM, 4, TEXT, 2, width=16, depth=2, heads=2))
    whitening = Whitening.fit(unit(200, DIM))
    return DiffusionPrior(net, whitening, ("field", "town"), "words", steps=3, halo=4, batch=8)


@pytest.mark.parametrize(
    "part", [Window(-5, 3, 7, 9), Window(0, 0, 1, 1), Window(-9, CORE - 1, 3, 2)]
)
def test_overlapping_windows_agree_to_the_bit(prior: DiffusionPrior, part: Window) -> None:
    whole = Window(-10, -2, 14, 22)
    condition = Condition.everywhere(unit(TEXT))
    rows, cols = part.within(whole)
    for asked in (None, condition):
        found = prior.sample(5, part, asked)
        assert np.array_equal(found, prior.sample(5, whole, asked)[rows, cols])


def test_cells_are_finite_unit_vectors(prior: DiffusionPrior) -> None:
    vectors = prior.sample(1, Window(-3, 2, 5, 6))
    assert vectors.shape == (5, 6, DIM)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)


def test_everything_that_is_asked_for_counts(prior: DiffusionPrior) -> None:
    cells = Window(0, 0, 4, 4)
    conditions = [
        None, Condition.everywhere(unit(TEXT)), Condition.everywhere(unit(TEXT, seed=1)),
        Condition.everywhere(unit(TEXT), guidance=1), Condition.everywhere(label="town"),
        Condition.everywhere(label="field"), Condition.everywhere(unit(TEXT), "town"),
    ]  # fmt: skip
    found = [prior.sample(0, cells, condition) for condition in conditions]
    found += [prior.sample(1, cells), prior.sample(0, cells, gsd=0.3)]
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            assert not np.allclose(one, other, atol=1e-4)


def test_no_wish_is_the_same_as_no_condition(prior: DiffusionPrior) -> None:
    nothing = Condition((Wish(),), lambda cells: np.full(cells.shape, -1, np.intp), guidance=1)
    cells = Window(2, 2, 4, 4)
    np.testing.assert_allclose(prior.sample(0, cells, nothing), prior.sample(0, cells), atol=1e-5)


def test_wishes_differ_from_cell_to_cell(prior: DiffusionPrior) -> None:
    """Far from a border between two wishes the cells are those of each wish alone."""
    wishes = Wish(unit(TEXT)), Wish(label="town")
    half = Condition(wishes, lambda w: (np.indices(w.shape)[1] + w.col >= 24).astype(np.intp))
    alone = [Condition((wish,)) for wish in wishes]
    for col, number in ((0, 0), (60, 1)):
        cells = Window(0, col, 3, 3)
        same = prior.sample(0, cells, half), prior.sample(0, cells, alone[number])
        assert np.array_equal(*same)
        assert not np.allclose(same[0], prior.sample(0, cells, alone[1 - number]), atol=1e-3)


@pytest.mark.parametrize(
    "answer", [np.zeros((1, 1), int), np.full((CORE + 8,) * 2, 2), np.full((CORE + 8,) * 2, -2)]
)
def test_a_misfit_of_wishes_is_refused(prior: DiffusionPrior, answer: NDArray[np.intp]) -> None:
    condition = Condition((Wish(), Wish()), lambda cells: answer)
    with pytest.raises(ValueError, match="numbers from -1 to 1"):
        prior.sample(0, Window(0, 0, 1, 1), condition)


def test_what_a_prior_does_not_understand_is_refused(prior: DiffusionPrior) -> None:
    with pytest.raises(UsageError, match="no label 'lake'; it knows field, town"):
        prior.check(Condition.everywhere(label="lake"))
    with pytest.raises(UsageError, match="has 3 numbers, the prior wants 10 of words"):
        prior.check(Condition.everywhere(unit(3)))
    with pytest.raises(UsageError, match="trained without texts"):
        replace(prior, text="").check(Condition.everywhere(unit(TEXT)))
    with pytest.raises(ValueError, match="at least one wish"):
        Condition(())


def test_whitening_is_undone() -> None:
    vectors = unit(500, DIM) * np.array([3, 1, 1, 1, 0.1, 1e-4], np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    whitening = Whitening.fit(vectors)
    white = whitening.there(vectors)
    np.testing.assert_allclose(whitening.back(white), vectors, atol=1e-5)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)
    deviations = white.std(0)
    assert float((deviations**2).mean()) == pytest.approx(1, abs=0.01)
    order = np.argsort(whitening.spread)
    assert (np.diff(deviations[order]) > -0.01).all()  # what varies more still does


def test_a_grid_without_wishes_begins_from_its_atlas(prior: DiffusionPrior, tmp_path: Path) -> None:
    atlas = AtlasPrior.fit(unit(20, 4, 4, DIM))
    near, far = (replace(prior, atlas=atlas, start=start, steps=8) for start in (0.01, 50.0))
    cells, whole = Window(-2, 3, 6, 5), Window(-6, 0, 20, 9)
    laid = atlas.sample(4, cells)
    assert float((near.sample(4, cells) * laid).sum(-1).mean()) > 0.99
    assert abs(float((far.sample(4, cells) * laid).sum(-1).mean())) < 0.5
    rows, cols = cells.within(whole)
    assert np.array_equal(near.sample(4, whole)[rows, cols], near.sample(4, cells))
    plain = replace(prior, steps=8)
    asked = Condition.everywhere(label="town")
    assert np.array_equal(near.sample(4, cells, asked), plain.sample(4, cells, asked))
    assert np.array_equal(near.sample(4, cells, gsd=1.2), plain.sample(4, cells, gsd=1.2))
    alone = replace(near, start=0.0)
    assert np.array_equal(alone.sample(4, cells), laid)
    assert np.array_equal(alone.sample(4, cells, asked), plain.sample(4, cells, asked))
    assert np.array_equal(alone.sample(4, cells, gsd=1.2), plain.sample(4, cells, gsd=1.2))
    near.save(tmp_path)
    loaded = load_prior(tmp_path)
    assert float((loaded.sample(4, cells) * laid).sum(-1).mean()) > 0.99
    shutil.rmtree(tmp_path / "atlas")
    AtlasPrior.fit(unit(20, 4, 4, DIM + 1)).save(tmp_path / "atlas")
    with pytest.raises(ModelError, match="an atlas of 7 features does not fit 6"):
        load_prior(tmp_path)


def test_groups_do_not_see_each_other() -> None:
    net = shaken(CellTransformer(DIM, 4, TEXT, 2, width=16, depth=2, heads=2))
    x = torch.from_numpy(unit(1, DIM, 4, 4))
    group = torch.arange(4).reshape(2, 2).repeat_interleave(2, 0).repeat_interleave(2, 1)[None]
    other = x.clone()
    other[..., 2:, 2:] += 1
    time, gsd = torch.tensor([0.5]), torch.tensor([0.6])
    apart = [net(image, time, gsd, group=group) for image in (x, other)]
    together = [net(image, time, gsd) for image in (x, other)]
    torch.testing.assert_close(apart[0][..., :2, :2], apart[1][..., :2, :2])
    assert not torch.allclose(together[0][..., :2, :2], together[1][..., :2, :2], atol=1e-4)


def test_saving_keeps_what_is_sampled(prior: DiffusionPrior, tmp_path: Path) -> None:
    prior.save(tmp_path)
    loaded = load_prior(tmp_path)
    assert isinstance(loaded, DiffusionPrior)
    assert (loaded.labels, loaded.text, loaded.dim) == (prior.labels, "words", DIM)
    assert (loaded.steps, loaded.halo, loaded.interval) == (3, 4, prior.interval)
    assert read_facts(tmp_path)["text"] == "words"
    assert "text_mark" not in read_facts(tmp_path)
    replace(prior, text_mark=(0.25, -0.5)).save(tmp_path / "marked")
    assert load_prior(tmp_path / "marked").text_mark == (0.25, -0.5)
    cells, condition = Window(3, 3, 4, 4), Condition.everywhere(unit(TEXT), "town")
    np.testing.assert_allclose(
        loaded.sample(0, cells, condition), prior.sample(0, cells, condition), atol=0.02
    )


@pytest.mark.parametrize(
    "broken", ["prior.json", "whitening.safetensors", "diffusion_pytorch_model.safetensors"]
)
@pytest.mark.parametrize("how", ["gone", "truncated"])
def test_damaged_parts_are_one_line(
    prior: DiffusionPrior, tmp_path: Path, broken: str, how: str
) -> None:
    prior.save(tmp_path)
    content = (tmp_path / broken).read_bytes()
    (tmp_path / broken).unlink()
    if how == "truncated":
        (tmp_path / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"^the prior in .* cannot be loaded: .+$") as caught:
        load_prior(tmp_path)
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_fit_the_network_are_refused(
    prior: DiffusionPrior, tmp_path: Path
) -> None:
    prior.save(tmp_path)
    facts = json.loads((tmp_path / "prior.json").read_text())
    (tmp_path / "prior.json").write_text(json.dumps(facts | {"labels": ["field"]}))
    with pytest.raises(ModelError, match="1 labels and vectors of 6 do not fit"):
        load_prior(tmp_path)


def test_an_atlas_understands_no_condition(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "prior", tmp_path / "prior")
    atlas = load_prior(tmp_path / "prior")
    assert atlas.text == ""
    with pytest.raises(UsageError, match="understands neither words nor labels"):
        atlas.sample(0, Window(0, 0, 1, 1), Condition.everywhere(label="town"))
