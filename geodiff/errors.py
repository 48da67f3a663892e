"""Every error that geodiff raises on purpose; the command line prints its message in one line."""


class GeodiffError(Exception):
    """Root of geodiff's errors. The message says what happened, with the values, and what to do."""

    exit_code = 1


class UsageError(GeodiffError, ValueError):
    """An argument is wrong in itself: a reversed box, an unknown CRS, two sources at once."""

    exit_code = 2


class DataError(GeodiffError):
    """A file or raster that was asked for cannot be used: missing, truncated, empty, wrong type."""


class ModelError(GeodiffError):
    """A model directory is missing parts, or its parts do not fit together."""


class OutputError(GeodiffError):
    """The output cannot be written: it exists, the directory is missing, the disk is full."""
