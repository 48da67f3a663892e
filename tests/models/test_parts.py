"""A part of a model is in memory once while it is read or written, whatever its size."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from geodiff.errors import ModelError
from geodiff.models.denoiser import FieldUNet
from geodiff.models.directory import Directory
from geodiff.models.parts import (
    LONGEST_JSON,
    WEIGHTS,
    filled,
    read_json,
    read_network,
    stream_tensors,
    write_network,
)  # fmt: skip
from geodiff.models.token_denoiser import UNet2DConditionModel, UNetSizes, new_unet
from geodiff.models.vq_codec import CodecSizes, VQModel, new_vq


def storages(values: Any) -> list[torch.UntypedStorage]:
    """Of the tensors among them that are on the CPU."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return [value.untyped_storage() for value in tensors if value.device.type == "cpu"]


class Memory(TorchDispatchMode):
    """Counts the bytes of storages that operations make on the CPU, not those that they look at."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        given = {storage.data_ptr() for storage in storages(args)}
        for storage in storages(made if isinstance(made, tuple | list) else (made,)):
            if storage.data_ptr() not in given:
                self.held[storage.data_ptr()] = storage  # held, so that no address comes again
        return made

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.held.values())


def unet() -> nn.Module:
    return new_unet(UNetSizes(3, 3, (32, 64), 1, (False, True), 1, 24))


def codec() -> nn.Module:
    return new_vq(CodecSizes((32, 32), 1, (False, True), 3, 40, 3))


KINDS: list[tuple[Any, Callable[[], Any]]] = [
    (UNet2DConditionModel, unet),
    (VQModel, codec),
    (FieldUNet, lambda: FieldUNet(4, 8, (16, 32), 1, 4)),
]


@pytest.mark.parametrize(("kind", "make"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_weights_are_made_once_and_none_at_random(
    kind: Any, make: Callable[[], Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    whole = make()
    write_network(whole, tmp_path)
    weights = sum(4 * value.numel() for value in whole.state_dict().values())
    before = torch.get_rng_state()
    tracemalloc.start()
    try:
        with Memory() as memory:
            net = read_network(kind, tmp_path, "part")
        beside = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert torch.equal(torch.get_rng_state(), before)
    halves = load_file(tmp_path / WEIGHTS)
    assert weights == memory.bytes
    assert beside < max(value.nbytes for value in halves.values()) + 2**20  # as the file has it
    with Memory() as memory:
        make()
    assert memory.bytes >= weights  # it does count
    assert net.state_dict().keys() == halves.keys()
    for name, value in net.state_dict().items():
        assert torch.equal(value, halves[name].float())
        assert value.is_contiguous()
        assert not value.requires_grad


class Waves(nn.Module):
    """A network with a buffer that no file has, and one that is a whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.register_buffer("rates", torch.arange(4) / 3, persistent=False)
        self.register_buffer("count", torch.tensor(0))


def test_buffers_that_no_file_has_are_computed(tmp_path: Path) -> None:
    whole = Waves()
    whole.count += 7
    save_file(whole.half().state_dict(), tmp_path / "a.safetensors")
    net = filled(Waves, tmp_path / "a.safetensors")
    assert torch.equal(net.rates, torch.arange(4) / 3)
    assert net.count.dtype == torch.int64
    assert int(net.count) == 7
    assert torch.equal(net.layer.weight, whole.layer.weight.float())


def test_the_network_does_not_hang_on_the_file(tmp_path: Path) -> None:
    """Files are replaced while networks run."""
    write_network(unet().double(), tmp_path)
    net = read_network(UNet2DConditionModel, tmp_path, "part")
    before = net.conv_in.weight.clone()
    with (tmp_path / WEIGHTS).open("r+b") as file:
        file.write(bytes((tmp_path / WEIGHTS).stat().st_size))
    assert torch.equal(net.conv_in.weight, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tensors_one_after_another_make_the_same_file(dtype: torch.dtype, tmp_path: Path) -> None:
    net = codec()
    tensors = {name: value.to(dtype) for name, value in net.state_dict().items()}
    stream_tensors(net.to("meta"), sorted(tensors.items()), dtype, tmp_path)
    save_file(tensors, tmp_path / "expected", metadata={"format": "pt"})
    assert (tmp_path / WEIGHTS).read_bytes() == (tmp_path / "expected").read_bytes()
    assert (tmp_path / "config.json").is_file()


def test_tensors_in_another_order_are_refused(tmp_path: Path) -> None:
    net = codec()
    with pytest.raises(ValueError, match="came in the place of"):
        stream_tensors(net, reversed(sorted(net.state_dict().items())), torch.float32, tmp_path)
    with pytest.raises(ValueError, match="shorter"):
        stream_tensors(net, sorted(net.state_dict().items())[:-1], torch.float32, tmp_path)


@pytest.mark.parametrize("found", ["a.bin", "diffusion_pytorch_model.fp16.safetensors", None])
def test_weights_of_another_kind_are_named(found: str | None, tmp_path: Path) -> None:
    write_network(codec(), tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / (found or "elsewhere"))
    told = f"only {found}: another precision" if found else f"it has no {WEIGHTS}$"
    with pytest.raises(ModelError, match=told) as caught:
        read_network(VQModel, tmp_path, "codec")
    assert "\n" not in str(caught.value)


def test_names_of_before_2023(tmp_path: Path) -> None:
    net = codec()
    write_network(net, tmp_path)
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, value in load_file(tmp_path / WEIGHTS).items():
        for new, before in old.items():
            name = name.replace(new, before)
        tensors[name] = value.clone()
    assert any(".proj_attn." in name for name in tensors)
    expected = read_network(VQModel, tmp_path, "codec").state_dict()
    save_file(tensors, tmp_path / WEIGHTS)
    for name, value in read_network(VQModel, tmp_path, "codec").state_dict().items():
        assert torch.equal(value, expected[name])


def test_a_hash_takes_no_memory_for_the_file(tmp_path: Path) -> None:
    (tmp_path / "codec").mkdir()
    path = tmp_path / "codec" / "a.safetensors"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(30 * 2**20)
    tracemalloc.start()
    try:
        digest = Directory(tmp_path).digest()
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
    expected = hashlib.sha256(b"codec/a.safetensors" + path.read_bytes())
    assert digest == expected.hexdigest()[:16]


@pytest.mark.parametrize(
    "changes",
    [
        {"layers_per_block": 10**9},
        {"transformer_layers_per_block": 10**9},
        {"block_out_channels": [2**20, 2**20]},
        {"cross_attention_dim": 10**12},
    ],
)
def test_a_configuration_makes_no_network_far_larger_than_its_weights(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    write_network(unet(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match="far larger network than the") as caught:
        read_network(UNet2DConditionModel, tmp_path, "denoiser")
    assert "\n" not in str(caught.value)


class Looking(nn.Linear):
    """A network that looks at numbers while it is made, as some of timm's do."""

    def __init__(self) -> None:
        super().__init__(2, 3)
        self.rate = float(torch.linspace(0, 1, 3)[1])


def test_a_network_that_looks_at_numbers_while_it_is_made(tmp_path: Path) -> None:
    whole = Looking()
    save_file(whole.state_dict(), tmp_path / "a.safetensors")
    net = filled(Looking, tmp_path / "a.safetensors")
    assert net.rate == 0.5
    assert torch.equal(net.weight, whole.weight)


def test_a_configuration_has_a_greatest_length(tmp_path: Path) -> None:
    """One that is padded beyond it is refused in one line, one just as long is read."""
    path = tmp_path / "config.json"
    path.write_text("{}".ljust(LONGEST_JSON))
    assert read_json(path, "codec") == {}
    path.write_text("{}".ljust(LONGEST_JSON + 1))
    said = r"^the codec in .* cannot be loaded: config.json is longer than 1048576 bytes: [^\n]*$"
    with pytest.raises(ModelError, match=said):
        read_json(path, "codec")
    with pytest.raises(ModelError, match=said):
        read_network(VQModel, tmp_path, "codec")
