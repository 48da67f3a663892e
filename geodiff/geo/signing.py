"""Reading rasters behind addresses: signatures at the last moment, GDAL's patience, errors."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import rasterio

from geodiff.errors import DataError
from geodiff.geo.catalogues import SECONDS
from geodiff.geo.copying import gdal_library
from geodiff.geo.provenance import clean_href, is_remote, plain

BLOBS = ".blob.core.windows.net"
"""Hosts of the Planetary Computer's rasters."""

WEB = ("http", "https", "s3", "gs", "az", "abfs", "abfss")
"""Schemes of addresses that a remote catalogue may give."""

OWN = ("GTiff", "LIBERTIFF", "JP2OpenJPEG", "JPEG", "JPEGXL", "PNG", "WEBP")
"""GDAL's drivers of files that hold their own pixels; a VRT or a STAC item leads to any others."""

RETRIES = 4
"""Further attempts after an answer that says "later", or none."""

DELAY = 1.0
"""Seconds before a raster is asked for again; each further attempt waits twice as long."""


def sign(href: str) -> str:
    """The address as it can be read now: signed if it is the Planetary Computer's.

    Signatures last under an hour, so this comes right before reading. Raises DataError where no
    signature is given.
    """
    if not is_signed(href):
        return href
    package = planetary_computer()
    try:
        where = package.sas.parse_blob_url(urlsplit(href))
        package.sas.get_token(*where, retry_total=RETRIES)  # by itself it would try for minutes
        return str(package.sign(href))
    except Exception as error:  # requests, pydantic, ..: whatever the service answers
        raise DataError(
            f"no signature for {clean_href(href)} ({' '.join(str(error).split())[:120]}): try "
            "again later; PC_SDK_SUBSCRIPTION_KEY raises the limits of the Planetary Computer"
        ) from error


def is_signed(href: str) -> bool:
    """Whether an address has to be signed."""
    return (urlsplit(href).hostname or "").endswith(BLOBS)


def renew() -> None:
    """Forget the signatures: what is signed next gets a new one."""
    planetary_computer().sas.TOKEN_CACHE.clear()


def planetary_computer() -> Any:
    """The package, which takes half a second to import: only when an address is to be signed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, about how the package is written
        return importlib.import_module("planetary_computer")


def check_href(item: str, href: str, whole: str) -> None:
    """Raises DataError for what a remote catalogue must not make this computer read.

    Files, GDAL's virtual paths, and addresses that climb (``..``), also where they are escaped.
    ``href`` is as the catalogue has it, ``whole`` the address that comes of it.
    """
    if ".." in re.split(r"[/\\]", unquote(unquote(href))):
        wrong = "climbs out of its folder (..)"
    elif urlsplit(whole).scheme not in WEB or "://" not in whole:
        wrong = "is not on the web"
    else:
        return
    raise DataError(
        f"the item {plain(item)} of a remote catalogue points to {plain(href)[:120]}, which "
        f"{wrong}: refused; --stac-any-href takes it, if you trust the catalogue"
    )


def check_driver(item: str, clean: str, driver: str) -> None:
    """Raises DataError for a raster on the web that may lead to other files, such as a VRT.

    ``clean`` is its address without signatures, ``driver`` GDAL's name of its format.
    """
    if is_remote(clean) and driver not in OWN:
        raise DataError(
            f"the item {plain(item)} has a {driver} file at {clean[:160]}, which may "
            "lead to other files, also of this computer: refused; --stac-any-href takes it, "
            "if you trust the catalogue"
        )


@contextmanager
def remote(timeout: float = SECONDS, requester_pays: bool = False) -> Iterator[None]:
    """GDAL set up for rasters behind addresses: no directory listings, retries, merged requests."""
    payer = {"AWS_REQUEST_PAYER": "requester"} if requester_pays else {}
    with rasterio.Env(
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        GDAL_HTTP_MAX_RETRY=RETRIES,
        GDAL_HTTP_RETRY_DELAY=DELAY,
        GDAL_HTTP_RETRY_CODES="429,500,502,503,504",
        GDAL_HTTP_TIMEOUT=timeout,
        GDAL_HTTP_CONNECTTIMEOUT=timeout,
        GDAL_HTTP_MERGE_CONSECUTIVE_RANGES="YES",
        GDAL_HTTP_MULTIPLEX="YES",
        GDAL_INGESTED_BYTES_AT_OPEN=32768,
        VSI_CACHE=True,
        **payer,
    ):
        yield


def forget() -> None:
    """Let GDAL forget what it knows of addresses: it remembers that a file was not there.

    https://gdal.org/en/stable/user/virtual_file_systems.html#vsicurl-http-https-ftp-files-random-access
    Where GDAL's functions are out of reach (Windows) it goes on remembering.
    """
    with suppress(AttributeError):
        library: Any = gdal_library()
        library.VSICurlClearCache()


def causes(error: BaseException) -> str:
    """What an error and those behind it say, on one line."""
    told: list[str] = []
    inner: BaseException | None = error
    while inner is not None and len(told) < 5:
        told.append(str(inner))
        inner = inner.__cause__ or inner.__context__
    return " ".join(" ".join(told).split())


def is_denied(error: BaseException) -> bool:
    """Whether a raster could not be read for want of a right to."""
    said = causes(error)
    words = ("AccessDenied", "Access Denied", "InvalidCredentials", "AWS_SECRET_ACCESS_KEY")
    return code_of(said) in ("401", "403") or any(word in said for word in words)


def code_of(said: str) -> str:
    """The HTTP status in a message of GDAL's; empty without one."""
    match = re.search(r"response[_ ]code[=:] ?(\d{3})", said)
    return match[1] if match else ""


def unreadable(item: str, href: str, error: BaseException) -> DataError:
    """One line about a raster that cannot be read, with what to do."""
    said, where = causes(error), clean_href(href) if is_remote(href) else plain(href)
    told = f"the item {plain(item)} cannot be read at {where[:160]}: "
    code = code_of(said)
    if is_denied(error) and urlsplit(href).scheme == "s3":
        told += (
            "access is denied. A bucket whose requester pays needs AWS credentials "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and --stac-requester-pays"
        )
    elif is_denied(error) and is_signed(href):
        told += (
            "access is denied, also with a new signature. Check this computer's clock, and "
            "PC_SDK_SUBSCRIPTION_KEY if that is set"
        )
    elif is_denied(error):
        told += "access is denied, it may want credentials"
    elif code and code in ("404", "410"):
        told += (
            f"the file is gone ({code}). Leave it out with another --datetime, or tell its owner"
        )
    elif code:
        told += f"the server answers {code}, also after {RETRIES} more attempts. Try again later"
    elif "timed out" in said.lower() or "timeout" in said.lower():
        told += "the server does not answer in time. Try again later, or give --stac-timeout"
    elif "not recognized" in said:
        told += "this is no raster. Name another asset (--asset), or tell its owner"
    elif "IReadBlock" in said or "TIFFRead" in said:
        told += (
            "its pixels cannot be decoded, it is damaged or cut short. Leave it out with another "
            "--datetime, or tell its owner"
        )
    else:
        told += f"{_last(said)}. It may be damaged"
    return DataError(told)


def _last(said: str) -> str:
    """The end of a chain of errors, without addresses, which may hold signatures."""
    return re.sub(r"(?:/vsi\w+/|\w+://)\S+", "it", said)[:160].rstrip(". ")
