"""A teacher's guided predictions, for a network that learns guidance (Meng et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from geodiff.errors import ModelError
from geodiff.jobs.training.batches import Batch
from geodiff.models.denoiser import FieldUNet


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network that is asked twice, with and without embeddings.

    Meng et al. 2023 (arXiv:2210.03142), equation 3, as velocities of a rectified flow.
    """

    net: FieldUNet
    bf16: bool

    @torch.no_grad()
    def target(self, batch: Batch, noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """What each crop of ``batch`` is to learn, float32 (b, c, w, w).

        ``uncond + guidance (cond - uncond)`` where it is taught, or ``uncond`` where it has no
        embeddings; elsewhere ``noise - clean``.
        """
        wanted = batch.noise - batch.clean
        rows = torch.nonzero(batch.taught)[:, 0]
        if not len(rows):
            return wanted
        twice = torch.cat([rows, rows])
        known = torch.arange(len(twice), device=rows.device) < len(rows)
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self.bf16):
            out: torch.Tensor = self.net(
                noisy[twice], time[twice], batch.field[twice], batch.gsd[twice], known
            )
        cond, uncond = out.float().chunk(2)
        scale = (batch.guidance * batch.known)[rows].view(-1, 1, 1, 1)
        wanted[rows] = uncond + scale * (cond - uncond)
        return wanted


@torch.no_grad()
def unlearned(
    net: FieldUNet, teacher: Teacher, batches: Sequence[Batch], guidance: tuple[float, float]
) -> float:
    """Squared error of guided predictions over that of the same network's unguided ones.

    At the geometric mean of the scales, everywhere with embeddings. 1 is nothing learned.
    """
    scale, missed, moved = math.sqrt(math.prod(guidance)), 0.0, 0.0
    for batch in batches:
        asked = replace(
            batch,
            guidance=torch.full_like(batch.guidance, scale),
            known=torch.ones_like(batch.known),
            taught=torch.ones_like(batch.taught),
        )
        time = batch.time.view(-1, 1, 1, 1)
        noisy = (1 - time) * batch.clean + time * batch.noise
        wanted = teacher.target(asked, noisy, batch.time)
        errors = []
        for given in (asked.guidance, torch.ones_like(asked.guidance)):
            with torch.autocast(noisy.device.type, torch.bfloat16, enabled=teacher.bf16):
                out = net(noisy, batch.time, batch.field, batch.gsd, asked.known, given)
            errors.append(float((out.float() - wanted).square().sum()))
        missed, moved = missed + errors[0], moved + errors[1]
    return missed / max(moved, 1e-12)


def with_guidance(net: FieldUNet, guidance: tuple[float, float]) -> FieldUNet:
    """``net`` with an input for scales of guidance, which changes nothing yet.

    As it is where it has one of this range. Raises ModelError where it has another.
    """
    found = tuple(net.config["guidance"])
    if found == guidance:
        return net
    if found:
        raise ModelError(
            f"the denoiser knows guidance {found[0]:g} to {found[1]:g}, not {guidance[0]:g} to "
            f"{guidance[1]:g}: train it with the range that it has"
        )
    facts = {name: value for name, value in net.config.items() if not name.startswith("_")}
    grown: FieldUNet = FieldUNet(**{**facts, "guidance": guidance})
    grown.load_state_dict({**grown.state_dict(), **net.state_dict()})
    return grown
