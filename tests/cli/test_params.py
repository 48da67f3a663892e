"""Values of several numbers: every usual spelling means the same."""

from __future__ import annotations

import click
import pytest

from geodiff_cli.params import BANDS, BBOX, RANGE, BoxCommand

EXPECTED = (-117.76, 34.09, -117.75, 34.098)


def parsed(*arguments: str) -> object:
    """--bbox and --name as a command with both receives them."""

    @click.command(cls=BoxCommand)
    @click.option("--bbox", type=BBOX)
    @click.option("--name")
    @click.argument("rest", nargs=-1)
    def command(**values: object) -> dict[str, object]:
        return values

    return command.main(list(arguments), standalone_mode=False)


@pytest.mark.parametrize(
    "words",
    [
        ["--bbox", "-117.76,34.09,-117.75,34.098"],
        ["--bbox=-117.76,34.09,-117.75,34.098"],
        ["--bbox", "-117.76, 34.09, -117.75, 34.098"],
        ["--bbox", "-117.76 34.09 -117.75 34.098"],
        ["--bbox", "[-117.76, 34.09, -117.75, 34.098]"],
        ["--bbox", "(-117.76 34.09 -117.75 34.098)"],
        ["--bbox", "-117.76", "34.09", "-117.75", "34.098"],
        ["--bbox", "-117.76,", "34.09,", "-117.75,", "34.098"],
        ["--bbox", "[-117.76,", "34.09,", "-117.75,", "34.098]"],
        ["--bbox", "-117.76,34.09", "-117.75,34.098"],
        ["--bbox", "-1.1776e2", "+34.09", "-117.75", "34.098"],
    ],
)
def test_spellings_of_a_box(words: list[str]) -> None:
    expected = {"bbox": EXPECTED, "name": "a", "rest": ()}
    assert parsed(*words, "--name", "a") == expected
    assert parsed("--name", "a", *words) == expected


def test_words_behind_the_box_stay_words() -> None:
    assert parsed("--bbox", "1,2,3,4", "5", "6") == {
        "bbox": (1, 2, 3, 4),
        "name": None,
        "rest": ("5", "6"),
    }
    assert parsed("--", "--bbox", "1", "2", "3", "4") == {
        "bbox": None,
        "name": None,
        "rest": ("--bbox", "1", "2", "3", "4"),
    }


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "1,2,3,x", "", "1;2;3;4", "1,2,3,0x4"])
def test_no_box(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not 4 numbers: give W,S,E,N"):
        parsed("--bbox", text)


def test_too_few_words_for_a_box() -> None:
    with pytest.raises(click.BadParameter, match="'1' is not 4 numbers"):
        parsed("--bbox", "1", "2", "3", "--name", "a")


def test_bands_are_whole_and_ranges_are_pairs() -> None:
    assert BANDS.convert("4, 3 2", None, None) == (4, 3, 2)
    assert RANGE.convert("-0.5,3e3", None, None) == (-0.5, 3000.0)
    with pytest.raises(click.BadParameter, match="is not 3 whole numbers: give R,G,B"):
        BANDS.convert("1,2,2.5", None, None)
