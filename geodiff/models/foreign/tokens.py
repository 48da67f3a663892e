"""Which conditioner a checkpoint has, told by the names and shapes of its tensors."""

from __future__ import annotations

from geodiff.errors import ModelError, UsageError
from geodiff.models.conditioner import ConditionerSizes
from geodiff.models.foreign.project import Project
from geodiff.models.foreign.sizes import CONDITIONER, DEPTH, Shapes, sized

LAYER = "encoder.layers.encoder_layer_"


def conditioner_sizes(shapes: Shapes, project: Project, level: int = 0) -> ConditionerSizes:
    """Sizes of the conditioner, to paint at the scale ``level`` (0 is the finest).

    Raises ModelError for one of another layout, UsageError for a scale that it does not know.
    """
    if "patch_fc.weight" in shapes and level:
        raise UsageError("--level is for conditioners that know scales; this one knows none")
    if "patch_fc.weight" in shapes:
        return linear_sizes(shapes, project)
    if "mag_embedding.weight" in shapes:
        return summarizer_sizes(shapes, project, level)
    raise ModelError(
        "the checkpoint's conditioner is of an unknown layout: neither "
        f"{CONDITIONER}patch_fc.weight nor {CONDITIONER}mag_embedding.weight is there"
    )


def linear_sizes(shapes: Shapes, project: Project) -> ConditionerSizes:
    """One linear map, or two."""
    width, dim = sized(shapes, "patch_fc.weight", 2, CONDITIONER)
    region = "region_fc.weight" in shapes
    beside = sized(shapes, "region_fc.weight", 2, CONDITIONER)[1] if region else 0
    given = project.conditioner
    project.agree("patch_embed_dim", given.get("patch_embed_dim"), dim)
    if region:
        project.agree("region_embed_dim", given.get("region_embed_dim"), beside)
    return ConditionerSizes(
        kind="pair" if region else "patch",
        dim=dim,
        width=width,
        region=beside,
        # All published models normalise, though the option's own default is not to.
        normalise="l2" if given.get("normalize_ssl", project.path is None) else "none",
    )


def summarizer_sizes(shapes: Shapes, project: Project, level: int) -> ConditionerSizes:
    """A transformer over a grid of embeddings and their scale."""
    levels, hidden = sized(shapes, "mag_embedding.weight", 2, CONDITIONER)
    tokens = sized(shapes, "encoder.pos_embedding", 3, CONDITIONER)[1]
    layers = {name.removeprefix(LAYER).split(".")[0] for name in shapes if name.startswith(LAYER)}
    given = project.conditioner
    dim = sized(shapes, "dim_reduce.weight", 2, CONDITIONER)[1]
    if len(layers) > DEPTH:
        raise ModelError(f"the conditioner in the checkpoint has {len(layers)} layers")
    first = conditioner_name(f"{LAYER}0.mlp.0.weight", shapes)
    mlp = sized(shapes, first, 2, CONDITIONER)[0]
    for name, found in (
        ("input_channels", dim), ("hidden_channels", hidden), ("vit_mlp_dim", mlp),
        ("num_layers", len(layers)), ("mag_levels", levels), ("seq_length", tokens - 1),
    ):  # fmt: skip
        project.agree(name, given.get(name), found)
    try:
        return ConditionerSizes(
            kind="summarizer",
            dim=dim,
            width=sized(shapes, "final_proj.weight", 2, CONDITIONER)[0],
            normalise="zscore",
            cells=tokens - 1,
            levels=levels,
            level=level,
            layers=len(layers),
            heads=int(project.number(given, "num_heads", 8)),
            hidden=hidden,
            mlp=mlp,
            final_norm="layer_norm.weight" in shapes,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def conditioner_name(name: str, shapes: Shapes) -> str:
    """Name in the checkpoint of the tensor ``name`` of our conditioner, which is mostly the same.

    Old versions of torchvision called the layers of a perceptron linear_1 and linear_2.
    """
    if name in shapes:
        return name
    old = name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")
    return old if old in shapes else name
