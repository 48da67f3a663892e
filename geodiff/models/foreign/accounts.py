"""Where every tensor of a checkpoint goes: into a network, or out for a reason, or unaccounted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch

from geodiff.errors import ModelError
from geodiff.models.foreign.stored import Stored

REASONS = {
    "inception.": "Inception, which measured distances in training",
    "first_stage_model.loss.": "losses of the autoencoder's training",
    "logvar": "weights of the loss",
    "lvlb_weights": "weights of the loss",
    "scale_factor": "factor of the latents, kept in latents.json",
}
"""Tensors that no picture depends on, and what they are: names, and folders that end in a dot."""

LISTED = 12
"""Names that an error lists; it counts the others."""


@dataclass(frozen=True)
class Part:
    """One network: its tensors by our names, with where each lies in the checkpoint."""

    shapes: Mapping[str, tuple[int, ...]]
    names: Mapping[str, str]  # ours -> the checkpoint's


@dataclass(frozen=True)
class Accounts:
    """All tensors of a checkpoint. ``left_out`` has names by reason."""

    parts: Mapping[str, Part]
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    allowed: Sequence[str] = ()  # unknown ones that were left out, missing ones that became zero

    def tensors(
        self, part: str, state: Mapping[str, Stored], dtype: torch.dtype = torch.float32
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """The numbers of a part in ``dtype``, each read when it is its turn, by our names' order.

        Missing ones that were allowed are zeros. Raises ModelError for what is no weight.
        """
        wanted = self.parts[part]
        for ours, theirs in sorted(wanted.names.items()):
            if theirs not in state:
                yield ours, torch.zeros(wanted.shapes[ours], dtype=dtype)
                continue
            read = state[theirs].read()
            if not read.is_floating_point() or not read.isfinite().all():
                raise ModelError(f"the checkpoint's {theirs} holds what is no finite number")
            made = read.reshape(wanted.shapes[ours]).to(dtype)
            if not made.isfinite().all():
                raise ModelError(
                    f"the checkpoint's {theirs} has numbers up to {float(read.abs().max()):.3g}, "
                    f"too large for {str(dtype).removeprefix('torch.')}"
                )
            yield ours, made


def part_of(net: torch.nn.Module, name_of: Any, prefix: str) -> Part:
    """The tensors of ``net`` and where they lie: ``prefix`` and ``name_of`` of our name."""
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    return Part(shapes, {name: prefix + name_of(name) for name in shapes})


def averaged(part: Part, prefix: str) -> Part:
    """The same network with running averages of its weights, whose names have lost their dots."""
    names = {
        ours: "model_ema." + theirs.removeprefix(prefix).replace(".", "")
        for ours, theirs in part.names.items()
    }
    return Part(part.shapes, names)


def settle(
    state: Mapping[str, Stored],
    parts: Mapping[str, Part],
    left_out: Mapping[str, Iterable[str]],
    allow: Sequence[str],
) -> Accounts:
    """Account for every tensor. ``left_out`` are names by reason, besides ``REASONS``.

    Raises ModelError that lists tensors which are missing, of another shape, or unknown, unless
    their names match one of the patterns in ``allow`` (such as ``model.extra.*``).
    """
    used = {name for part in parts.values() for name in part.names.values()}
    reasons: dict[str, list[str]] = {r: sorted(set(ns) & set(state)) for r, ns in left_out.items()}
    known = {name for names in reasons.values() for name in names} | used
    unknown = []
    for name in sorted(set(state) - known):
        reason = next((why for known, why in REASONS.items() if covers(known, name)), None)
        if reason is None:
            unknown.append(name)
        else:
            reasons.setdefault(reason, []).append(name)
    missing = sorted(used - set(state))
    refuse("unknown", [name for name in unknown if not matches(name, allow)])
    refuse("missing", [name for name in missing if not matches(name, allow)])
    refuse("of another shape", list(misshapen(state, parts)), allowable=False)
    allowed = [*unknown, *missing]  # all that was not refused
    return Accounts(parts, {r: names for r, names in reasons.items() if names}, allowed)


def covers(known: str, name: str) -> bool:
    """Whether an entry of ``REASONS`` speaks of the tensor ``name``."""
    return name.startswith(known) if known.endswith(".") else name == known


def misshapen(state: Mapping[str, Stored], parts: Mapping[str, Part]) -> Iterable[str]:
    """Tensors that do not fit their places, with both shapes; kernels of 1 x 1 are matrices."""
    for part in parts.values():
        for ours, theirs in part.names.items():
            shape = part.shapes[ours]
            if theirs not in state:
                continue
            held = state[theirs].shape
            if held != shape and held != (*shape, *[1] * (len(held) - len(shape))):
                yield f"{theirs} ({held} for {shape})"


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one that was allowed."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def refuse(fault: str, names: Sequence[str], allowable: bool = True) -> None:
    """Raises ModelError that lists ``names``, if there are any."""
    if not names:
        return
    shown = ", ".join(name[:120] for name in names[:LISTED])
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    advice = ": allow them by --allow PATTERN if they do not matter" if allowable else ""
    count = f"{len(names)} tensors" if len(names) > 1 else "1 tensor"
    raise ModelError(f"the checkpoint has {count} {fault}: {shown}{more}{advice}")
