"""File names for ids that others chose."""

from __future__ import annotations

import pytest

from geodiff.geo.names import LONGEST, safe_name, safe_names

HOSTILE = [
    "../../etc/passwd", "/etc/passwd", "a/../b", "a\\b", "..", ".", "", "...", "con", "COM1.x",
    "a\x00b", "a\nb", "\ud800", "x" * 300, "côte", ".hidden", "-rf", "a b", "C:\\x", "e\u0301",
    "x.", "nul",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_any_id_becomes_a_plain_file_name(text: str) -> None:
    name = safe_name(text)
    assert name == safe_name(text)
    assert name != text
    assert 1 <= len(name) <= LONGEST
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert name[0] not in ".-"
    assert safe_name(name) == name


@pytest.mark.parametrize("text", ["m_3811_ne_10_060_20200601", "a", "A.b-c_d", "x" * LONGEST])
def test_a_plain_id_stays(text: str) -> None:
    assert safe_name(text) == text


def test_no_two_share_a_name() -> None:
    texts = [*HOSTILE, "a_b", "A_B", "a_B", "etc_passwd", *map(safe_name, HOSTILE)]
    names = safe_names(texts)
    assert len({name.casefold() for name in names}) == len({*texts})
    assert safe_names(["a", "b"])[0] == safe_names(["a", "b", "c"])[0] == "a"
    assert safe_names(["a", "a"]) == ["a", "a"]
