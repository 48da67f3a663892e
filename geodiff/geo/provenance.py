"""Where synthetic pixels come from: GeoTIFF tags and an XMP packet, free of secrets."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from xml.sax.saxutils import escape

from geodiff.errors import UsageError

# IPTC NewsCodes: media created by a trained algorithm.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MASK = "***"
# Query parameters that describe a request; the value of any other one is masked.
_HARMLESS = "bbox|bbox-crs|collections?|datetime|ids?|limit|items?|f|format|crs|api-version|page"
_SECRET = (
    r"(?:token|secret|passw(?:or)?d|userpwd|api[-_]?key|access[-_]?key|signature|credentials?|sas)"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"']+)"
_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE), f"\\g<1>{_MASK}")
    for pattern in (
        r"(://)[^/\s?#\"']+(?=@)",  # scheme://user:password@host
        rf"([?&#;](?!(?:{_HARMLESS})=)[^\s=&#;?\"']+=)[^\s&#;\"']+",  # ?sig=...
        rf"(--?[\w-]*{_SECRET}[\w-]*\s+)(?!-){_VALUE}",  # --token ...
        rf"(\b[\w.-]*{_SECRET}[\w.-]*[=:]\s*){_VALUE}",  # AWS_SECRET_ACCESS_KEY=...
        rf"(\bauthorization\s*[=:]\s*(?:(?:bearer|basic)\s+)?)(?!bearer\b|basic\b){_VALUE}",
        r"(\bbearer\s+)[^\s\"']{8,}",
    )
)
# XML 1.0 has no way to write these, and GDAL keeps most tags as XML.
_UNWRITABLE = re.compile("[^\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")


def redact(text: str) -> str:
    """``text`` with passwords, tokens and signatures replaced by ``***``.

    Covers ``user:password@`` in URLs, every query parameter not known to be harmless (SAS ``sig``,
    ``X-Amz-Signature``, ...), options and variables named like secrets (``--token x``,
    ``API_KEY=x``) and ``Authorization`` headers. Applying it twice changes nothing.
    """
    for pattern, mask in _RULES:
        text = pattern.sub(mask, text)
    return text


def is_remote(source: str) -> bool:
    """Whether a source is a URL or a GDAL virtual path rather than a local file."""
    return "://" in source or source.startswith("/vsi")


def clean_href(source: str) -> str:
    """A source as a link: a URL without credentials, fragment and masked parameters."""
    if not is_remote(source):
        return source
    parts = urlsplit(redact(source))
    kept = "&".join(item for item in parts.query.split("&") if item and _MASK not in item)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, kept, ""))


def source_name(source: str) -> str:
    """What a source is called in another place: a local file's name, or a clean URL."""
    return clean_href(source) if is_remote(source) else plain(Path(source).name)


def plain(text: str) -> str:
    """``text`` on one line, without control characters and lone surrogates."""
    return _UNWRITABLE.sub(" ", text).strip()


def software_version() -> str:
    """The version of the installed geodiff, or that of the source tree; else "unknown"."""
    try:
        return version("geodiff-mosaic")
    except PackageNotFoundError:
        pass
    try:
        tree = Path(__file__).parents[2] / "pyproject.toml"
        project = tomllib.loads(tree.read_text(encoding="utf-8"))["project"]
        return str(project["version"]) if project["name"] == "geodiff-mosaic" else "unknown"
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        return "unknown"


def _now() -> datetime:
    """Now, or the time in SOURCE_DATE_EPOCH (reproducible-builds.org), to the second."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    if fixed.isdecimal():
        return datetime.fromtimestamp(int(fixed), UTC)
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Provenance:
    """What made a mosaic. Secrets in ``source``, ``command`` and ``derived_from`` are masked.

    Raises UsageError if ``created`` has no time zone or ``steps`` is below 1.
    """

    model: str  # name of the model
    model_hash: str  # fingerprint of its weights
    seed: int
    source: str  # what the image goes by, in words: "raster scene.tif", "text 'harbour'"
    mode: str  # preset of the sampler, such as balanced
    steps: int  # denoising steps
    guidance: float  # guidance scale; 1 is none
    noise_version: int = 1
    layout: str = "single"  # one canvas, or "world, charts of 2048 px"
    command: str = ""  # the command line, where there was one
    derived_from: tuple[str, ...] = ()  # files and URLs whose content shaped the image
    credit: str = ""  # credit line of the model's training data
    subject: str = "aerial imagery"  # what it is a picture of; imagery: nobody knows
    version: str = field(default_factory=software_version)  # of geodiff
    created: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        if self.created.tzinfo is None:
            raise UsageError(f"the time {self.created} has no time zone: use datetime.UTC")
        if self.steps < 1:
            raise UsageError(f"an image takes at least one denoising step, got {self.steps}")
        object.__setattr__(self, "source", redact(self.source))
        object.__setattr__(self, "command", redact(self.command))
        object.__setattr__(self, "derived_from", tuple(map(clean_href, self.derived_from)))

    @property
    def software(self) -> str:
        """Name and version of the software."""
        return f"geodiff {self.version}"

    @property
    def description(self) -> str:
        """One sentence for people: this is not a photograph."""
        return (
            f"Synthetic {self.subject} generated by {self.software} with the model {self.model} "
            f"(seed {self.seed}); not a photograph."
        )

    def tags(self) -> dict[str, str]:
        """GeoTIFF tags of the default domain, the only one that the COG driver keeps."""
        tags = {
            "AI_GENERATED": "TRUE",
            "TIFFTAG_SOFTWARE": self.software,
            "TIFFTAG_IMAGEDESCRIPTION": self.description,
            "TIFFTAG_DATETIME": f"{self.created.astimezone(UTC):%Y:%m:%d %H:%M:%S}",
            "GEODIFF_VERSION": self.version,
            "GEODIFF_MODEL": self.model,
            "GEODIFF_MODEL_HASH": self.model_hash,
            "GEODIFF_SEED": str(self.seed),
            "GEODIFF_SOURCE": self.source,
            "GEODIFF_NOISE_VERSION": str(self.noise_version),
            "GEODIFF_COMMAND": self.command,
            "GEODIFF_MODE": self.mode,
            "GEODIFF_STEPS": str(self.steps),
            "GEODIFF_GUIDANCE": f"{self.guidance:g}",
            "GEODIFF_LAYOUT": self.layout,
            "GEODIFF_CREDIT": self.credit,
            "GEODIFF_DERIVED_FROM": self._sources(),
        }
        return {name: text for name, value in tags.items() if (text := plain(value))}

    def _sources(self) -> str:
        """JSON array of ``derived_from``; empty if there is none."""
        names = [plain(source) for source in self.derived_from]
        return json.dumps(names, ensure_ascii=False) if names else ""

    def xmp(self) -> str:
        """XMP packet (ISO 16684-1) that says, in IPTC's words, that an algorithm made the image."""

        def text(value: str) -> str:
            return escape(plain(value))

        credit = f"<photoshop:Credit>{text(self.credit)}</photoshop:Credit>" if self.credit else ""
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about=""'
            ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
            ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
            ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
            ' xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
            f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
            f"<xmp:CreatorTool>{text(self.software)}</xmp:CreatorTool>"
            f"<xmp:CreateDate>{self.created.isoformat()}</xmp:CreateDate>"
            f"{credit}"
            '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">'
            f"{text(self.description)}</rdf:li></rdf:Alt></dc:description>"
            "</rdf:Description></rdf:RDF></x:xmpmeta>\n"
            '<?xpacket end="r"?>'
        )
