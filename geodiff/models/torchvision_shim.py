"""Makes PyPI's torchvision importable beside a CPU-only torch.

PyPI's torchvision wheel is built against CUDA torch: its compiled operators do not load beside a
CPU-only torch, and ``import torchvision`` then stops at "operator torchvision::nms does not
exist", which takes timm and diffusers' model classes down with it. geodiff uses none of these
operators, so declaring their signatures is enough.
"""

from __future__ import annotations

import importlib
import sys

import torch

_DECLARED: list[torch.library.Library] = []  # a Library's declarations die with it


def ensure_torchvision() -> None:
    """Import torchvision, declaring its missing operators only when the plain import fails.

    Does nothing where torchvision imports or is not installed at all. Call before the first import
    of timm or of diffusers' models.
    """
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
        return
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(  # type: ignore[no-untyped-call]
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    _DECLARED.append(library)
    importlib.import_module("torchvision")
