"""A batch that goes to a bucket: moto's S3 server on the loopback, read back through GDAL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rasterio

from geodiff.errors import OutputError
from geodiff.geo.store import open_store
from geodiff.jobs.batch import BatchRequest, steps
from geodiff.steps import drain
from tests.batch_live import SETTINGS, SIDE, County, county
from tests.tiny import tiny_model

FEW = ("bishop_2020_0", "bishop_2020_1")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket; skips where moto or s3fs is missing."""
    s3fs = pytest.importorskip("s3fs", reason="pip install s3fs")
    server = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_S3_ENDPOINT": f"{host}:{port}", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("twins")
    try:
        yield "s3://twins"
    finally:
        running.stop()
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def live(imagery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[County]:
    with county(imagery, tmp_path_factory.mktemp("county")) as made:
        yield made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_units_are_painted_here_and_kept_there(bucket: str, live: County, tmp_path: Path) -> None:
    options: dict[str, Any] = {k: v for k, v in SETTINGS.items() if k != "collection"}
    request = BatchRequest(
        f"{bucket}/county", items=live.file(tmp_path / "items.json", *FEW), vrt=True,
        model=str(tiny_model(tmp_path / "model")), work_dir=str(tmp_path / "work"), **options,
    )  # fmt: skip
    assert drain(steps(request)).complete
    assert list((tmp_path / "work").iterdir()) == []
    store = open_store(f"{bucket}/county")
    assert set(store.sizes("items")) == {f"items/{n}.{e}" for n in FEW for e in ("tif", "json")}
    collection = json.loads(store.read("collection.json") or "")
    assert len([link for link in collection["links"] if link["rel"] == "item"]) == 2
    item = json.loads(store.read(f"items/{FEW[0]}.json") or "")
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        with rasterio.open(f"/vsis3/twins/county/items/{FEW[0]}.tif") as twin:
            assert twin.shape == (SIDE, SIDE)
            pixels = twin.read()
        with rasterio.open("/vsis3/twins/county/county.vrt") as whole:
            window = whole.window(*twin.bounds).round_offsets().round_lengths()
            assert (whole.read(window=window) == pixels).all()
    assert item["assets"]["data"]["file:size"] == store.sizes("items")[f"items/{FEW[0]}.tif"]

    again = drain(steps(replace(request, variants=2)))
    assert (again.report.counts["kept"], again.report.counts["made"]) == (2, 2)
    with pytest.raises(OutputError, match=r"s3://missing/report\.json cannot be reached"):
        drain(steps(replace(request, out_dir="s3://missing")))
