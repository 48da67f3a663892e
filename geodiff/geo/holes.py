"""Filling the holes of an array of vectors from their nearest neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from shapely import STRtree, points


def fill(values: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """A copy of ``values`` (row, col, feature) whose cells that are not ``valid`` (row, col) take
    the vector of the nearest valid one; of several, the first by rows. One must be valid.
    """
    known, holes = np.argwhere(valid), np.argwhere(~valid)
    hole, near = STRtree(points(known)).query_nearest(points(holes), all_matches=True)
    order = np.lexsort((near, hole))
    _, first = np.unique(hole[order], return_index=True)
    source = known[near[order][first]]
    filled = values.copy()
    filled[tuple(holes.T)] = filled[tuple(source.T)]
    return filled
