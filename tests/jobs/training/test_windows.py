"""Windows of cells are drawn whole, with what is said about each of their cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from geodiff.errors import DataError
from geodiff.jobs.training.cells import CellSet
from geodiff.jobs.training.config import PriorConfig
from geodiff.jobs.training.ranks import Ranks
from geodiff.jobs.training.windows import CellBatch, check_sides, draw_windows
from geodiff.models.whitening import Whitening

PLAIN = Whitening(np.zeros(3, np.float32), np.eye(3, dtype=np.float32), np.ones(3, np.float32))
CONFIG = PriorConfig(
    ("a", "b"), "r", encoder="e", batch=24, window=4, null=0.0, null_label=0.0, patchy=0.0
)


def numbered(side: int, label: int, text: int, count: int = 5) -> CellSet:
    """Cells whose features are the number of their patch, their row and their column."""
    cells = np.stack(np.indices((count, 2, side, side))[[0, 2, 3]], -1).astype(np.float16)
    rows = np.arange(count)
    turns = np.stack([np.zeros(count), rows % 2 + 1], 1).astype(np.intp)
    return CellSet(
        cells, turns, rows[:-1], rows[-1:], 0.6 * label, np.full((count, 2), text, np.intp),
        np.full(count, label, np.intp),
    )  # fmt: skip


SETS = [numbered(5, 1, 0), numbered(2, 2, 1)]
VECTORS = np.eye(2, 7, dtype=np.float16)


def batch(config: PriorConfig = CONFIG, step: int = 0, split: str = "train") -> CellBatch:
    return draw_windows(SETS, VECTORS, PLAIN, config, (0, step), split)


def test_windows_are_neighbouring_cells() -> None:
    drawn = batch()
    large = drawn.label[:, 0, 0] == 1
    assert 0 < int(large.sum()) < 24
    whole = drawn.clean[large]
    assert torch.equal(whole[:, 1, 1:] - whole[:, 1, :-1], torch.ones(len(whole), 3, 4))
    assert torch.equal(whole[:, 2, :, 1:] - whole[:, 2, :, :-1], torch.ones(len(whole), 4, 3))
    assert (drawn.group[large] == 0).all()
    assert set(whole[:, 1, 0, 0].tolist()) == {0.0, 1.0}  # both corners that fit


def test_small_patches_share_a_window_in_groups() -> None:
    drawn = batch()
    small = drawn.label[:, 0, 0] == 2
    group, cells = drawn.group[small], drawn.clean[small]
    assert torch.equal(group[0], torch.tensor([[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2))
    assert torch.equal(cells[0, 2], torch.tensor([[0.0, 1.0, 0.0, 1.0]] * 4))
    patches = cells[:, 0]
    assert (patches[:, :2, :2] == patches[:, :1, :1]).all()
    assert (patches[:, :2, :2] != patches[:, 2:, 2:]).any()


def test_words_labels_and_pixel_size_belong_to_their_set() -> None:
    drawn = batch()
    assert torch.equal(drawn.gsd, torch.tensor([0.0, 0.6, 1.2])[drawn.label[:, 0, 0]])
    assert torch.equal(drawn.text.argmax(-1) + 1, drawn.label)
    assert drawn.told.all()


def test_words_and_labels_are_left_out_now_and_then() -> None:
    none = batch(replace(CONFIG, null=1.0, null_label=1.0))
    assert not none.told.any()
    assert not none.label.any()
    some = batch(replace(CONFIG, batch=400, null=0.25, null_label=0.5, patchy=0.5))
    whole = some.told.flatten(1).float().mean(1)
    assert 0.15 < float((whole == 0).float().mean()) < 0.35
    assert 0.25 < float(((whole > 0) & (whole < 1)).float().mean()) < 0.5
    assert 0.4 < float((some.label[:, 0, 0] == 0).float().mean()) < 0.6


def test_patches_in_one_window_are_turned_alike() -> None:
    drawn = batch(replace(CONFIG, batch=400))
    odd = drawn.clean[:, 0, ::2, ::2] % 2 + 1  # the turn that each patch has besides upright
    turned = drawn.turn > 0
    assert 0.1 < float(turned.float().mean()) < 0.6
    assert (odd[turned] == drawn.turn[turned, None, None]).all()


def test_a_batch_is_a_function_of_its_seed_and_split() -> None:
    assert torch.equal(batch().clean, batch().clean)
    assert not torch.equal(batch().noise, batch(step=1).noise)
    assert set(batch(split="val").clean[:, 0].unique().tolist()) == {4.0}
    assert 4.0 not in batch().clean[:, 0]


def test_ranks_share_a_batch() -> None:
    whole = batch()
    for rank in (0, 1):
        part = draw_windows(SETS, VECTORS, PLAIN, CONFIG, (0, 0), "train", Ranks(rank, 2))
        for name in ("clean", "noise", "time", "gsd", "text", "told", "label", "group", "turn"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rank::2])


def test_patches_that_do_not_fill_a_window_are_refused() -> None:
    check_sides(SETS, 4, ("a", "b"))
    with pytest.raises(DataError, match=r"b has patches of 2 x 2 cells, which do not fill .* of 5"):
        check_sides(SETS, 5, ("a", "b"))
