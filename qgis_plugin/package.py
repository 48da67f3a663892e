"""Packs the plugin into the zip that QGIS installs: ``python qgis_plugin/package.py [FILE.zip]``.

One root folder, sources only, the same bytes for the same sources.
"""

from __future__ import annotations

import configparser
import sys
import zipfile
from pathlib import Path

PUBLISHED = ("email", "tracker", "repository", "homepage")
"""What plugins.qgis.org needs in the metadata beyond what QGIS does; three are addresses."""

HERE = Path(__file__).parent
PLUGIN = "geodiff_qgis"
KINDS = {".py", ".txt", ".svg", ".md", ".qm", ".ts", ""}
"""Suffixes of what is packed; LICENSE has none."""


def metadata() -> configparser.SectionProxy:
    """The plugin's metadata."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(HERE / PLUGIN / "metadata.txt", "utf-8")
    return parser["general"]


def missing() -> list[str]:
    """What stands between this zip and plugins.qgis.org."""
    return [name for name in PUBLISHED if not metadata().get(name, "").strip()]


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
    name = f"{PLUGIN}-{metadata()['version']}.zip"
    made = pack(Path(sys.argv[1] if len(sys.argv) > 1 else name))
    print(f"{made}: {len(files())} files, {made.stat().st_size / 1e3:.0f} kB")
    if missing():
        print(f"for plugins.qgis.org metadata.txt still needs {', '.join(missing())}")
