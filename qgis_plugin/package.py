"""Packs the plugin into the zip that QGIS installs: ``python qgis_plugin/package.py [FILE.zip]``.

One root folder, sources only, the same bytes for the same sources.
"""

from __future__ import annotations

import configparser
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PLUGIN = "geodiff_qgis"
KINDS = {".py", ".txt", ".svg", ".md", ".qm", ".ts", ""}
"""Suffixes of what is packed; LICENSE has none."""


def version() -> str:
    """The plugin's version, from its metadata."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(HERE / PLUGIN / "metadata.txt", "utf-8")
    return parser["general"]["version"]


def files() -> list[Path]:
    """What is packed, sorted."""
    found = (HERE / PLUGIN).rglob("*")
    return sorted(
        path
        for path in found
        if path.is_file() and path.suffix in KINDS and "__pycache__" not in path.parts
        if not path.name.startswith(".")
    )


def pack(target: Path) -> Path:
    """Write the zip and return its path."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files():
            entry = zipfile.ZipInfo(path.relative_to(HERE).as_posix(), (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return target


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(f"{PLUGIN}-{version()}.zip")
    made = pack(chosen)
    print(f"{made}: {len(files())} files, {made.stat().st_size / 1e3:.0f} kB")
