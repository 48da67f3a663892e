"""The command `geodiff`: a table of commands, each imported only when it runs."""

from __future__ import annotations

import logging
import sys
import warnings

import click

from geodiff_cli import options
from geodiff_cli.lazy import LazyGroup

COMMANDS = {
    "synthesize": (
        "geodiff_cli.synthesize",
        "Write a synthetic mosaic as a Cloud-Optimized GeoTIFF.",
    ),
    "batch": ("geodiff_cli.batch", "Write a catalogue of mosaics: of STAC items, or of cells."),
    "embed": ("geodiff_cli.embed", "Write the embedding grid of a raster."),
    "imagine": ("geodiff_cli.imagine", "Imagine the embedding grid of a box."),
    "mix": ("geodiff_cli.mix", "Mix two embedding grids."),
    "info": ("geodiff_cli.info", "Show versions, devices and the facts of a model."),
    "prepare": ("geodiff_cli.prepare", "Cut rasters into a training set."),
    "train": ("geodiff_cli.train", "Train a codec, an encoder, a denoiser or a prior."),
    "assemble": ("geodiff_cli.assemble", "Put trained parts together into a model directory."),
    "import": ("geodiff_cli.import_", "Turn a checkpoint of another program into a model."),
    "export": ("geodiff_cli.export", "Write a model as a folder for the Hugging Face hub."),
    "load": ("geodiff_cli.load", "Fetch a model of the Hugging Face hub and check it."),
    "evaluate": ("geodiff_cli.evaluate", "Measure a model on held-out imagery."),
    "augment": ("geodiff_cli.augment", "Make synthetic variations of labelled images."),
}
"""Name of a command -> (its module, one line of help)."""


def print_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Print geodiff's version and stop."""
    if asked and not ctx.resilient_parsing:
        import geodiff

        click.echo(f"geodiff {geodiff.__version__}")
        ctx.exit()


def print_gdal_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Print the version of GDAL that rasterio brings and stop."""
    if asked and not ctx.resilient_parsing:
        from geodiff.jobs.info import versions

        click.echo(versions()["GDAL"])
        ctx.exit()


def print_versions(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Print the versions that a bug report needs and stop."""
    if asked and not ctx.resilient_parsing:
        from geodiff.jobs.info import versions

        click.echo(options.aligned(versions()))
        ctx.exit()


@click.group(
    "geodiff",
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "GEODIFF",
        "max_content_width": 100,
    },
    epilog="Every option can be set by a variable such as GEODIFF_SYNTHESIZE_SEED.",
)
@options.flag("--version", callback=print_version, help="Show the version and stop.")
@options.flag("--gdal-version", callback=print_gdal_version, help="Show GDAL's version and stop.")
@options.flag(
    "--show-versions", callback=print_versions, help="Show versions for a bug report and stop."
)
@options.verbosity
def cli() -> None:
    """Give geodiff a box on the map; it writes a large, seamless, synthetic aerial mosaic.

    \b
    geodiff synthesize --bbox -117.76,34.09,-117.75,34.098 --res 0.6 --out mosaic.tif
    """


def main() -> None:
    """Run the command line. Libraries' warnings and logs stay silent unless -v or -W asks."""
    logging.lastResort = logging.NullHandler()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    cli(prog_name="geodiff")
