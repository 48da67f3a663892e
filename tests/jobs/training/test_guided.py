"""A network learns the guidance that its teacher gives with two calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from geodiff.diffusion import Guided, Precondition
from geodiff.jobs.train_denoiser import batch_loss
from geodiff.jobs.training.batches import Batch
from geodiff.jobs.training.config import DenoiserConfig
from geodiff.jobs.training.guided import Teacher, unlearned, with_guidance
from geodiff.models.denoiser import FieldUNet
from tests.tiny import lively_unet


@pytest.fixture(scope="module")
def net() -> FieldUNet:
    """A tiny network to which the field matters."""
    return lively_unet()


def batch(n: int = 6) -> Batch:
    """Random crops; every second one is taught."""
    random = torch.Generator().manual_seed(1)
    draw = [torch.randn(n, channels, 8, 8, generator=random) for channels in (4, 4, 8)]
    return Batch(
        clean=draw[0], noise=draw[1], field=torch.nn.functional.normalize(draw[2], dim=1),
        gsd=torch.full((n,), 0.6), time=torch.linspace(0.2, 0.9, n), known=torch.ones(n) > 0,
        guidance=torch.tensor([1.0, 3.0] * (n // 2)), taught=torch.tensor([False, True] * (n // 2)),
    )  # fmt: skip


def test_teacher_gives_what_guided_sampling_takes(net: FieldUNet) -> None:
    given = batch()
    time = given.time.view(-1, 1, 1, 1)
    noisy = (1 - time) * given.clean + time * given.noise
    wanted = Teacher(net, bf16=False).target(given, noisy, given.time)
    plain = given.noise - given.clean
    assert torch.equal(wanted[::2], plain[::2])
    for row in range(1, 6, 2):
        one = slice(row, row + 1)

        def clean(known: bool, one: slice = one) -> Precondition:
            asked = torch.tensor([known])
            return Precondition(lambda x, at: net(x, at, given.field[one], given.gsd[one], asked))

        late = float(given.time[row])
        sigma = late / (1 - late)
        guided = Guided(clean(True), clean(False), 3.0)(noisy[one] * (1 + sigma), sigma)
        torch.testing.assert_close(noisy[one] - late * wanted[one], guided, atol=1e-4, rtol=1e-4)


def test_teacher_teaches_what_it_says_without_embeddings(net: FieldUNet) -> None:
    given = replace(batch(), known=torch.zeros(6) > 0, taught=torch.ones(6) > 0)
    noisy = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    wanted = Teacher(net, bf16=False).target(given, noisy, given.time)
    plain = net(noisy, given.time, given.field, given.gsd, given.known)
    torch.testing.assert_close(wanted, plain)


def test_loss_of_a_batch_is_the_mean_of_its_shares(net: FieldUNet) -> None:
    """Ranks that take a share each repeat what one process does."""
    config = DenoiserConfig(("d",), "r", codec="c", encoder="e", bf16=False)
    teacher, student, whole = Teacher(net, bf16=False), with_guidance(net, (1.0, 4.0)), batch()
    with torch.no_grad():
        student.guided[-1].weight.add_(0.1)
        losses = [
            batch_loss(student, share(whole, rows), config, teacher)
            for rows in (slice(0, 6), slice(0, 3), slice(3, 6))
        ]
    assert float(losses[0]) == pytest.approx(float(losses[1] + losses[2]) / 2, rel=1e-5)


def share(whole: Batch, rows: slice) -> Batch:
    names = ("clean", "noise", "field", "gsd", "time", "known", "guidance", "taught")
    return replace(whole, **{name: getattr(whole, name)[rows] for name in names})


def test_what_is_not_learned_falls_from_one(net: FieldUNet) -> None:
    teacher, given = Teacher(net, bf16=False), batch()
    given = replace(given, guidance=torch.full((6,), 2.0), taught=torch.ones(6) > 0)
    student = with_guidance(net, (1.0, 4.0))
    before = unlearned(student, teacher, [given], (1.0, 4.0))
    assert before == pytest.approx(1.0)
    time = given.time.view(-1, 1, 1, 1)
    noisy = (1 - time) * given.clean + time * given.noise
    optimiser = torch.optim.Adam(student.parameters(), 3e-3)
    for _ in range(60):
        out = student(noisy, given.time, given.field, given.gsd, given.known, given.guidance)
        loss = (out - teacher.target(given, noisy, given.time)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert unlearned(student.eval(), teacher, [given], (1.0, 4.0)) < 0.9
