"""Parts become a model directory as a whole, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geodiff.errors import DataError, ModelError, OutputError
from geodiff.jobs.assemble import AssembleRequest, assemble
from geodiff.models.bundle import Model
from tests.tiny import probed_model


@pytest.fixture
def request_(folder: Path, tmp_path: Path) -> AssembleRequest:
    """The tiny model's parts put together into a new directory."""
    return AssembleRequest(
        out=str(tmp_path / "model"),
        encoder=str(folder / "encoder"),
        codec=str(folder / "codec"),
        denoiser=str(folder / "denoiser"),
        prior=str(folder / "prior"),
        name='a "fine"\tmodel \\ é \x7f',
        window=8,
        credit="line one\nline two",
    )


def test_parts_make_a_model(request_: AssembleRequest) -> None:
    model = assemble(request_)
    assert model.name == request_.name
    assert model.credit == request_.credit
    assert (model.window, model.cell, model.gsd_range) == (8, 16, (0.3, 1.0))
    assert [path.name for path in Path(request_.out).parent.iterdir()] == ["model"]


def test_a_probe_goes_along(request_: AssembleRequest, folder: Path, tmp_path: Path) -> None:
    plain = assemble(request_)
    assert plain.probe is None
    parts = probed_model(folder, tmp_path / "parts") / "probe"
    made = assemble(replace(request_, probe=str(parts), steer=0.2, overwrite=True))
    assert made.probe is not None
    assert made.steer == 0.2
    with pytest.raises(ModelError, match="the probe /none is not a directory"):
        assemble(replace(request_, probe="/none", overwrite=True))
    assert Model.load(request_.out).hash == made.hash


def test_card_goes_along(request_: AssembleRequest, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# A model")
    assemble(replace(request_, card=str(tmp_path / "card.md")))
    assert (Path(request_.out) / "README.md").read_text() == "# A model"


def test_model_is_replaced_only_on_demand(request_: AssembleRequest) -> None:
    first = assemble(request_)
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        assemble(request_)
    second = assemble(replace(request_, overwrite=True, guidance=3.0))
    assert (first.guidance, second.guidance) == (1.5, 3.0)


def test_what_is_no_model_is_never_replaced(request_: AssembleRequest) -> None:
    folder = Path(request_.out)
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is no model directory, so it is not replaced"):
        assemble(replace(request_, overwrite=True))
    assert (folder / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"codec": "/none"}, ModelError, "the codec /none is not a directory"),
        ({"card": "/none.md"}, DataError, "the model card /none.md does not exist"),
        ({"prior": None}, ModelError, "cannot be loaded"),
    ],
)
def test_failing_leaves_nothing(
    request_: AssembleRequest, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    if "prior" in changes:
        changes = {"prior": request_.encoder}
    with pytest.raises(error, match=message) as caught:
        assemble(replace(request_, **changes))
    assert ".building" not in str(caught.value)  # a folder that the user does not know
    if "prior" in changes:
        assert str(request_.encoder) in str(caught.value)
    assert list(Path(request_.out).parent.iterdir()) == []
