"""What a checkpoint's pickle may name, and the little of it that is rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geodiff.models.foreign.stored import DTYPES, Stored


@dataclass(frozen=True)
class Name:
    """Something that a pickle refers to by name; never imported."""

    path: str


@dataclass(frozen=True, eq=False)
class Mark:
    """What stands where an object of some class would be."""

    name: str


def ordered(items: Any = ()) -> dict[Any, Any]:
    """An OrderedDict, from its pairs."""
    if not isinstance(items, list | tuple):
        raise TypeError("it takes a list of pairs")
    made: dict[Any, Any] = {}
    for pair in items:  # lengths first: one long list may stand in many places
        if not (isinstance(pair, list | tuple) and len(pair) == 2):
            raise TypeError("it takes pairs")
        if not isinstance(pair[0], str | int):
            raise TypeError("its keys are neither texts nor numbers")
        made[pair[0]] = pair[1]
    return made


def tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Stored:
    """A tensor from its storage, which came as a tensor of one axis."""
    if not (isinstance(storage, Stored) and isinstance(shape, tuple) and isinstance(stride, tuple)):
        raise TypeError("it takes a storage, an offset, a shape and strides")
    return Stored(storage.place, storage.dtype, shape, stride, offset)


def parameter(data: Any, *rest: Any) -> Stored:
    """A parameter is its tensor."""
    if not isinstance(data, Stored):
        raise TypeError("it takes a tensor")
    return data


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered,
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
}
"""What is rebuilt, by the name that PyTorch calls it by."""

STORAGES = {f"torch.{kind}Storage": dtype for kind, dtype in DTYPES.items()} | {
    "torch.storage.UntypedStorage": DTYPES["Byte"],
}
"""Types of tensors by the names of their storages in a pickle."""

INERT = frozenset(
    {
        "argparse.Namespace", "collections.Counter", "collections.defaultdict", "typing.Any",
        "_codecs.encode", "numpy.dtype", "numpy.ndarray", "pathlib.PosixPath",
        "pathlib.WindowsPath", "torch.Size", "torch.device",
        *(f"torch.{name}" for name in ("float16", "float32", "float64", "bfloat16", "int64")),
        *(f"numpy.{name}" for name in ("bool_", "float32", "float64", "int32", "int64")),
        *(
            f"numpy.{core}.multiarray.{name}"
            for core in ("core", "_core") for name in ("scalar", "_reconstruct")
        ),
        *(
            f"{module}.{name}"
            for module in ("builtins", "__builtin__")
            for name in ("bool", "bytearray", "dict", "float", "int", "list", "long", "set", "str")
        ),
    }
)  # fmt: skip
"""Names that the checkpoints of training programs hold beside their tensors: they become marks."""

INERT_PACKAGES = (
    "bitsandbytes.", "lightning.", "lightning_fabric.", "omegaconf.", "pytorch_lightning.",
    "torch.optim.",
)  # fmt: skip
"""The same for all names of these packages. Whatever else a file names is refused."""


def is_known(path: str) -> bool:
    """Whether checkpoints have a reason to name it."""
    return path in CALLS or path in STORAGES or path in INERT or path.startswith(INERT_PACKAGES)
