"""What safetensors leaves to do after it wrote a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

UNFINISHED = re.compile(r"\.tmp\w{6}")
"""What safetensors calls a file that it has not finished."""


def tidy(written: Path) -> None:
    """Give a file that safetensors wrote the permissions of any other new file.

    safetensors lets its owner alone read it. It also writes under a hidden name first: what killed
    processes left of such files beside it is removed.
    """
    mask = os.umask(0o077)
    os.umask(mask)
    written.chmod(0o666 & ~mask)
    for path in written.parent.iterdir():
        if UNFINISHED.fullmatch(path.name):
            path.unlink()
