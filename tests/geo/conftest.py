from __future__ import annotations

from datetime import UTC, datetime

import pytest

from geodiff.geo.provenance import Provenance


@pytest.fixture
def provenance() -> Provenance:
    """Provenance whose texts try to break out of every format they are written to."""
    return Provenance(
        model="naip-small \"quoted\" <b>&amp; 'x'",
        model_hash="sha256:0123abcd",
        seed=7,
        source="text 'côte <à> marée = 水 & ]]> ?>'\x00\x1b[31m\n\ud800 end",
        mode="balanced",
        steps=16,
        guidance=2.5,
        command="geodiff synthesize --bbox '1,2,3,4' --out \"a b.tif\"",
        derived_from=(
            'scene "1".tif',
            "https://me:pw@example.org/é.tif?sig=SECRET&collection=naip",
        ),
        credit="USDA NAIP, public domain (© nobody)",
        version="0.1.0",
        created=datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC),
    )
