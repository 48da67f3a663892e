"""Reading and writing one part of a model in diffusers' layout: config.json and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from geodiff.errors import ModelError

WEIGHTS = "diffusion_pytorch_model.safetensors"
"""Name of the weights in diffusers' layout."""

UNREADABLE = (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError)
"""What files that are missing, damaged or of another network make their readers raise."""


def read_network(kind: Any, folder: Path, part: str) -> Any:
    """The network of class ``kind`` in ``folder``: single precision, frozen, for inference.

    ``part`` names it in errors. Raises ModelError in one line where files are missing or damaged,
    or the weights are not exactly those of the network that config.json describes.
    """
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if facts.get("_class_name") != kind.__name__:
            raise ValueError(f"config.json describes no {kind.__name__}")
        net = kind.from_config(facts)
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (*UNREADABLE, AttributeError) as error:
        raise unreadable(part, folder, error) from error
    return net.float().eval().requires_grad_(False)


def read_json(path: Path, part: str) -> dict[str, Any]:
    """The table in a JSON file of ``part``. Raises ModelError in one line where there is none."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError(f"{path.name} holds no table")
    except UNREADABLE as error:
        raise unreadable(part, path.parent, error) from error
    return facts


def write_network(net: Any, folder: Path) -> None:
    """Write what :func:`read_network` reads, in half precision; ``net`` stays as it is."""
    write_tensors(net, half(net), folder)


def write_tensors(net: Any, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Write the configuration of ``net`` with the numbers ``tensors``, in their own precision."""
    folder.mkdir(parents=True, exist_ok=True)
    net.save_config(folder)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    facts.pop("_name_or_path", None)  # where it was read from is nobody else's business
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


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
