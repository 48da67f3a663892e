"""Options that several commands share, and the way results are laid out on stdout."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geodiff.jobs.request import DEVICES
from geodiff_cli.errors import VERBOSE, verbose
from geodiff_cli.params import BANDS, BBOX, RANGE, SIZE

if TYPE_CHECKING:
    from geodiff import EmbeddingGrid

F = TypeVar("F", bound=Callable[..., Any])

PROGRESS = ("auto", "bar", "json", "none")


def flag(name: str, callback: Callable[..., None], help: str) -> Callable[[F], F]:
    """A flag that prints something and stops; never taken from the environment."""
    return click.option(
        name,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        allow_from_autoenv=False,
        callback=callback,
        help=help,
    )


def set_verbosity(ctx: click.Context, param: click.Parameter, value: int) -> None:
    """Remember -v and -q, and open the libraries' logs and warnings as far as asked."""
    if not value or ctx.resilient_parsing:
        return
    level = -1 if param.name == "quiet" else int(value)
    ctx.meta[VERBOSE] = level
    if level > 0:
        warnings.simplefilter("default")
        from geodiff_cli.progress import AboveBars

        line = "%(levelname)s %(name)s: %(message)s"
        logging.basicConfig(level=logging.INFO, format=line, handlers=[AboveBars()])
        for name in ("geodiff", "geodiff_cli"):
            logging.getLogger(name).setLevel(logging.DEBUG if level > 1 else logging.INFO)


def verbosity(command: F) -> F:
    """-v and -q."""
    shared: dict[str, Any] = {"expose_value": False, "callback": set_verbosity}
    command = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        **shared,
        help="No progress, notes or summary: only errors, and what you ask for (--json).",
    )(command)
    return click.option(
        "-v", "--verbose", count=True, **shared,
        help="Show warnings and logs; -vv also details and the traceback of an error.",
    )(command)  # fmt: skip


def is_quiet(ctx: click.Context) -> bool:
    """Whether -q was given."""
    return verbose(ctx.meta) < 0


def reporting(command: F) -> F:
    """--json, --progress, -v and -q: how a command tells what it does."""
    command = verbosity(command)
    command = click.option(
        "--progress",
        type=click.Choice(PROGRESS),
        default="auto",
        show_default=True,
        help="Progress on stderr: a bar, JSON lines or nothing; auto is a bar on a terminal.",
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result on stdout as one JSON object."
    )(command)


def out(help: str) -> Callable[[F], F]:
    """--out, -o, --output."""
    return click.option("-o", "--out", "--output", "out", required=True, metavar="FILE", help=help)


model = click.option(
    "--model", metavar="MODEL",
    help="Model directory, or hub:org/name@revision.  [default: the model in the package]",
)  # fmt: skip
bbox = click.option(
    "--bbox",
    type=BBOX,
    help="West, south, east, north in --bbox-crs; commas or spaces between them.",
)
bbox_crs = click.option(
    "--bbox-crs",
    metavar="CRS",
    help="CRS of --bbox: an EPSG code or WKT.  [default: EPSG:4326]",
)
like = click.option(
    "--like", metavar="FILE", help="Raster whose CRS, transform and size the output takes exactly."
)
size = click.option(
    "--size",
    type=SIZE,
    help="Width and height in pixels of an image without a CRS, such as 4096x4096.",
)
bands = click.option(
    "--bands", type=BANDS, help="Red, green and blue band of the raster, from 1.  [default: 1,2,3]"
)
scale = click.option(
    "--scale", type=RANGE, help="Values of the raster that become 0 and 255; 16 bit needs it."
)
gsd = click.option(
    "--gsd",
    type=float,
    metavar="METRES",
    help="Ground sample distance of a raster without CRS.  [default: the model's]",
)
device = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where the networks run; auto takes a GPU if there is one.",
)
training_device = click.option(
    "--device", type=click.Choice(DEVICES), help="Where to train.  [default: the file's]"
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")


def crs(default: str) -> Callable[[F], F]:
    """--crs, --dst-crs."""
    text = f"CRS of the output: an EPSG code or WKT; needs a box.  [default: {default}]"
    return click.option("--crs", "--dst-crs", "crs", metavar="CRS", help=text)


def res(default: str) -> Callable[[F], F]:
    """--res."""
    text = f"Pixel size in units of the output CRS; needs a box.  [default: {default}]"
    return click.option("--res", type=float, metavar="SIZE", help=text)


def examples(*lines: str) -> str:
    """An epilog of command lines that click leaves as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def text(command: F) -> F:
    """--text of commands that may go by words."""
    return click.option(
        "--text", metavar="WORDS",
        help="Words to go by instead, such as 'a dense suburb with trees' (needs the extra text).",
    )(command)  # fmt: skip


def polygons(command: F) -> F:
    """--layout-file and what belongs to it, of commands that may go by labelled polygons."""
    command = click.option(
        "--soft-border", type=float, metavar="METRES",
        help="Ground metres in which cells on both sides of a polygon's border are mixed.  "
        "[default: hard borders]",
    )(command)  # fmt: skip
    command = click.option(
        "--layer", metavar="NAME", help="Layer of --layout-file, where it has several."
    )(command)
    command = click.option(
        "--attribute", metavar="NAME",
        help="Attribute of --layout-file that holds the words, or a label that the model knows.",
    )(command)  # fmt: skip
    return click.option(
        "--layout-file", metavar="FILE",
        help="Vector file of polygons with words to go by instead (needs the extra text); without "
        "--bbox its bounds are the box.",
    )(command)  # fmt: skip


def prompt_guidance(command: F) -> F:
    """--prompt-guidance of commands that may go by words."""
    return click.option(
        "--prompt-guidance", type=float, metavar="SCALE",
        help="How strictly the layout follows the words; 1 is plain.  [default: 3]",
    )(command)  # fmt: skip


def aligned(table: Mapping[str, object]) -> str:
    """Two columns: the keys, and the values one below the other."""
    width = max(map(len, table), default=0)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in table.items())


def print_grid(ctx: click.Context, path: str, grid: EmbeddingGrid, as_json: bool) -> None:
    """What is known of an embedding grid that was written to ``path``: a line, or JSON."""
    rows, cols, features = grid.values.shape
    facts = {
        "path": path,
        "rows": rows,
        "cols": cols,
        "features": features,
        "valid": int(grid.valid.sum()),
        "cell_px": grid.cell,
        "gsd": grid.gsd,
        "crs": None if grid.grid.crs is None else grid.grid.crs_name,
        "encoder": grid.encoder,
    }
    if as_json:
        print_json(facts)
    elif not is_quiet(ctx):
        click.echo(
            f"{path}: {rows} x {cols} cells of {grid.cell} px, {facts['valid']} valid, "
            f"{features} features, {grid.grid.crs_name}, {grid.gsd:.3g} m per pixel"
        )


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout."""
    click.echo(json.dumps(value, allow_nan=False))
