"""Packs the plugin into the zip that QGIS installs: ``python qgis_plugin/package.py [FILE.zip]``.

One root folder, sources only, the same bytes for the same sources. What plugins.qgis.org would
refuse is said; with --publish there is no zip then. Addresses that metadata.txt does not have can
be given: --email, --repository, --tracker, --homepage.
"""

from __future__ import annotations

import argparse
import configparser
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

REQUIRED = (
    "name", "qgisMinimumVersion", "description", "about", "version", "author", "email",
    "repository",
)  # fmt: skip
"""Fields without which plugins.qgis.org refuses a plugin."""
RECOMMENDED = ("tracker", "homepage", "tags", "changelog", "icon", "license")
ADDRESSES = ("repository", "tracker", "homepage")
GIVEN = ("email", *ADDRESSES)
"""Fields that depend on where the project is published, and may be given when it is packed."""

HERE = Path(__file__).parent
PLUGIN = "geodiff_qgis"
KINDS = {".py", ".txt", ".svg", ".md", ".qm", ".ts", ""}
"""Suffixes of what is packed; LICENSE has none."""


def metadata_text(given: Mapping[str, str] | None = None) -> str:
    """The text of metadata.txt, with these fields in place of its own."""
    given = given or {}
    text = (HERE / PLUGIN / "metadata.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in given]
    return "\n".join([*lines, *(f"{name}={value}" for name, value in given.items())]) + "\n"


def metadata(given: Mapping[str, str] | None = None) -> configparser.SectionProxy:
    """The plugin's metadata."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(metadata_text(given))
    return parser["general"]


def refused(given: Mapping[str, str] | None = None) -> list[str]:
    """What plugins.qgis.org would not take, a line each."""
    fields = metadata(given)
    found = [f"{name} is missing" for name in REQUIRED if not fields.get(name, "").strip()]
    if (email := fields.get("email", "").strip()) and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        found.append(f"email is no address: {email}")
    for name in ADDRESSES:
        address = fields.get(name, "").strip()
        if address and not re.fullmatch(r"https?://[^\s/]+\.\S+", address):
            found.append(f"{name} is no address that begins with https://: {address}")
    if "%" in metadata_text(given):
        found.append("a % in metadata.txt is read as a reference")
    return found


def advised(given: Mapping[str, str] | None = None) -> list[str]:
    """What is taken without, but missed, a line each."""
    fields = metadata(given)
    return [f"{name} is missing" for name in RECOMMENDED if not fields.get(name, "").strip()]


def files() -> list[Path]:
    """What is packed, sorted."""
    found = (HERE / PLUGIN).rglob("*")
    return sorted(
        path
        for path in found
        if path.is_file() and path.suffix in KINDS and "__pycache__" not in path.parts
        if not path.name.startswith(".")
    )


def pack(target: Path, given: Mapping[str, str] | None = None) -> Path:
    """Write the zip and return its path."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files():
            entry = zipfile.ZipInfo(path.relative_to(HERE).as_posix(), (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            told = given and path.name == "metadata.txt"
            content = metadata_text(given).encode() if told else path.read_bytes()
            archive.writestr(entry, content)
    return target


def main(words: list[str] | None = None) -> int:
    """Pack, and say what the repository will say; 1 if --publish is in vain."""
    command = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    command.add_argument("file", type=Path, nargs="?", help="the zip to write")
    command.add_argument("--publish", action="store_true", help="no zip if it would be refused")
    for name in GIVEN:
        command.add_argument(f"--{name}", help=f"{name} of metadata.txt")
    asked = command.parse_args(words)
    given = {name: value for name in GIVEN if (value := getattr(asked, name)) is not None}
    wrong = refused(given)
    for line in wrong:
        print(f"plugins.qgis.org would refuse it: {line}", file=sys.stderr)
    for line in advised(given):
        print(f"plugins.qgis.org recommends it: {line}", file=sys.stderr)
    if wrong and asked.publish:
        print("no zip is written; fields can be given, see --help", file=sys.stderr)
        return 1
    made = pack(asked.file or Path(f"{PLUGIN}-{metadata()['version']}.zip"), given)
    print(f"{made}: {len(files())} files, {made.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
