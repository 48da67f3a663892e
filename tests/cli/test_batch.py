"""`geodiff batch`: exit codes, what it tells, Ctrl-C and kills."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodiff.geo import stac_client
from geodiff_cli.batch import SHARING
from geodiff_cli.errors import PARTLY
from tests.batch_live import SIDE, County, county
from tests.cli.conftest import Invoke, Spawn, failed
from tests.stac_live import served
from tests.transactions_live import Api

FAST = "--mode fast --steps 1 --guidance 1 --chart 128 --device cpu --precision fp32"
GOOD = ("bishop_2020_0", "bishop_2020_1", "bishop_2020_3", "eureka_2020_0")


@pytest.fixture(scope="module")
def live(imagery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[County]:
    with county(imagery, tmp_path_factory.mktemp("county")) as made:
        yield made


def line(live: County, model: str, tmp_path: Path, *ids: str) -> str:
    live.file(tmp_path / "items.json", *ids)
    return f"batch --items items.json --out-dir twins --model {model} {FAST}"


def test_all_done_is_0_and_partly_done_is_3(
    live: County, invoke: Invoke, model: str, tmp_path: Path
) -> None:
    command = line(live, model, tmp_path, *GOOD[:2])
    result = invoke(command, "--vrt")
    assert result.exit_code == 0, result.output
    assert "twins: 2 made, 0 were there, 0 failed of 2 units" in result.stdout
    assert (tmp_path / "twins" / "twins.vrt").is_file()
    item = json.loads((tmp_path / "twins" / "items" / f"{GOOD[0]}.json").read_text())
    assert item["properties"]["geodiff:command"].startswith("geodiff batch --items items.json")

    live.file(tmp_path / "items.json", *GOOD[:2], "lacks", "gone")
    result = invoke(command, "--retries", "0", "--json", "--progress", "json")
    assert result.exit_code == PARTLY == 3
    facts = json.loads(result.stdout)
    assert (facts["kept"], facts["failed"], facts["units"]) == (2, 2, 4)
    assert {row["source"] for row in facts["failures"]} == {"lacks", "gone"}
    steps = [json.loads(text) for text in result.stderr.splitlines()]
    assert {"load", "review", "twins", "done"} <= {step["stage"] for step in steps}
    people = invoke(command, "--retries", "0")
    assert people.exit_code == PARTLY
    assert "0 made, 2 were there, 2 failed of 4 units" in people.stdout
    assert "  gone: the item gone cannot be read" in people.stdout
    stop = invoke(command, "--retries", "0", "--on-error", "fail")
    assert "lacks" in failed(stop, 1)


def test_a_dry_run_counts_and_writes_nothing(
    live: County, invoke: Invoke, model: str, tmp_path: Path
) -> None:
    command = line(live, model, tmp_path, *GOOD, "lacks")
    result = invoke(command, "--variants", "3", "--dry-run")
    assert result.exit_code == 0, result.output
    assert re.search(r"units +12\n", result.stdout)
    assert re.search(r"cannot be used 1 +lacks: ", result.stdout)
    assert re.search(r"disk +less than 1 MB\n", result.stdout)
    facts = json.loads(invoke(command, "--dry-run", "--json").stdout)
    assert facts["units"] == 4
    assert facts["megapixels"] == pytest.approx(4 * SIDE**2 / 1e6, rel=0.1)
    assert facts["evaluations"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"items.json"}


def test_what_an_api_does_not_take_is_partly_done(
    live: County, invoke: Invoke, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stac_client, "BACKOFF", 0.01)
    api = Api(bad={GOOD[1]: 500})
    with served(tmp_path, api) as server:
        command = line(live, model, tmp_path, *GOOD[:2])
        command += f" --publish {server.url} --public-url https://e.org/twins"
        first = invoke(command)
        assert first.exit_code == PARTLY
        assert "  published: 1 now, 0 before, 1 not taken" in first.stdout
        assert f"  {GOOD[1]} is not published: " in first.stdout
        assert "(500): bad geometry, also after 4 more attempts" in first.stdout
        api.bad = {}
        second = invoke(command)
        assert second.exit_code == 0
        assert "  published: 1 now, 1 before, 0 not taken" in second.stdout


def test_a_dry_run_tells_where_nothing_can_be_made(
    live: County, invoke: Invoke, model: str, tmp_path: Path
) -> None:
    """By the code that the run itself will end with."""
    command = line(live, model, tmp_path, "lacks", "passwd")
    dry = invoke(command, "--dry-run")
    assert dry.exit_code == PARTLY
    assert re.search(r"units +0\n", dry.stdout)
    assert invoke(command, "--dry-run", "--json").exit_code == PARTLY
    assert {path.name for path in tmp_path.iterdir()} == {"items.json"}
    assert invoke(command).exit_code == PARTLY
    assert "0 made, 0 were there, 2 failed of 2 units" in invoke(command).stdout

    for ids, code in ((GOOD[:1], 0), ((GOOD[0], "lacks"), 1), (("lacks",), 1)):
        command = line(live, model, tmp_path, *ids)
        dry = invoke(command, "--dry-run", "--on-error", "fail")
        assert dry.exit_code == code
        assert ("Error: lacks: the item lacks has no asset" in dry.stderr) == (code == 1)


def test_who_made_a_unit_is_no_part_of_its_command() -> None:
    words = "geodiff batch --workers 4 --out-dir a --scheduler=tcp://b:1 --seed 2 --workers=2"
    assert SHARING.sub("", words) == "geodiff batch --out-dir a --seed 2"


def test_wrong_usage_is_one_line(invoke: Invoke) -> None:
    assert "nothing says what to make" in failed(invoke("batch --out-dir a"), 2)
    assert "Missing option" in failed(invoke("batch"), 2)
    assert "does not exist" in failed(invoke("batch --out-dir a --stac a.json --collection b "
                                             "--model no"), 1)  # fmt: skip


def test_ctrl_c_keeps_what_is_done_and_the_same_line_makes_the_rest(
    live: County, spawn: Spawn, invoke: Invoke, model: str, tmp_path: Path
) -> None:
    command = line(live, model, tmp_path, *GOOD)
    process = spawn(f"-m geodiff_cli {command} --progress json")
    assert process.stderr is not None
    for text in process.stderr:
        step = json.loads(text)
        if step["stage"] == "twins" and step["done"] >= 1:
            process.send_signal(signal.SIGINT)
            break
    _, stderr = process.communicate()
    told = [text for text in stderr.splitlines() if not text.startswith("{")]
    assert process.returncode == 130
    assert told == [
        "Error: interrupted: finished units are kept in twins; the same command makes the others"
    ]
    report = json.loads((tmp_path / "twins" / "report.json").read_text())
    assert report["made"] >= 1
    assert report["made"] + report["waiting"] == 4
    result = invoke(command, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["kept"] >= report["made"]
    assert facts["made"] + facts["kept"] == 4
