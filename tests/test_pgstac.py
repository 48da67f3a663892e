"""A batch published to stac-fastapi-pgstac, and read from it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac_client
import pytest

from geodiff.jobs.batch import BatchRequest, steps
from geodiff.jobs.synthesize import synthesize
from geodiff.steps import drain
from tests.batch_live import SETTINGS, County, county
from tests.jobs.rasters import read_raster
from tests.pgstac_live import pgstac
from tests.stac_live import served
from tests.tiny import tiny_model

pytestmark = pytest.mark.pgstac

FEW = ("bishop_2020_0", "bishop_2020_1", "eureka_2020_0")


@pytest.fixture(scope="module")
def live(imagery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[County]:
    with county(imagery, tmp_path_factory.mktemp("county")) as made:
        yield made


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pgstac(tmp_path_factory.mktemp("pgstac")) as url:
        yield url


def test_items_are_created_then_replaced_and_can_be_gone_by(
    live: County, api: str, tmp_path: Path
) -> None:
    model = str(tiny_model(tmp_path / "model"))
    (tmp_path / "twins").mkdir()
    with served(tmp_path / "twins") as files:
        options: dict[str, Any] = {k: v for k, v in SETTINGS.items() if k != "collection"}
        request = BatchRequest(
            str(tmp_path / "twins"), items=live.file(tmp_path / "items.json", *FEW), model=model,
            publish=api, public_url=files.url, **options,
        )  # fmt: skip
        assert sorted(drain(steps(request)).report.published) == sorted(FEW)
        again = drain(steps(request)).report  # the API keeps what tells that it has them
        assert (again.published, sorted(again.held)) == ([], sorted(FEW))
        client = pystac_client.Client.open(api)
        found = {item.id: item for item in client.search(collections=["twins"]).items()}
        assert set(found) == set(FEW)
        assert {item.properties["geodiff:seed"] for item in found.values()} == {0}
        here = json.loads((tmp_path / "twins" / "items" / f"{FEW[0]}.json").read_text())
        assert found[FEW[0]].properties["proj:transform"] == here["properties"]["proj:transform"]
        href = found[FEW[0]].assets["data"].href
        assert href == f"{files.url}/items/{FEW[0]}.tif"

        drain(steps(replace(request, seed=1, overwrite=True)))
        again = {item.id: item for item in client.search(collections=["twins"]).items()}
        assert set(again) == set(FEW)
        assert {item.properties["geodiff:seed"] for item in again.values()} == {1}

        west, south, east, north = here["bbox"]
        result = synthesize(
            tmp_path / "third.tif", model=model, stac=api, collection="twins", res=0.6,
            bbox=(west + 1e-4, south + 1e-4, east - 1e-4, north - 1e-4), mode="fast", steps=1,
            device="cpu", precision="fp32",
        )  # fmt: skip
        links = json.loads((tmp_path / "third.json").read_text())["links"]
        assert [link["href"] for link in links] == [f"{api}/collections/twins/items/{FEW[0]}"]
        assert np.ptp(read_raster(result.path)) > 0
