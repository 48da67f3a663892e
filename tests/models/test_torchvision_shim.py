"""torchvision's state is met as it is: works, misses its operators, is absent, is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

USE = """
from geodiff.models.torchvision_shim import ensure_torchvision
ensure_torchvision()
ensure_torchvision()
import torch
from geodiff.models.codec import Codec, new_autoencoder
net = new_autoencoder(4, (8, 8), (0, 1), (0, 1)).eval()
made = Codec(net, torch.zeros(4), torch.ones(4)).decode(torch.zeros(1, 4, 4, 4))
print("decoded", tuple(made.shape))
"""

# Not a finder that raises: whoever asks find_spec must get None, as where nothing is installed.
HIDE = """
import sys
class Hiding:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            return None
        return self.inner.find_spec(name, path, target)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""


def run(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path[:0] = {[str(path) for path in (*paths, ROOT)]}\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", start + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_as_installed_here() -> None:
    done = run(
        USE + "import timm, torchvision\n"
        "timm.create_model('test_resnet')\n"
        "from torchvision.transforms import InterpolationMode\n"
        "print('works', 'torchvision' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    assert "decoded (1, 3, 8, 8)" in done.stdout
    assert "works True" in done.stdout


def test_absent() -> None:
    done = run(
        HIDE + USE + "from geodiff.models import torchvision_shim\n"
        "print('declared', torchvision_shim._DECLARED, 'torchvision' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    assert "decoded (1, 3, 8, 8)" in done.stdout
    assert "declared [] False" in done.stdout


def test_operators_missing_or_otherwise_broken(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n"
        "if not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    shim = "from geodiff.models.torchvision_shim import ensure_torchvision\nensure_torchvision()\n"
    done = run(shim + "import torchvision; print('declared', torchvision.__file__)", tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(package) in done.stdout
    (package / "__init__.py").write_text("raise RuntimeError('the disk is on fire')")
    done = run(shim, tmp_path)
    assert done.returncode == 1
    assert "the disk is on fire" in done.stderr
