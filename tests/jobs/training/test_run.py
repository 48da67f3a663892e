"""A training run stops, resumes and fails without losing what it had."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geodiff.errors import DataError, GeodiffError, OutputError
from geodiff.jobs.training.ahead import Ahead
from geodiff.jobs.training.config import RunConfig
from geodiff.jobs.training.run import Loss, Run, learning_rate
from geodiff.models.casting import cast
from geodiff.steps import Step
from tests.jobs.training.test_checkpoint import room_for


def config(folder: Path, **changes: Any) -> RunConfig:
    plain = RunConfig(
        ("none",), str(folder), steps=8, batch=2, learning_rate=1e-2, warmup=2, save_every=4,
        log_every=1, seed=3,
    )  # fmt: skip
    return replace(plain, **changes)


def network(width: int = 6) -> nn.Sequential:
    """Convolutions in channels-last layout, a batch norm with buffers, and dropout."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(width, 4, 3),
    )  # fmt: skip
    return cast(net, channels_last=True).train()


def task(net: nn.Module, seed: int, broken_at: int | None = None) -> Loss:
    def loss(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        generator = torch.Generator().manual_seed(seed * 1000 + step)
        images = torch.randn(2, 3, 9, 9, generator=generator)
        value = net(images.contiguous(memory_format=torch.channels_last)).square().mean()
        return value * (math.nan if step == broken_at else 1), {"seen": step}

    return loss


def trained(settings: RunConfig, stop: int | None = None) -> Run:
    """Train to the end, or abandon the generator at step ``stop``, as a killed process does."""
    net = network()
    run = Run(net, settings)
    for step in run.steps(task(net, settings.seed), "train"):
        if step.done == stop:
            break
    return run


def state(run: Run) -> dict[str, torch.Tensor]:
    """Weights, averages, buffers and the optimiser's moments."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in run.parameters.items():
        tensors[f"weight.{name}"] = parameter.detach()
        tensors[f"average.{name}"] = run.average[name]
        for key, value in run.optimiser.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    return tensors | {f"buffer.{name}": value for name, value in run.buffers.items()}


def assert_same(one: Run, other: Run) -> None:
    assert one.step == other.step
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_resumed_run_follows_the_same_trajectory_to_the_bit(tmp_path: Path, ema: float) -> None:
    whole = trained(config(tmp_path / "whole", ema=ema))
    trained(config(tmp_path / "parts", ema=ema), stop=6)  # two steps after its checkpoint
    resumed = trained(config(tmp_path / "parts", ema=ema))
    assert whole.step == 8
    assert_same(whole, resumed)
    weight = resumed.parameters["0.weight"]
    assert resumed.optimiser.state[weight]["exp_avg"].stride() == weight.stride()


def test_checkpoint_holds_what_the_run_holds(tmp_path: Path) -> None:
    done = trained(config(tmp_path))
    net = network()
    loaded = Run(net, config(tmp_path))
    loaded.resume()
    assert_same(done, loaded)


def test_finished_run_takes_no_further_step(tmp_path: Path) -> None:
    first = trained(config(tmp_path))
    net = network()
    again = Run(net, config(tmp_path))
    assert list(again.steps(task(net, 3), "train")) == []
    assert_same(first, again)


def test_average_follows_the_weights(tmp_path: Path) -> None:
    run = trained(config(tmp_path, ema=0.0))
    assert all(torch.equal(run.average[n], p.detach()) for n, p in run.parameters.items())
    slow = trained(config(tmp_path / "slow", ema=0.999))
    assert not torch.equal(slow.average["0.weight"], slow.parameters["0.weight"].detach())
    slow.use_average()
    assert torch.equal(slow.average["0.weight"], slow.parameters["0.weight"].detach())


def test_step_is_that_of_the_weights_whatever_progress_says(tmp_path: Path) -> None:
    trained(config(tmp_path), stop=5)
    assert json.loads((tmp_path / "progress.json").read_text()) == {"step": 4}
    (tmp_path / "progress.json").write_text('{"step": 1}')  # killed between the two writes
    assert_same(trained(config(tmp_path)), trained(config(tmp_path / "whole")))
    (tmp_path / "progress.json").unlink()
    again = Run(network(), config(tmp_path))
    again.resume()
    assert again.step == 8


def test_half_written_checkpoint_never_replaces_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(config(tmp_path), stop=5)
    good = (tmp_path / "state.safetensors").read_bytes()

    def killed(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("geodiff.jobs.training.checkpoint.save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(config(tmp_path))
    assert (tmp_path / "state.safetensors").read_bytes() == good
    assert_same(trained(config(tmp_path)), trained(config(tmp_path / "whole")))


@pytest.mark.parametrize("broken_at", [2, 6])
def test_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    tmp_path: Path, broken_at: int
) -> None:
    net = network()
    run = Run(net, config(tmp_path))
    stored = "last checkpoint is in" if broken_at > 4 else "no checkpoint was written yet"
    with pytest.raises(GeodiffError, match=f"loss became nan at step {broken_at}; .*{stored}"):
        list(run.steps(task(net, 3, broken_at), "train"))
    assert all(bool(torch.isfinite(p).all()) for p in run.parameters.values())
    if broken_at > 4:
        assert_same(trained(config(tmp_path)), trained(config(tmp_path / "whole")))


def test_gradient_that_is_not_finite_never_reaches_weights_or_checkpoint(tmp_path: Path) -> None:
    weight = nn.Linear(1, 1)
    run = Run(weight, config(tmp_path, save_every=1))

    def loss(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        root = (weight(torch.zeros(1, 1)) - weight.bias).abs().sum().sqrt()  # slope at 0: infinite
        return root if step == 2 else weight(torch.ones(1, 1)).square().sum(), {}

    with pytest.raises(GeodiffError, match=r"gradient became nan at step 2"):
        list(run.steps(loss, "train"))
    again = Run(nn.Linear(1, 1), config(tmp_path))
    again.resume()
    assert again.step == 2
    assert all(bool(torch.isfinite(p).all()) for p in again.parameters.values())


def test_weights_that_were_lost_before_a_checkpoint_do_not_end_the_run(tmp_path: Path) -> None:
    settings = config(tmp_path, save_every=1, steps=6)
    trained(settings, stop=3)
    with pytest.raises(GeodiffError, match=r"at step 4; the last checkpoint is in"):
        trained(replace(settings, learning_rate=1e30, clip=1e30))
    with pytest.raises(GeodiffError, match=r"at step 4; .* the one before it took its place"):
        trained(settings)
    assert_same(trained(settings), trained(config(tmp_path / "whole", save_every=1, steps=6)))


@pytest.mark.parametrize("other", [network(7), nn.Sequential(nn.Conv2d(3, 6, 3))])
def test_checkpoint_of_another_network_is_refused(tmp_path: Path, other: nn.Module) -> None:
    trained(config(tmp_path))
    with pytest.raises(DataError, match="of another configuration") as caught:
        Run(other, config(tmp_path)).resume()
    assert "\n" not in str(caught.value)


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    trained(config(tmp_path))
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be read .*remove it to start afresh"):
        Run(network(), config(tmp_path)).resume()


def test_frozen_weights_stay(tmp_path: Path) -> None:
    net = network()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    run = Run(net, config(tmp_path))
    list(run.steps(task(net, 3), "train"))
    assert "0.weight" not in run.parameters
    assert torch.equal(net[0].weight, before)


def test_steps_tell_what_a_reader_needs(tmp_path: Path) -> None:
    net = network()
    told = list(Run(net, config(tmp_path, log_every=3)).steps(task(net, 3), "train"))
    assert [(step.stage, step.done, step.total) for step in told] == [
        ("train", 3, 8), ("train", 6, 8), ("train", 8, 8),
    ]  # fmt: skip
    assert set(told[0].figures) == {"loss", "norm", "per_s", "seen"}


def test_learning_rate_warms_up_stays_and_falls() -> None:
    settings = RunConfig(("a",), "r", steps=100, learning_rate=2.0, warmup=10, decay=0.4)
    assert learning_rate(settings, 0) == pytest.approx(0.2)
    assert learning_rate(settings, 4) == pytest.approx(1.0)
    assert [learning_rate(settings, step) for step in (9, 30, 60)] == [2.0, 2.0, 2.0]
    assert learning_rate(settings, 80) == pytest.approx(1.0)
    assert learning_rate(settings, 70) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate(settings, 100) == pytest.approx(0.0)
    rates = [learning_rate(settings, step) for step in range(60, 101)]
    assert rates == sorted(rates, reverse=True)


def test_learning_rate_at_the_edges() -> None:
    flat = RunConfig(("a",), "r", steps=10, learning_rate=1.0, warmup=0, decay=0.0)
    assert {learning_rate(flat, step) for step in range(11)} == {1.0}
    falling = RunConfig(("a",), "r", steps=10, learning_rate=1.0, warmup=0, decay=1.0)
    assert learning_rate(falling, 5) == pytest.approx(0.5)


def test_checkpoint_of_another_configuration_is_refused_with_the_keys(tmp_path: Path) -> None:
    trained(config(tmp_path), stop=5)
    with pytest.raises(DataError, match=r"weight_decay was 0\.01, is 0\.2.*--run"):
        trained(config(tmp_path, weight_decay=0.2))
    assert trained(config(tmp_path, steps=9, learning_rate=1e-3)).step == 9


def test_figures_are_in_a_table_without_any_display(tmp_path: Path) -> None:
    trained(config(tmp_path, log_every=2), stop=6)
    trained(config(tmp_path, log_every=2))
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,stage,loss,norm,seen,per_s"
    assert [line.split(",")[0] for line in lines[1:]] == ["2", "4", "6", "8"]


def test_what_comes_after_a_step_is_told_and_recorded(tmp_path: Path) -> None:
    net = network()
    run = Run(net, config(tmp_path, log_every=8))

    def after(step: int) -> Iterator[Step]:
        if run.due(3):
            yield Step("check", step, 8, {"good": step / 2})

    told = [(s.stage, s.done) for s in run.steps(task(net, 3), "train", after)]
    assert told == [("check", 3), ("check", 6), ("train", 8), ("check", 8)]
    assert "3,check,1.5" in (tmp_path / "metrics.csv").read_text().replace(",,", ",")


def test_full_disk_stops_in_one_line_and_goes_on_later(tmp_path: Path) -> None:
    trained(config(tmp_path), stop=5)
    with room_for(2_000), pytest.raises(OutputError, match=r"cannot write .*state"):
        trained(config(tmp_path))
    assert_same(trained(config(tmp_path)), trained(config(tmp_path / "whole")))


def test_batches_drawn_ahead_are_the_same() -> None:
    drawn: list[int] = []

    def draw(step: int) -> int:
        drawn.append(step)
        return step * step

    ahead = Ahead(draw, True)
    assert [ahead(step) for step in (4, 5, 6, 2, 3)] == [16, 25, 36, 4, 9]
    plain = Ahead(draw, False)
    drawn.clear()
    assert plain(7) == 49
    assert drawn == [7]
