"""The group: it starts without the heavy libraries, and its table tells the truth."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint

import click
import pytest
import rasterio
from click.testing import CliRunner

import geodiff
from geodiff_cli.main import COMMANDS, cli
from tests.cli.conftest import ROOT, Invoke, Spawn, failed

HEAVY = ("torch", "rasterio", "numpy", "diffusers", "geopandas", "odc")

HELP = """
import sys
from click.testing import CliRunner
from geodiff_cli.main import COMMANDS, cli
for arguments in ([], *([name] for name in COMMANDS), ["train", "codec"]):
    result = CliRunner().invoke(cli, [*arguments, "--help"])
    assert result.exit_code == 0, (arguments, result.output)
print([name for name in {heavy} if name in sys.modules])
"""


def test_help_of_every_command_imports_nothing_heavy(spawn: Spawn) -> None:
    process = spawn("-c", HELP.format(heavy=HEAVY))
    stdout, stderr = process.communicate()
    assert (stdout, stderr) == ("[]\n", "")


def test_group_help_imports_no_command(spawn: Spawn) -> None:
    process = spawn("-X", "importtime", "-m", "geodiff_cli", "--help")
    stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert all(f"  {name}  " in stdout for name in COMMANDS)
    imported = {line.rpartition("|")[2].strip() for line in stderr.splitlines()}
    assert "geodiff_cli.main" in imported
    assert not imported & {*HEAVY, *(module for module, _ in COMMANDS.values())}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_names_commands_that_exist(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_line_of_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for one in commands:
        options = [param for param in one.params if isinstance(param, click.Option)]
        assert options
        assert [o.name for o in options if not (o.help or "").endswith((".", "]"))] == []
        assert "Examples:" in (one.epilog or "")


def test_versions(invoke: Invoke) -> None:
    assert invoke("--version").stdout == f"geodiff {geodiff.__version__}\n"
    assert invoke("--gdal-version").stdout == f"{rasterio.__gdal_version__}\n"
    shown = dict(line.split(maxsplit=1) for line in invoke("--show-versions").stdout.splitlines())
    assert shown["GDAL"] == rasterio.__gdal_version__
    assert "missing" not in shown.values()


def test_wrong_usage_is_one_line_and_exit_code_2(invoke: Invoke) -> None:
    assert "No such command 'paint' (see 'geodiff --help')" in failed(invoke("paint"), 2)
    assert "No such option '--paint'" in failed(invoke("--paint"), 2)
    assert "Missing option '-o'" in failed(invoke("synthesize"), 2)
    assert "see 'geodiff train codec --help'" in failed(invoke("train", "codec"), 2)


def test_without_arguments_it_shows_the_help(invoke: Invoke) -> None:
    result = invoke()
    assert "Commands:" in result.output
    assert "Error" not in result.output


def test_a_variable_sets_an_option(invoke: Invoke) -> None:
    result = invoke("synthesize", "--out", "a.tif", GEODIFF_SYNTHESIZE_BBOX="1,2,3")
    assert "'1,2,3' is not 4 numbers" in failed(result, 2)


def test_rio_finds_the_group_and_errors_stay_one_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    value = project["entry-points"]["rasterio.rio_plugins"]["geodiff"]
    rio = click.Group("rio", commands=[EntryPoint("geodiff", value, "rasterio.rio_plugins").load()])
    result = CliRunner().invoke(rio, ["geodiff", "synthesize", "--out", "x.tif"])
    assert "nothing says where the mosaic lies" in failed(result, 2)


def test_the_script_is_main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert EntryPoint("geodiff", project["scripts"]["geodiff"], "").load().__name__ == "main"
