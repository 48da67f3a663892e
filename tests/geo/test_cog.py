from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rio_cogeo.cogeo import cog_validate

from geodiff.errors import OutputError, UsageError
from geodiff.geo import copying
from geodiff.geo.cog import finish, making
from geodiff.geo.cog_options import PROFILES, check_options
from geodiff.geo.copying import create_copy
from geodiff.geo.grid import PixelGrid
from geodiff.geo.mosaic import WorkingRaster
from geodiff.geo.provenance import Provenance
from geodiff.geo.target import check_output
from geodiff.geo.writing import gdal


def working(
    out: Path, height: int, width: int, bands: int = 3, provenance: Provenance | None = None
) -> tuple[Path, NDArray[np.uint8]]:
    """A closed working raster of smooth waves, and its pixels."""
    affine = Affine(0.6, 0.0, 500000.4, 0.0, -0.6, 4399999.8)
    grid = PixelGrid(GeoBox((height, width), affine, CRS("EPSG:32613")), 0, 0)
    rows, cols = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(rows / (20 + b)) * np.cos(cols / (30 - b)) for b in range(bands)]
    pixels = np.stack(waves).astype(np.uint8)
    with WorkingRaster(out, grid, bands, provenance) as raster:
        raster.write(grid.window, pixels)
    return raster.path, pixels


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (40, 60),
        (300, 512),
        (512, 512),
        (513, 20),
        (600, 512),  # as wide as one block, and taller
        (1300, 1024),  # an overview as wide as one block
        (2600, 513),
        (2700, 512),
        (5000, 3),
        (3, 5000),
        (700, 1100),
    ],
)
def test_every_shape_is_a_strictly_valid_cog(tmp_path: Path, shape: tuple[int, int]) -> None:
    out = tmp_path / "out.tif"
    path, pixels = working(out, *shape)
    finish(path, out)
    assert cog_validate(out, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(out) as dataset:
        assert bool(dataset.overviews(1)) == (max(shape) > 512)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(dataset.read(), pixels)
    assert names(tmp_path) == ["out.tif"]


def test_blocks_are_512_px_where_that_validates(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    finish(working(out, 700, 900)[0], out)
    with rasterio.open(out) as dataset:
        assert dataset.block_shapes == [(512, 512)] * 3


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_are_valid_and_keep_their_promise(tmp_path: Path, profile: str) -> None:
    out = tmp_path / "out.tif"
    path, pixels = working(out, 600, 700)
    finish(path, out, profile)
    assert cog_validate(out, strict=True, quiet=True)[0]
    with rasterio.open(out) as dataset:
        found = dataset.read()
        assert profile.upper() in dataset.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"]
    difference = np.abs(found.astype(int) - pixels.astype(int)).mean()
    lossless = profile in ("zstd", "deflate", "lzw")
    assert (difference == 0) if lossless else (0 < difference < 4)


def test_tags_and_xmp_survive_the_copy_exactly(tmp_path: Path, provenance: Provenance) -> None:
    out = tmp_path / "out.tif"
    finish(working(out, 600, 30, provenance=provenance)[0], out)
    with rasterio.open(out) as dataset:
        tags = dataset.tags()
        assert {name: tags[name] for name in provenance.tags()} == provenance.tags()
        assert dataset.tags(ns="xml:XMP")["xml:XMP"] == provenance.xmp()
    assert provenance.xmp().encode() in out.read_bytes()


@pytest.mark.parametrize("choice", [[], ["STATISTICS=YES"]])
def test_statistics_do_not_cost_the_xmp(
    tmp_path: Path, provenance: Provenance, choice: list[str]
) -> None:
    # GDAL 3.10 loses the XMP packet when the COG driver itself computes statistics.
    out = tmp_path / "out.tif"
    path, pixels = working(out, 30, 30, provenance=provenance)
    finish(path, out, creation_options=choice)
    with rasterio.open(out) as dataset:
        assert dataset.tags(ns="xml:XMP")["xml:XMP"] == provenance.xmp()
        assert float(dataset.tags(2)["STATISTICS_MEAN"]) == pytest.approx(pixels[1].mean())


def test_the_same_working_raster_gives_the_same_bytes(
    tmp_path: Path, provenance: Provenance
) -> None:
    path, _ = working(tmp_path / "a.tif", 700, 700, provenance=provenance)
    finish(path, tmp_path / "a.tif", keep_working=True)
    finish(path, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert names(tmp_path) == ["a.tif", "b.tif"]


@pytest.mark.parametrize(
    ("profile", "option", "codec"),
    [
        ("zstd", "QUALITY=80", "ZSTD"),
        ("jpeg", "PREDICTOR=YES", "JPEG"),
        ("lzw", "LEVEL=5", "LZW"),
    ],
)
def test_creation_options_that_would_do_nothing_are_refused(
    profile: str, option: str, codec: str
) -> None:
    name = option.partition("=")[0]
    with pytest.raises(UsageError, match=f"{name} does nothing with {codec}: it is for "):
        check_options(profile, [option])
    options = check_options("jpeg", ["COMPRESS=ZSTD"])  # the profile's own ones are not asked for
    assert options["COMPRESS"] == "ZSTD"


def test_a_log_line_tells_size_and_overviews(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out.tif"
    path, _ = working(out, 1100, 1100)
    with caplog.at_level("INFO", "geodiff"):
        finish(path, out)
    (line,) = [record.message for record in caplog.records if "COG" in record.message]
    with rasterio.open(out) as dataset:
        levels = len(dataset.overviews(1))
    size = out.stat().st_size / 1e6
    assert line == f"COG: {size:.2f} MB, {levels} overviews, valid"


def test_creation_options_override_the_profile(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    path, _ = working(out, 600, 600)
    finish(path, out, "zstd", ["compress=deflate", "BLOCKSIZE=256", "LEVEL=9", "STATISTICS=NO"])
    with rasterio.open(out) as dataset:
        assert dataset.block_shapes[0] == (256, 256)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
        assert "STATISTICS_MEAN" not in dataset.tags(1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("BLOCKXSIZE=512", "no creation option 'BLOCKXSIZE=512'.*BLOCKSIZE.*STATISTICS"),
        ("TILING_SCHEME=GoogleMapsCompatible", "no creation option"),
        ("COMPRESS", "no creation option 'COMPRESS'"),
        ("COMPRESS=FOO", "COMPRESS cannot be 'FOO': it takes NONE, LZW"),
        ("BLOCKSIZE=abc", "BLOCKSIZE cannot be 'ABC': it takes 128 to 512 in steps of 16"),
        ("BLOCKSIZE=500", "BLOCKSIZE cannot be"),
        ("OVERVIEWS=NONE", "OVERVIEWS cannot be"),
        ("LEVEL=23", "LEVEL cannot be '23': it takes 1 to 22"),
    ],
)
def test_wrong_creation_options_are_refused(tmp_path: Path, option: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_options("zstd", [option])
    path, _ = working(tmp_path / "out.tif", 5, 5)
    with pytest.raises(UsageError, match=message):
        finish(path, tmp_path / "out.tif", creation_options=[option])
    assert names(tmp_path) == []


def test_levels_fit_the_codec() -> None:
    with pytest.raises(UsageError, match="LEVEL cannot be 20 with DEFLATE"):
        check_options("deflate", ["LEVEL=20"])


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no COG profile 'png': .*zstd, deflate, lzw, jpeg, webp"):
        check_options("png")


@pytest.mark.parametrize(("profile", "bands"), [("jpeg", 4), ("webp", 1), ("webp", 4)])
def test_photo_codecs_refuse_other_bands(tmp_path: Path, profile: str, bands: int) -> None:
    path, _ = working(tmp_path / "out.tif", 5, 5, bands)
    with pytest.raises(UsageError, match=f"the mosaic has {bands}: use the profile zstd"):
        finish(path, tmp_path / "out.tif", profile)


def test_a_new_file_replaces_the_old_one_and_its_sidecars(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    for name in ("out.tif", "out.tif.aux.xml", "out.tif.ovr", "out.json"):
        (tmp_path / name).write_text("old")
    finish(working(out, 20, 20)[0], out)
    assert names(tmp_path) == ["out.json", "out.tif"]
    assert cog_validate(out, quiet=True)[0]


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_is_one_error_and_keeps_the_old_file(
    tmp_path: Path, old: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tif"
    path, _ = working(out, 1100, 1100)
    source = path.read_bytes()
    finish(path, out)
    full = out.stat().st_size
    out.unlink()
    if old is not None:
        out.write_bytes(old)
    for limit in np.linspace(100, full - 1, 9, dtype=int):
        path.write_bytes(source)
        with (
            file_size_limit(int(limit)),
            pytest.raises(OutputError, match=r"cannot write .*out\.tif") as caught,
        ):
            finish(path, out)
        assert "\n" not in str(caught.value)
        assert names(tmp_path) == ([] if old is None else ["out.tif"])
    if old is not None:
        assert out.read_bytes() == old
    assert capfd.readouterr() == ("", "")  # libtiff's own lines would stand beside ours


def test_a_damaged_working_raster_never_becomes_a_mosaic(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    path, _ = working(out, 1100, 1100)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(OutputError, match="cannot write"):
        finish(path, out)
    assert names(tmp_path) == []


def test_a_missing_working_raster_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        finish(tmp_path / "none.tif", tmp_path / "out.tif")


def test_brackets_in_the_name_are_no_wildcards(tmp_path: Path) -> None:
    out = tmp_path / "a[b]*.tif"
    finish(working(out, 600, 600)[0], out)
    assert names(tmp_path) == ["a[b]*.tif"]


@pytest.mark.parametrize("name", ["new.tif", "new.tiff", "NEW.TIF"])
def test_a_new_name_passes_and_leaves_no_trace(tmp_path: Path, name: str) -> None:
    check_output(tmp_path / name)
    assert names(tmp_path) == []


@pytest.mark.parametrize("existing", ["out.tif", "out.json"])
def test_existing_files_need_overwrite(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("old")
    with pytest.raises(OutputError, match=f"{existing} exists: give --overwrite"):
        check_output(tmp_path / "out.tif")
    check_output(tmp_path / "out.tif", overwrite=True)
    assert (tmp_path / existing).read_text() == "old"


@pytest.mark.parametrize("name", ["out.png", "out", "out.tif.gz"])
def test_the_suffix_must_be_tif(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"does not end in \.tif"):
        check_output(tmp_path / name)


def test_directories_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out.tif").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        check_output(tmp_path / "out.tif", overwrite=True)
    with pytest.raises(OutputError, match=r"the directory .*nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "out.tif")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, where nobody can write")
def test_a_read_only_directory_is_refused() -> None:
    with pytest.raises(OutputError, match="cannot write in /proc/self"):
        check_output("/proc/self/out.tif")


@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "item"])
def test_a_source_is_never_overwritten(tmp_path: Path, link: str) -> None:
    source = tmp_path / ("out.json" if link == "item" else "scene.tif")
    source.write_text("precious")
    out = tmp_path / "out.tif"
    if link == "same":
        out = tmp_path / "sub" / ".." / "scene.tif"
        (tmp_path / "sub").mkdir()
    elif link == "symbolic":
        out.symlink_to(source)
    elif link == "hard":
        out.hardlink_to(source)
    with pytest.raises(UsageError, match="is a source"):
        check_output(out, overwrite=True, sources=["https://example.org/a.tif", str(source)])


def test_progress_of_writing_ends_with_every_pixel_read_back(tmp_path: Path) -> None:
    source = tmp_path / "s.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 1500, "height": 1100}
    place = {"crs": "EPSG:32611", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    with rasterio.open(source, "w", **profile, **place) as dataset:
        dataset.write(np.random.default_rng(0).integers(0, 256, (3, 1100, 1500), np.uint8))
    for codec in ("zstd", "jpeg"):
        steps = list(making(source, tmp_path / f"{codec}.tif", codec))
        stages = list(dict.fromkeys(step.stage for step in steps))
        assert stages == ["write", "verify"]
        for stage in stages:
            done = [step.done for step in steps if step.stage == stage]
            assert done == sorted(done)
            assert done[-1] == {"write": 100, "verify": 2 * 2}[stage]
        written = [step for step in steps if step.stage == "write"]
        assert written[0].done == 0
        assert len(written) > 2  # something is told while GDAL is at it


def test_a_copy_that_is_given_up_or_fails_leaves_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "s.tif", tmp_path / "t.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 900, "height": 700}
    place = {"crs": "EPSG:32611", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    with rasterio.open(source, "w", **profile, **place) as dataset:
        dataset.write(np.full((3, 700, 900), 7, np.uint8))
    running = making(source, target)
    for step in running:
        if step.stage == "write":
            break
    running.close()
    assert {path.name for path in tmp_path.iterdir()} == {"s.tif"}
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((rasterio.errors.RasterioError, CPLE_BaseError, OSError)):
        list(making(source, target))
    assert {path.name for path in tmp_path.iterdir()} == {"s.tif"}


def test_a_copy_is_stopped_not_waited_for(tmp_path: Path) -> None:
    path, _ = working(tmp_path / "out.tif", 1300, 1300)
    target, options = tmp_path / "t.tif", check_options("zstd", ["BLOCKSIZE=128", "LEVEL=9"])
    heard = []

    def told(share: float) -> bool:
        heard.append(share)
        return share < 0.3

    with gdal(), pytest.raises(OSError):  # noqa: PT011  # the words differ from stage to stage
        create_copy(path, target, "COG", options, told)
    assert len(heard) > 5
    assert heard == sorted(heard)
    assert 0.3 <= heard[-1] < 0.5
    heard.clear()
    with gdal():
        create_copy(path, target, "COG", options, lambda share: heard.append(share) is None)
    assert heard[-1] == 1
    assert cog_validate(target, strict=True, quiet=True)[0]


def test_without_a_way_to_gdal_rasterio_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = working(tmp_path / "out.tif", 600, 600)
    finish(path, tmp_path / "a.tif", keep_working=True)
    monkeypatch.setattr(copying, "gdal_library", lambda: None)
    finish(path, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with pytest.raises(OutputError, match="cannot write"):
        finish(path, tmp_path / "c.tif")
    assert names(tmp_path) == ["a.tif", "b.tif"]
