"""Cells of a canvas are steered each by itself: where they lie, and with whom, is no matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from torch import Tensor

from geodiff.diffusion import canvas as memory
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid
from geodiff.jobs.imagine import imagine
from geodiff.jobs.measures.trials import repaint
from geodiff.jobs.mosaic import steering
from geodiff.jobs.mosaic.charts import Chart, charts
from geodiff.jobs.mosaic.guides import PriorGuide
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.jobs.mosaic.painting import Painter
from geodiff.jobs.mosaic.sampling import conditions, denoise
from geodiff.jobs.mosaic.steering import Asked, Steering, WindowSteering, put_back, taken
from geodiff.jobs.request import MODES, SynthesizeRequest
from geodiff.jobs.synthesize import plan, synthesize
from geodiff.models.bundle import Model
from geodiff.models.probe import Probe
from geodiff.window import Window
from tests.jobs.mosaic.test_world import common, paint
from tests.jobs.rasters import UTM
from tests.jobs.toys import grid_of, toyed
from tests.tiny import probed_model

SIDE, FACTOR = 2, 8  # latents a cell, pixels a latent
CANVAS = Window(-3, 5, 14, 13)  # latents: begins inside of a cell above and at the left
CELLS = Window(-1, 3, 6, 6)  # those that lie wholly in it
GRID = grid_of(14 * FACTOR, 13 * FACTOR, -3 * FACTOR, 5 * FACTOR)


@pytest.fixture(scope="module")
def probed_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the tiny model with a probe."""
    return probed_model(folder, tmp_path_factory.mktemp("probed") / "tiny")


@pytest.fixture(scope="module")
def probed(probed_folder: Path) -> Model:
    """The tiny model with a probe, in single precision."""
    return Model.load(probed_folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def probe(probed: Model) -> Probe:
    assert probed.probe is not None
    return probed.probe


@pytest.fixture(scope="module")
def embeddings(probed: Model) -> EmbeddingGrid:
    """Of all cells under the canvas."""
    return imagine(probed, GRID)


@pytest.fixture(scope="module")
def asked(embeddings: EmbeddingGrid) -> Asked:
    made = Asked.of(embeddings, GRID, CANVAS, SIDE, FACTOR)
    assert made is not None
    return made


def latents(canvas: Window = CANVAS) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 4, *canvas.shape, generator=generator)


# Cells


@pytest.mark.parametrize(("side", "rows", "cols"), [(1, 2, 3), (2, 4, 1), (3, 2, 5)])
def test_cells_are_taken_by_rows_and_put_back(side: int, rows: int, cols: int) -> None:
    block = torch.randn(4, rows * side, cols * side)
    cells = taken(block, side)
    for k, cell in enumerate(cells):
        row, col = k // cols * side, k % cols * side
        assert torch.equal(cell, block[:, row : row + side, col : col + side])
    assert len(cells) == rows * cols
    assert torch.equal(put_back(cells, rows, cols), block)
    assert torch.equal(taken(put_back(cells, rows, cols), side), cells)


def test_whole_cells_are_asked_for_what_is_theirs(asked: Asked, embeddings: EmbeddingGrid) -> None:
    assert asked.cells == CELLS
    wanted = embeddings.values[CELLS.within(embeddings.grid.window)]
    np.testing.assert_array_equal(asked.vectors.numpy(), wanted)


def test_whole_cells_are_changed_as_by_themselves_and_nothing_else(
    probe: Probe, asked: Asked, embeddings: EmbeddingGrid
) -> None:
    clean = latents()
    moved = Steering(probe, asked, CANVAS, 0.3)(clean.clone())
    wanted = clean.clone()
    for row in range(CELLS.row, CELLS.bottom):
        for col in range(CELLS.col, CELLS.right):
            cell = Window(row, col, 1, 1)
            rows, cols = cell.zoom_in(SIDE).within(CANVAS)
            vector = embeddings.values[cell.within(embeddings.grid.window)][0].copy()
            own = probe.nudge(clean[:, :, rows, cols], torch.from_numpy(vector), 0.3)
            assert not torch.equal(own, clean[:, :, rows, cols])
            wanted[:, :, rows, cols] = own
    assert torch.equal(moved, wanted)


def test_it_works_in_place(probe: Probe, asked: Asked) -> None:
    clean = latents()
    assert Steering(probe, asked, CANVAS, 0.3)(clean) is clean
    assert not torch.equal(clean, latents())


@pytest.mark.parametrize("at_once", [1, 7, 13])
def test_how_many_are_taken_at_once_is_no_matter(
    probe: Probe, asked: Asked, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Steering(probe, asked, CANVAS, 0.3)(latents())
    monkeypatch.setattr(steering, "AT_ONCE", at_once)
    assert torch.equal(Steering(probe, asked, CANVAS, 0.3)(latents()), whole)


def test_where_a_canvas_begins_is_no_matter(probe: Probe, embeddings: EmbeddingGrid) -> None:
    part = Window(CANVAS.row + 3, CANVAS.col + 2, 9, 8)
    rows, cols = part.within(CANVAS)
    results = []
    for canvas, clean in ((CANVAS, latents()), (part, latents()[:, :, rows, cols].clone())):
        asked = Asked.of(embeddings, GRID, canvas, SIDE, FACTOR)
        assert asked is not None
        moved = Steering(probe, asked, canvas, 0.3)(clean)
        inner = asked.cells.zoom_in(SIDE) if canvas == part else inner_of(part)
        results.append(moved[:, :, *inner.within(canvas)])
    assert torch.equal(*results)


def inner_of(canvas: Window) -> Window:
    """The whole cells of a canvas, in latents."""
    top, left = -(-canvas.row // SIDE) * SIDE, -(-canvas.col // SIDE) * SIDE
    return Window(top, left, canvas.bottom // SIDE * SIDE - top, canvas.right // SIDE * SIDE - left)


@pytest.mark.parametrize("count", [1, 5])
def test_windows_are_steered_as_canvases(
    probe: Probe, embeddings: EmbeddingGrid, count: int
) -> None:
    windows = torch.randn(count, 4, 8, 4, generator=torch.Generator().manual_seed(1))
    cells = torch.from_numpy(embeddings.values[:4, :2].copy())
    asked = torch.stack([cells.roll(shift, 0) for shift in range(count)])
    moved = WindowSteering(probe, asked, 0.3)(windows)
    for window, vectors, own in zip(windows, asked, moved, strict=True):
        canvas = Window(0, 0, 8, 4)
        whole = Steering(probe, Asked(vectors, Window(0, 0, 4, 2)), canvas, 0.3)
        assert torch.equal(whole(window[None].clone())[0], own)


# What is asked


@pytest.mark.parametrize(
    "canvas", [Window(1, 0, 2, 9), Window(0, 3, 9, 2), Window(0, 0, 1, 8), Window(-3, -1, 2, 2)]
)
def test_nothing_is_asked_of_a_canvas_without_a_whole_cell(
    embeddings: EmbeddingGrid, canvas: Window
) -> None:
    assert Asked.of(embeddings, GRID, canvas, SIDE, FACTOR) is None


def moved_by(shift: float, size: float = 0.6, crs: str | None = "EPSG:32610") -> PixelGrid:
    affine = Affine(size, 0, UTM.c + shift, 0, -size, UTM.f)
    return PixelGrid(GeoBox((14 * 8, 13 * 8), affine, crs), 0, 0)


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(moved_by(0.25), id="another place"),
        pytest.param(moved_by(0.6), id="another cell's beginning"),
        pytest.param(moved_by(0, 0.5), id="another pixel size"),
        pytest.param(box_grid((-123.0, 37.04, -122.999, 37.041), crs="EPSG:3857", res=0.6),
                     id="another CRS"),
    ],
)  # fmt: skip
def test_nothing_is_asked_between_cells(embeddings: EmbeddingGrid, grid: PixelGrid) -> None:
    assert Asked.of(embeddings, grid, CANVAS, SIDE, FACTOR) is None


def test_nothing_is_asked_of_cells_of_another_size(embeddings: EmbeddingGrid) -> None:
    """Cells of the mosaic's lattice that are larger or smaller than those of the probe."""
    for side in (1, 4):
        assert Asked.of(embeddings, GRID, CANVAS, side, FACTOR) is None
    assert Asked.of(embeddings, GRID, CANVAS, 2 * SIDE, FACTOR // 2) is not None


def test_the_same_is_asked_by_a_saved_grid(
    embeddings: EmbeddingGrid, asked: Asked, tmp_path: Path
) -> None:
    embeddings.save(tmp_path / "e.tif")
    opened = Asked.of(EmbeddingGrid.open(tmp_path / "e.tif"), GRID, CANVAS, SIDE, FACTOR)
    assert opened is not None
    assert opened.cells == asked.cells
    assert torch.equal(opened.vectors, asked.vectors)


# Sampling


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_steers_if_it_and_the_model_can(model: Model, probed: Model, mode: str) -> None:
    assert Sampling.of(mode, model, None, None, 4).steer == 0
    expected = 0 if mode == "paper" else 0.3
    sampling = Sampling.of(mode, probed, None, None, 4)
    assert sampling.steer == expected
    known = conditions(probed, sampling, imagine(probed, GRID), GRID, CANVAS)
    assert (known.asked is None) == (mode == "paper")
    off = replace(sampling, steer=0.0)
    assert conditions(probed, off, imagine(probed, GRID), GRID, CANVAS).asked is None


def painted(model: Model, sampling: Sampling) -> Tensor:
    known = conditions(model, sampling, imagine(model, GRID), GRID, CANVAS)
    *_, last = states(denoise(model, sampling, known, CANVAS, 0.6, 3))
    return last


def states(steps: Iterator[Tensor]) -> Iterator[Tensor]:
    """The states, after a look at whether one changes when the next is made."""
    former: list[tuple[Tensor, Tensor]] = []
    for state in steps:
        former.append((state, state.clone()))
        yield state
    assert all(torch.equal(*pair) for pair in former)


def similarity(probe: Probe, asked: Asked, canvas: Tensor) -> Tensor:
    """Mean cosine of whole cells, as the probe sees them, and what was asked."""
    cells = taken(canvas[0][:, *asked.cells.zoom_in(SIDE).within(CANVAS)], SIDE)
    return probe.cosines(cells, asked.vectors.flatten(0, 1)).mean()


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun"])
def test_a_steered_canvas_is_nearer_to_what_is_asked(
    probed: Model, probe: Probe, asked: Asked, solver: str
) -> None:
    sampling = replace(Sampling.of("fast", probed, 3, 1.0, 4), solver=solver)
    plain = painted(probed, replace(sampling, steer=0.0))
    assert torch.equal(painted(replace(probed, probe=None), sampling), plain)
    levels = [float(similarity(probe, asked, plain))]
    for strength in (0.2, 0.6):
        made = painted(probed, replace(sampling, steer=strength))
        levels.append(float(similarity(probe, asked, made)))
    assert levels[0] < levels[1] < levels[2] - 0.02, levels


@pytest.mark.parametrize("mode", ["quality", "balanced", "fast"])
def test_batch_and_memory_do_not_change_a_bit(
    probed: Model, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, _ = toyed(probed)
    results = [painted(toy, Sampling.of(mode, toy, 3, None, batch)) for batch in (2, 8)]
    monkeypatch.setattr(memory, "IN_MEMORY", 0)
    results.append(painted(toy, Sampling.of(mode, toy, 3, None, 4)))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_evaluation_paints_as_synthesis_does(probed: Model) -> None:
    """Patches that are repainted are steered, too."""
    pixels = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    sampling = Sampling.of("fast", probed, 2, 1.0, 4)
    with torch.no_grad():
        steered, plain, without = (
            repaint(model, pixels.to(torch.uint8), replace(sampling, steer=steer), 0.6, 0)
            for model, steer in (
                (probed, 0.3), (probed, 0.0), (replace(probed, probe=None), 0.3),
            )
        )  # fmt: skip
    assert np.array_equal(plain, without)
    assert not np.array_equal(steered, plain)


# Mosaics


SETTINGS: dict[str, Any] = {
    "bbox_crs": "EPSG:32610", "crs": "EPSG:32610", "res": 0.6, "steps": 2, "batch": 16,
    "guidance": 1.0, "layout": "world", "chart": 128, "device": "cpu", "precision": "bf16",
}  # fmt: skip
BOXES = (  # two charts each, one of them in both
    (500_020.2, 4_099_750.0, 500_070.0, 4_099_790.0),
    (500_046.0, 4_099_730.2, 500_080.2, 4_099_770.4),
)


def test_overlapping_boxes_agree_on_every_pixel(probed_folder: Path, tmp_path: Path) -> None:
    for name, box in zip("ab", BOXES, strict=True):
        out = tmp_path / f"{name}.tif"
        result = synthesize(out, model=str(probed_folder), bbox=box, **SETTINGS)
        assert len(result.plan.charts) == 2
        assert result.plan.sampling.steer == 0.3
    one, other = common(tmp_path / "a.tif", tmp_path / "b.tif")
    assert min(one.shape[1:]) > 30
    assert one.std() > 1
    assert np.array_equal(one, other)


def test_a_single_canvas_of_one_chart_is_the_chart(probed: Model, probed_folder: Path) -> None:
    sampling = replace(Sampling.of("balanced", probed, 2, None, 4), pad=0)
    edge = Window(-4096, 1024, 128, 128)  # a chart's place on the lattice
    box = (edge.col * 0.6, -edge.bottom * 0.6, edge.right * 0.6, -edge.row * 0.6)
    request = SynthesizeRequest(
        "x.tif", str(probed_folder), box, "EPSG:32610", "EPSG:32610", 0.6, chart=128,
        layout="world",
    )  # fmt: skip
    grid = plan(request).grid
    (single,) = charts("single", grid, probed, sampling, 128)
    (world,) = charts("world", grid, probed, sampling, 128)
    assert world.core == single.core == single.canvas
    painter = Painter(probed, grid, sampling, PriorGuide(probed, 0), 0, None)
    painted = [paint(painter, chart) for chart in (single, Chart(world.core, world.core))]
    assert np.array_equal(*painted)
    plain = replace(painter, sampling=replace(sampling, steer=0.0))
    assert not np.array_equal(paint(plain, single), painted[0])
