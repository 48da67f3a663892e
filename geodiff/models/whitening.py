"""Embeddings in the form in which a prior diffuses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOOR = 0.1
"""Share of the mean variance that is added to every direction before it is whitened."""


@dataclass(frozen=True)
class Whitening:
    """Embeddings to numbers of about unit variance and back: ``(x - mean) @ axes / spread``.

    ``axes`` (dim, dim) are the principal directions in columns; ``spread`` (dim,) goes with the
    root of their deviation. This is halfway to equal variances: what makes up most of the cosine of
    two cells is decided first and counts most in the loss. The mean variance is 1.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32]) -> Whitening:
        """Of vectors (n, dim)."""
        found = np.linalg.eigh(np.cov(vectors.T))
        values = np.maximum(np.asarray(found.eigenvalues, np.float64), 0)
        rough = (values + FLOOR * values.mean()) ** 0.25
        spread = np.asarray(rough * np.sqrt((values / rough**2).mean()))
        return cls(
            vectors.mean(0), found.eigenvectors.astype(np.float32), spread.astype(np.float32)
        )

    def there(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., dim) unit vectors -> whitened."""
        white = (vectors - self.mean) @ self.axes
        return np.asarray(white / self.spread, np.float32)

    def back(self, white: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whitened (..., dim) -> float32 unit vectors."""
        vectors = (white * self.spread) @ self.axes.T + self.mean
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)
