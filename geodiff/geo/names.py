"""Names of files for ids that others chose: safe on every file system, and the same every time."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 100
"""Characters of a name, without suffix; file systems hold 255 bytes."""

_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows


def safe_name(text: str) -> str:
    """A file name for ``text``: letters, digits, ``.``, ``_`` and ``-``, at most LONGEST of them.

    Text that is such a name already stays as it is. Of any other what can be shown is kept, and a
    hash of the whole tells it apart: ``../../etc/passwd`` becomes ``etc_passwd-3754d6cb``. A name
    never begins with a dot or a hyphen, and is no folder, no device and never empty.
    """
    tidy = _OTHERS.sub("_", text).strip("._-")
    if _DEVICES.fullmatch(tidy):
        return marked(f"item_{tidy}", text)
    return text if 0 < len(text) <= LONGEST and tidy == text else marked(tidy, text)


def safe_names(texts: Sequence[str]) -> list[str]:
    """``safe_name`` of each text; those that would share a name get a hash each.

    Names that differ in upper and lower case alone count as shared, as on macOS and Windows. Equal
    texts get equal names.
    """
    names = dict(zip(texts, map(safe_name, texts), strict=True))
    shared = Counter(name.casefold() for name in names.values())
    return [
        names[text] if shared[names[text].casefold()] == 1 else marked(names[text], text)
        for text in texts
    ]


def marked(name: str, text: str) -> str:
    """``name``, cut where it is too long, with a hash of ``text``."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: LONGEST - 9].rstrip('._-') or 'item'}-{digest}"
