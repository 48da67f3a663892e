"""Latent diffusion written down plainly, with the names that its checkpoints have.

From the published descriptions: the UNet and its tokens of Rombach et al. 2022 (arXiv:2112.10752)
and Graikos et al. 2024 (arXiv:2312.07330), the autoencoder of Esser et al. 2021 (arXiv:2012.09841),
the summarizer of Yellapragada et al. 2025 (arXiv:2411.16969). No code is shared with the package or
with diffusers: tests compare the two.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """A residual block of the UNet; the time enters as a shift between its convolutions."""

    def __init__(self, before: int, after: int, time: int) -> None:
        super().__init__()
        conv = nn.Conv2d(before, after, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(32, before), nn.SiLU(), conv)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, after))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, after), nn.SiLU(), nn.Identity(), nn.Conv2d(after, after, 3, padding=1)
        )
        if before != after:
            self.skip_connection = nn.Conv2d(before, after, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        h = self.in_layers(x) + self.emb_layers(time)[:, :, None, None]
        skip = self.skip_connection(x) if hasattr(self, "skip_connection") else x
        return skip + self.out_layers(h)


class Attention(nn.Module):
    """softmax(q k / sqrt(d)) v over ``heads`` heads."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        split = [
            one.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for one in (self.to_q(x), self.to_k(context), self.to_v(context))
        ]
        query, key, value = split
        shares = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        return self.to_out((shares @ value).transpose(1, 2).flatten(2))


class Gated(nn.Module):
    """A linear layer whose second half, through a GELU, opens and closes the first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gated(width), nn.Identity(), nn.Linear(4 * width, width))


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a norm."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, context, heads)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        seen = self.norm1(x)
        x = x + self.attn1(seen, seen)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff.net(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, width: int, context: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList(Block(width, context, heads) for _ in range(depth))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        h = self.proj_in(self.norm(x))
        row = h.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            row = block(row, context)
        return x + self.proj_out(row.transpose(1, 2).reshape(h.shape))


class Down(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)


class Up(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)


class UNet(nn.Module):
    """Predicts the noise. ``attended`` are the strides at which levels have transformers."""

    def __init__(
        self, channels: int = 3, base: int = 32, mult: tuple[int, ...] = (1, 1, 2),
        blocks: int = 2, attended: tuple[int, ...] = (2, 4), context: int = 24, heads: int = 1,
        depth: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.base, time = base, 4 * base
        self.time_embed = nn.Sequential(nn.Linear(base, time), nn.SiLU(), nn.Linear(time, time))

        def level(before: int, after: int, stride: int) -> nn.ModuleList:
            layers: list[nn.Module] = [Residual(before, after, time)]
            if stride in attended:
                layers.append(Transformer(after, context, heads, depth))
            return nn.ModuleList(layers)

        def first() -> nn.ModuleList:
            return nn.ModuleList([nn.Conv2d(channels, base, 3, padding=1)])

        widths = [base * factor for factor in mult]
        self.input_blocks, held, width = nn.ModuleList([first()]), [base], base
        for i, after in enumerate(widths):
            for _ in range(blocks):
                self.input_blocks.append(level(width, after, 2**i))
                width = after
                held.append(width)
            if i < len(widths) - 1:
                self.input_blocks.append(nn.ModuleList([Down(width)]))
                held.append(width)
        self.middle_block = nn.ModuleList(
            [Residual(width, width, time), Transformer(width, context, heads, depth),
             Residual(width, width, time)]
        )  # fmt: skip
        self.output_blocks = nn.ModuleList()
        for i in range(len(widths) - 1, -1, -1):
            for j in range(blocks + 1):
                layers = level(width + held.pop(), widths[i], 2**i)
                width = widths[i]
                if i and j == blocks:
                    layers.append(Up(width))
                self.output_blocks.append(layers)
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Noisy latents (batch, channel, row, col), steps (batch,), tokens (batch, token, n)."""
        half = self.base // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = t[:, None].float() * rates
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)  # in single precision, always
        time = self.time_embed(waves.to(x.dtype))

        def run(layers: Any, h: torch.Tensor) -> torch.Tensor:
            for layer in layers:
                if isinstance(layer, Residual):
                    h = layer(h, time)
                elif isinstance(layer, Transformer):
                    h = layer(h, context)
                elif isinstance(layer, Down):
                    h = layer.op(h)
                elif isinstance(layer, Up):
                    h = layer.conv(h.repeat_interleave(2, 2).repeat_interleave(2, 3))
                else:
                    h = layer(h)
            return h

        held = []
        for layers in self.input_blocks:
            x = run(layers, x)
            held.append(x)
        x = run(self.middle_block, x)
        for layers in self.output_blocks:
            x = run(layers, torch.cat([x, held.pop()], dim=1))
        return self.out(x)


class Resnet(nn.Module):
    """A residual block of the autoencoder."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = norm(after), nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        skip = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        return skip + self.conv2(F.silu(self.norm2(h)))


class PixelAttention(nn.Module):
    """Attention of one head between all positions of the autoencoder's features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        query, key, value = (layer(h).flatten(2) for layer in (self.q, self.k, self.v))
        shares = (query.transpose(1, 2) @ key / math.sqrt(x.shape[1])).softmax(-1)
        return x + self.proj_out((value @ shares.transpose(1, 2)).reshape(x.shape))


class Level(nn.Module):
    def __init__(self, widths: list[int], attended: bool) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.block = nn.ModuleList(Resnet(before, after) for before, after in pairs)
        self.attn = nn.ModuleList(PixelAttention(after) for _, after in pairs if attended)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            x = self.attn[i](x) if len(self.attn) else x
        return x


class Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1, self.attn_1 = Resnet(width, width), PixelAttention(width)
        self.block_2 = Resnet(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Conv(nn.Module):
    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=stride, padding=2 - stride)


class Side(nn.Module):
    """What encoder and decoder have in common."""

    def __init__(self, into: int, first: int, last: int, out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(into, first, 3, padding=1)
        self.norm_out, self.conv_out = norm(last), nn.Conv2d(last, out, 3, padding=1)

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_out(F.silu(self.norm_out(x)))


class Encoder(Side):
    def __init__(self, widths: list[int], blocks: int, channels: int, attended: bool) -> None:
        super().__init__(3, widths[0], widths[-1], channels)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level([widths[max(i - 1, 0)]] + [width] * blocks, attended and i > 0)
            if i < len(widths) - 1:
                level.downsample = Conv(width, 2)
            self.down.append(level)
        self.mid = Middle(widths[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if hasattr(level, "downsample"):
                x = level.downsample.conv(F.pad(x, (0, 1, 0, 1)))
        return self.finish(self.mid(x))


class Decoder(Side):
    def __init__(self, widths: list[int], blocks: int, channels: int, attended: bool) -> None:
        super().__init__(channels, widths[-1], widths[0], 3)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):  # from fine to coarse, run from the last to the first
            before = widths[min(i + 1, len(widths) - 1)]
            level = Level([before] + [width] * (blocks + 1), attended and i > 0)
            if i > 0:
                level.upsample = Conv(width, 1)
            self.up.append(level)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
            if hasattr(level, "upsample"):
                x = level.upsample.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        return self.finish(x)


class Book(nn.Module):
    def __init__(self, codes: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, length)


class Autoencoder(nn.Module):
    """Pixels in -1..1 to latents and back; the nearest codes are taken on the way back."""

    def __init__(
        self, base: int = 32, mult: tuple[int, ...] = (1, 1, 2), blocks: int = 2,
        channels: int = 3, codes: int = 50, attended: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [base * factor for factor in mult]
        self.encoder = Encoder(widths, blocks, channels, attended)
        self.decoder = Decoder(widths, blocks, channels, attended)
        self.quantize = Book(codes, channels)
        self.quant_conv = nn.Conv2d(channels, channels, 1)
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.quant_conv(self.encoder(pixels))

    def decode(self, latents: torch.Tensor, quantised: bool = True) -> torch.Tensor:
        if quantised:
            book = self.quantize.embedding.weight
            gaps = (latents[:, None] - book[None, :, :, None, None]).square().sum(2)
            latents = book[gaps.argmin(1)].movedim(-1, 1)
        return self.decoder(self.post_quant_conv(latents))


class Patch(nn.Module):
    """One token of the patch's embedding; with ``region``, a second one of a region's."""

    def __init__(self, dim: int = 12, width: int = 24, region: int = 0) -> None:
        super().__init__()
        self.patch_fc = nn.Linear(dim, width)
        self.region = region
        if region:
            self.region_fc = nn.Linear(region, width)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, dim) -> (batch, token, width); the region's embedding is zero."""
        tokens = [self.patch_fc(F.normalize(vectors, dim=-1))]
        if self.region:
            nothing = vectors.new_zeros(len(vectors), self.region)
            tokens.append(self.region_fc(F.normalize(nothing, dim=-1)))
        return torch.stack(tokens, dim=1)


class SummarizerLayer(nn.Module):
    def __init__(self, hidden: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(hidden, eps=1e-6) for _ in range(2))
        self.self_attention = nn.Module()
        self.self_attention.in_proj_weight = nn.Parameter(torch.randn(3 * hidden, hidden) / 4)
        self.self_attention.in_proj_bias = nn.Parameter(torch.randn(3 * hidden))
        self.self_attention.out_proj = nn.Linear(hidden, hidden)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, mlp), nn.GELU(), nn.Identity(), nn.Linear(mlp, hidden)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = self.self_attention
        mixed = F.linear(self.ln_1(x), part.in_proj_weight, part.in_proj_bias)
        query, key, value = (
            one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in mixed.chunk(3, dim=-1)
        )
        shares = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        x = x + part.out_proj((shares @ value).transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class Summarizer(nn.Module):
    """65 tokens of a grid of up to 8 x 8 embeddings and of their scale."""

    def __init__(
        self, dim: int = 12, width: int = 24, levels: int = 5, hidden: int = 24, layers: int = 2,
        heads: int = 8, mlp: int = 32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mag_embedding = nn.Embedding(levels, hidden)
        self.dim_reduce = nn.Linear(dim, hidden)
        self.pad_token = nn.Parameter(torch.randn(1, 1, hidden))
        self.encoder = nn.Module()
        self.encoder.pos_embedding = nn.Parameter(torch.randn(1, 65, hidden))
        self.encoder.layers = nn.ModuleDict(
            {f"encoder_layer_{i}": SummarizerLayer(hidden, heads, mlp) for i in range(layers)}
        )
        self.encoder.ln = nn.LayerNorm(hidden, eps=1e-6)
        self.final_proj = nn.Linear(hidden, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, grids: torch.Tensor, level: int) -> torch.Tensor:
        """Grids (batch, dim, side, side) -> (batch, 65, width)."""
        batch, dim, side, _ = grids.shape
        spread = grids.std(1, keepdim=True) + 1e-8
        seen = ((grids - grids.mean(1, keepdim=True)) / spread).reshape(batch, dim, -1)
        row = self.pad_token.expand(batch, 64, -1).clone()
        first = 32 if side == 1 else 32 - side * side // 2
        row[:, first : first + side * side] = self.dim_reduce(seen.transpose(1, 2))
        scale = self.mag_embedding(torch.full((batch, 1), level))
        x = torch.cat([scale, row], dim=1) + self.encoder.pos_embedding
        for layer in self.encoder.layers.values():
            x = layer(x)
        return self.layer_norm(self.final_proj(self.encoder.ln(x)))


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)


def schedule(steps: int = 1000, start: float = 0.0015, end: float = 0.0195) -> dict[str, Any]:
    """The buffers that a checkpoint keeps of its schedule, float32 (steps,)."""
    betas = [(start**0.5 + (end**0.5 - start**0.5) * i / (steps - 1)) ** 2 for i in range(steps)]
    kept, total = [], 1.0
    for beta in betas:
        total *= 1 - beta
        kept.append(total)
    before = [1.0, *kept[:-1]]
    rows = list(zip(betas, kept, before, strict=True))
    table = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": [math.sqrt(a) for a in kept],
        "sqrt_one_minus_alphas_cumprod": [math.sqrt(1 - a) for a in kept],
        "log_one_minus_alphas_cumprod": [math.log(1 - a) for a in kept],
        "sqrt_recip_alphas_cumprod": [math.sqrt(1 / a) for a in kept],
        "sqrt_recipm1_alphas_cumprod": [math.sqrt(1 / a - 1) for a in kept],
        "posterior_variance": [b * (1 - p) / (1 - a) for b, a, p in rows],
        "posterior_log_variance_clipped": [
            math.log(max(b * (1 - p) / (1 - a), 1e-20)) for b, a, p in rows
        ],
        "posterior_mean_coef1": [b * math.sqrt(p) / (1 - a) for b, a, p in rows],
        "posterior_mean_coef2": [(1 - p) * math.sqrt(1 - b) / (1 - a) for b, a, p in rows],
    }
    return {name: torch.tensor(values) for name, values in table.items()}


def lively(net: nn.Module, seed: int) -> nn.Module:
    """The network with random norms and biases too, frozen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net.eval().requires_grad_(False)


class LatentDiffusion:
    """A whole model of tiny networks, and the table of tensors that its checkpoint has."""

    def __init__(self, conditioner: nn.Module, unet: UNet | None = None, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.unet = lively(unet or UNet(), seed)
        self.codec = lively(Autoencoder(), seed + 1)
        self.conditioner = lively(conditioner, seed + 2)

    def state(self, averages: UNet | None = None) -> dict[str, torch.Tensor]:
        """``averages`` is a UNet whose weights are kept as running averages beside the raw ones."""
        state = schedule()
        for prefix, net in (
            ("model.diffusion_model.", self.unet), ("first_stage_model.", self.codec),
            ("cond_stage_model.", self.conditioner),
        ):  # fmt: skip
            state |= {prefix + name: value for name, value in net.state_dict().items()}
        if averages is not None:
            state |= {"model_ema.decay": torch.tensor(0.9999)}
            state |= {"model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}
            state |= {
                "model_ema.diffusion_model" + name.replace(".", ""): value
                for name, value in averages.state_dict().items()
            }
        return state
