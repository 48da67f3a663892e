"""Reading and writing one part of a model in diffusers' layout: config.json and safetensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from geodiff.errors import DataError, ModelError
from geodiff.models.files import tidy
from geodiff.models.foreign.safetensors_file import read_safetensors
from geodiff.models.foreign.stored import Stored
from geodiff.models.limits import no_larger_than

WEIGHTS = "diffusion_pytorch_model.safetensors"
"""Name of the weights in diffusers' layout."""

RUN = (".bin", ".ckpt", ".pt", ".pth")
"""Endings of weights that are pickles."""

OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of attention by the names that files of before 2023 have for them."""

STREAMED = {torch.float32: "F32", torch.float16: "F16"}
"""Types of tensors that are written one at a time, by their names in a header."""

UNREADABLE = (
    OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, DataError,
)  # fmt: skip
"""What files that are missing, damaged or of another network make their readers raise."""

LONGEST_JSON = 1 << 20
"""Bytes of a JSON file that describes a part of a model, at most: they are a few thousand."""


def read_network(kind: Any, folder: Path, part: str) -> Any:
    """The network of class ``kind`` in ``folder``: single precision, frozen, for inference.

    ``part`` names it in errors. Raises ModelError in one line where files are missing or damaged,
    or the weights are not exactly those of the network that config.json describes.
    """
    try:
        facts = parsed(folder / "config.json")
        if facts.get("_class_name") != kind.__name__:
            raise ValueError(f"config.json describes no {kind.__name__}")
        net = filled(lambda: kind.from_config(facts), weights_of(folder))
    except (*UNREADABLE, AttributeError) as error:
        raise unreadable(part, folder, error) from error
    return net


def weights_of(folder: Path) -> Path:
    """The file of weights. Raises ValueError that names what is there in its place."""
    path = folder / WEIGHTS
    if not path.is_file():
        others = sorted(
            file.name for file in folder.iterdir() if file.suffix in (".safetensors", *RUN)
        )
        if not others:
            raise ValueError(f"it has no {WEIGHTS}")
        advice = "another precision, a part of them, or a pickle, which is never run"
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise ValueError(f"it has no {WEIGHTS}, only {shown}: {advice}")
    return path


def filled(make: Callable[[], nn.Module], path: Path) -> Any:
    """The network that ``make`` makes with the numbers of ``path``: float32, frozen, for inference.

    Its weights are made once, each from the file: the network is built without memory, so that
    nothing is drawn at random first, and takes the numbers as its own. What is no weight (buffers
    that no file has) comes from a network built in full, where there is any. Raises what the
    readers of damaged files raise, RuntimeError for weights of another network, and ValueError
    before it makes one that is far larger than the file.
    """
    stored = tensors_of(path)
    with no_larger_than(stored):
        net = without_memory(make)
        if net is not None:
            net.load_state_dict(renamed(single(stored), net), assign=True)
        if net is None or any(value.is_meta for value in (*net.parameters(), *net.buffers())):
            net = make()
            net.load_state_dict(renamed(single(stored), net))
    return net.float().eval().requires_grad_(False)


def without_memory(make: Callable[[], nn.Module]) -> nn.Module | None:
    """The network without numbers; None for one that looks at numbers while it is made."""
    try:
        with torch.device("meta"):
            return make()
    except RuntimeError:
        return None


def tensors_of(path: Path) -> dict[str, Stored]:
    """The tensors of a file, still in it. Raises DataError for a damaged file."""
    if not path.is_file():
        raise ValueError(f"it has no {path.name}")
    return read_safetensors(path)


def single(stored: Mapping[str, Stored]) -> dict[str, torch.Tensor]:
    """The tensors in memory of their own, with numbers in single precision.

    One at a time is there as the file has it too. Raises DataError for a damaged file.
    """
    made = {}
    for name, tensor in stored.items():
        held = tensor.read()
        kind = torch.float32 if held.is_floating_point() else held.dtype
        made[name] = held.to(kind, copy=True)  # where PyTorch wants it: its kernels care
    return made


def renamed(tensors: dict[str, torch.Tensor], net: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors by today's names: diffusers called layers of attention otherwise until 2023."""
    wanted, made = net.state_dict().keys(), {}
    for name, value in tensors.items():
        place, _, kind = name.rpartition(".")
        place, _, layer = place.rpartition(".")
        known = name in wanted or layer not in OLD
        made[name if known else f"{place}.{OLD[layer]}.{kind}"] = value
    return made


def read_json(path: Path, part: str) -> dict[str, Any]:
    """The table in a JSON file of ``part``. Raises ModelError in one line where there is none."""
    try:
        return parsed(path)
    except UNREADABLE as error:
        raise unreadable(part, path.parent, error) from error


def parsed(path: Path) -> dict[str, Any]:
    """The table in a JSON file. Raises OSError, ValueError or RecursionError where there is none.

    No more than LONGEST_JSON bytes are read; ValueError says so for longer files.
    """
    with path.open("rb") as file:
        raw = file.read(LONGEST_JSON + 1)
    if len(raw) > LONGEST_JSON:
        raise ValueError(f"{path.name} is longer than {LONGEST_JSON} bytes: no such file is")
    facts = json.loads(raw.decode("utf-8"))
    if not isinstance(facts, dict):
        raise ValueError(f"{path.name} holds no table")
    return facts


def write_network(net: Any, folder: Path) -> None:
    """Write what :func:`read_network` reads, in half precision; ``net`` stays as it is."""
    write_tensors(net, half(net), folder)


def write_tensors(net: Any, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Write the configuration of ``net`` with the numbers ``tensors``, in their own precision."""
    write_config(net, folder)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    tidy(folder / WEIGHTS)


def stream_tensors(
    net: Any, tensors: Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype, folder: Path
) -> None:
    """The same files for numbers that come one after another, in the order of their names.

    Only one tensor at a time is in memory. All are of ``dtype``, float32 or float16, and of the
    shapes that ``net`` has, whose own numbers are not looked at. Raises ValueError for others.
    """
    write_config(net, folder)
    shapes = {name: list(value.shape) for name, value in sorted(net.state_dict().items())}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        first, end = end, end + prod(shape) * dtype.itemsize
        header[name] = {"dtype": STREAMED[dtype], "shape": shape, "data_offsets": [first, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for (name, shape), (given, value) in zip(shapes.items(), tensors, strict=True):
            if (given, list(value.shape), value.dtype) != (name, shape, dtype):
                raise ValueError(f"{given} {tuple(value.shape)} came in the place of {name}")
            file.write(value.contiguous().numpy().data)


def write_config(net: Any, folder: Path) -> None:
    """Write config.json of ``net``."""
    folder.mkdir(parents=True, exist_ok=True)
    net.save_config(folder)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    facts.pop("_name_or_path", None)  # where it was read from is nobody else's business
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def half(net: Any) -> dict[str, torch.Tensor]:
    """The state of ``net`` on the CPU with numbers in half precision, whole numbers as they are."""
    state = {name: value.detach().cpu() for name, value in net.state_dict().items()}
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }


def unreadable(part: str, folder: Path, error: BaseException) -> ModelError:
    """The one-line ModelError for a part that cannot be read."""
    reason = " ".join(str(error).split())
    shown = reason if len(reason) <= 300 else f"{reason[:300]}..."
    return ModelError(f"the {part} in {folder} cannot be loaded: {shown}")
