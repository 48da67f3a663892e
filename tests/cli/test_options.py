"""Options are the fields of the requests, with the same defaults: one place to look things up."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
import pytest

from geodiff.geo.cog_options import PROFILES
from geodiff.jobs.assemble import AssembleRequest
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.embed import EmbedRequest
from geodiff.jobs.export import ExportRequest
from geodiff.jobs.imagine import ImagineRequest
from geodiff.jobs.import_checkpoint import ImportRequest
from geodiff.jobs.mix import MixRequest
from geodiff.jobs.prepare import PrepareConfig
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.training.config import CodecConfig, DenoiserConfig, EncoderConfig, PriorConfig
from geodiff_cli import (
    assemble,
    batch,
    embed,
    export,
    imagine,
    import_,
    mix,
    painting_options,
    prepare,
    synthesize,
    train,
)

OF_THE_COMMAND_LINE = {"as_json", "progress", "dry_run", "verbose", "quiet", "help"}

COMMANDS: list[tuple[click.Command, type[Any], set[str]]] = [
    (synthesize.synthesize, SynthesizeRequest, set()),
    (batch.batch, BatchRequest, set()),
    (embed.embed, EmbedRequest, {"source"}),  # left out with --stac
    (imagine.imagine, ImagineRequest, set()),
    (mix.mix, MixRequest, set()),
    (assemble.assemble, AssembleRequest, set()),
    (import_.import_, ImportRequest, set()),
    (export.export, ExportRequest, set()),
    (prepare.prepare, PrepareConfig, {"sources", "out"}),
    (train.train.commands["codec"], CodecConfig, {"config"}),
    (train.train.commands["encoder"], EncoderConfig, {"config"}),
    (train.train.commands["denoiser"], DenoiserConfig, {"config"}),
    (train.train.commands["prior"], PriorConfig, {"config"}),
]


def own(command: click.Command, others: set[str]) -> dict[str, click.Parameter]:
    """The parameters that go into the request."""
    known = {str(param.name): param for param in command.params}
    return {name: p for name, p in known.items() if name not in OF_THE_COMMAND_LINE | others}


@pytest.mark.parametrize(("command", "request_type", "others"), COMMANDS)
def test_every_option_is_a_field(
    command: click.Command, request_type: type[Any], others: set[str]
) -> None:
    fields = {field.name for field in dataclasses.fields(request_type)}
    options = own(command, others)
    assert options
    assert set(options) <= fields


LEAST = {
    "synthesize": ["--out", "a.tif"],
    "batch": ["--out-dir", "a"],
    "embed": ["b.tif", "--out", "a.tif"],
    "imagine": ["--out", "a.tif"],
    "mix": ["b.tif", "c.tif", "--out", "a.tif"],
    "import": ["b.ckpt", "--out", "a"],
    "export": ["--out", "a"],
    "prepare": ["b", "--out", "a"],
    "assemble": [
        "--out",
        "a",
        "--name",
        "b",
        "--encoder",
        "c",
        "--codec",
        "d",
        "--denoiser",
        "e",
        "--prior",
        "f",
    ],
}


@pytest.mark.parametrize(("command", "request_type", "others"), COMMANDS[:8])
def test_defaults_are_those_of_the_request(
    command: click.Command, request_type: type[Any], others: set[str]
) -> None:
    given = command.make_context(command.name, LEAST[str(command.name)]).params
    fields = {f.name: f.default for f in dataclasses.fields(request_type)}
    compared = 0
    for name, param in own(command, others).items():
        assert param.required == (fields[name] is dataclasses.MISSING), name
        if not param.required:
            assert given[name] == fields[name], name
            compared += 1
    assert compared > 1


def test_nothing_of_a_request_is_out_of_reach() -> None:
    """``command`` is filled in by the command line itself."""
    for command, request_type in (
        (synthesize.synthesize, SynthesizeRequest), (batch.batch, BatchRequest),
    ):  # fmt: skip
        fields = {field.name for field in dataclasses.fields(request_type)}
        assert fields - set(own(command, set())) == {"command"}
    for command, request_type in (
        (embed.embed, EmbedRequest), (imagine.imagine, ImagineRequest), (mix.mix, MixRequest),
    ):  # fmt: skip
        fields = {field.name for field in dataclasses.fields(request_type)}
        assert fields == set(own(command, set()))


def test_profiles_are_those_of_the_writer() -> None:
    assert tuple(PROFILES) == painting_options.PROFILES


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("out", {"-o", "--out", "--output"}),
        ("crs", {"--crs", "--dst-crs"}),
        ("cog_profile", {"-p", "--cog-profile"}),
        ("bbox_crs", {"--bbox-crs"}),
        ("co", {"--co"}),
        ("as_json", {"--json"}),
    ],
)
def test_spellings(name: str, spellings: set[str]) -> None:
    (param,) = [p for p in synthesize.synthesize.params if p.name == name]
    assert set(param.opts) == spellings
