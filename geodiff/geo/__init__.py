"""The earth: pixel grids, embedding grids, rasters in and out. Imports no torch."""
