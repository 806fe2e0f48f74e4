"""Vectors agree with timm's own penultimate layer, whatever the batch and the precision, and everything else is known without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import connector
from connector.encoders import memory
from connector.encoders.timm import TimmEncoder
from connector.errors import ConfigError, EncodeError, OutOfMemory
from connector.interfaces import DeviceSpec, Head, identity
from connector.testing.encoder_check import check_encoder
from tests.pictures import encoded, picture

KINDS = {"resnet10t": 512, "mobilenetv3_small_050": 1024, "vit_tiny_patch16_224": 192, "convnext_atto": 320, "efficientvit_b0": 1280}
"""Small networks of every sort, and the width of their classifiers."""

PICTURES = [picture(60 + 20 * seed, 90, seed) for seed in range(6)]
Vectors = npt.NDArray[np.float32]


def save(folder: Path, kind: str, **args: Any) -> Path:
    """A random model in the form that timm saves for the Hub, with statistics of normalisation that are not all zeros and ones."""
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(3)
    network = timm.create_model(kind, num_classes=10, **args)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
            torch.nn.init.normal_(layer.running_mean, std=0.2)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    save_for_hf(network, folder, model_config={}, model_args=args, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Each kind of random model, saved once."""
    built: dict[str, Path] = {}

    def model(kind: str) -> Path:
        if kind not in built:
            built[kind] = save(tmp_path_factory.mktemp(kind) / kind, kind)
        return built[kind]

    return model


def vectors(encoder: TimmEncoder, head: Head | None = None, *, precision: Any = "fp32", batch: Any = "auto") -> Vectors:
    """Of all pictures, in one batch."""
    prepare = encoder.preparer("document")
    with encoder.open(DeviceSpec(device="cpu", precision=precision, batch=batch)) as model:
        output = model.forward([prepare(one) for one in PICTURES], [encoder.resolve(head or Head())])[0]
    assert isinstance(output, np.ndarray)
    assert output.dtype == np.float32
    return output.astype(np.float32, copy=False)


def reference(folder: Path, **args: Any) -> Vectors:
    """The same by timm alone: its loader, its transform, its head, one picture at a time."""
    import timm
    import torch
    from timm.data import create_transform, resolve_model_data_config

    network = timm.create_model(f"local-dir:{folder}", pretrained=True, **args).eval()
    transform: Any = create_transform(**resolve_model_data_config(network), is_training=False)
    with torch.inference_mode():
        found = [network.forward_head(network.forward_features(transform(one)[None]), pre_logits=True)[0] for one in PICTURES]
    return np.stack([one.numpy() for one in found])


def cosines(a: Vectors, b: Vectors) -> Vectors:
    """Row by row."""
    found: Vectors = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_fp32_equals_timm(kind: str, models: Callable[[str], Path]) -> None:
    """What goes into the classifier, to 1e-4 of its length; its width is known beforehand, also where `num_features` is another."""
    encoder = TimmEncoder(str(models(kind)))
    found, wanted = vectors(encoder), reference(models(kind))
    assert found.shape == wanted.shape == (len(PICTURES), encoder.spec(Head()).dim) == (len(PICTURES), KINDS[kind])
    assert cosines(found, wanted).min() >= 0.99999
    assert (np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max() <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_a_classifier_gives_the_same(kind: str, models: Callable[[str], Path]) -> None:
    """The penultimate layer is what `num_classes=0` gives, as the module says."""
    found, wanted = reference(models(kind)), reference(models(kind), num_classes=0)
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_stays_within_the_stated_tolerance(kind: str, models: Callable[[str], Path]) -> None:
    """bfloat16 keeps a cosine of 0.999 on the worst picture: depthwise weights are not rounded to eight bits."""
    encoder = TimmEncoder(str(models(kind)))
    assert cosines(vectors(encoder, precision="bf16"), vectors(encoder)).min() >= 0.999


@pytest.mark.parametrize("kind", ["resnet10t", "vit_tiny_patch16_224"])
def test_contract(kind: str, models: Callable[[str], Path]) -> None:
    """The checks that every encoder passes: one picture alone is the same as in a batch, and the rest."""
    check_encoder(lambda: TimmEncoder(str(models(kind))), PICTURES)
    encoder = TimmEncoder(str(models(kind)))
    assert np.allclose(vectors(encoder, batch=1), vectors(encoder), rtol=1e-4, atol=1e-4)


def test_a_saved_constructor_argument_is_used(tmp_path: Path) -> None:
    """config.json may hold arguments of the network: they are passed on, and are part of the identity."""
    folder = save(tmp_path / "max", "resnet10t", global_pool="max")
    assert cosines(vectors(TimmEncoder(str(folder))), reference(folder)).min() >= 0.99999
    before = TimmEncoder(str(folder)).model.weights
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_args": {"global_pool": "avg"}}))
    assert TimmEncoder(str(folder)).model.weights != before


def test_a_pre_activation_network_is_not_folded_wrongly(tmp_path: Path) -> None:
    """Where normalisation stands before the convolution, or weights are standardised, folding by looks would be wrong: it is checked."""
    for kind in ("resnetv2_18", "resnetv2_50d_evos"):
        folder = save(tmp_path / kind, kind, layers=(1, 1, 1, 1))
        assert cosines(vectors(TimmEncoder(str(folder))), reference(folder)).min() >= 0.99999, kind


def test_described_without_torch(models: Callable[[str], Path]) -> None:
    """Identity, dimension and preparation need neither torch nor timm: a plan starts at once."""
    code = f"""
import sys
from connector.encoders.timm import TimmEncoder
from connector.interfaces import Head, identity
encoder = TimmEncoder({str(models("mobilenetv3_small_050"))!r})
identity(encoder, Head())
item = encoder.preparer("document")(sys.stdin.buffer.read())
print(encoder.spec(Head()).dim, item.cost, [name for name in ("torch", "timm", "torchvision", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], input=encoded(), capture_output=True, check=True)
    assert done.stdout.decode() == "1024 50176 []\n"


def test_identity_has_no_path(models: Callable[[str], Path], tmp_path: Path) -> None:
    """A model folder that moves is the same model: the name is the folder's own, the rest is hashes and preprocessing."""
    import shutil

    moved = Path(shutil.copytree(models("resnet10t"), tmp_path / "elsewhere" / "resnet10t"))
    first, second = TimmEncoder(str(models("resnet10t"))), TimmEncoder(f"local-dir:{moved}")
    assert identity(first, Head()) == identity(second, Head())
    assert str(tmp_path) not in repr(second.model)
    assert (first.model.kind, first.model.model, first.model.revision, len(first.model.weights)) == ("timm", "resnet10t", "", 32)
    preprocessing = {"rules": 1, "size": [176, 176], "crop": "center", "crop_pct": 0.875, "interpolation": "bicubic"}
    assert preprocessing == {name: first.model.preprocessing[name] for name in preprocessing}
    assert json.dumps(first.model.preprocessing)


def test_head(models: Callable[[str], Path]) -> None:
    """Normalisation and truncation are done where asked for; what this encoder cannot give is refused with what it can."""
    encoder = TimmEncoder(str(models("resnet10t")))
    assert encoder.resolve(Head()) == Head("penultimate", "model", normalize=False)
    assert encoder.resolve(Head(truncate_dim=512)).truncate_dim is None
    plain, short = vectors(encoder), vectors(encoder, Head(normalize=True, truncate_dim=100))
    assert encoder.spec(Head(truncate_dim=100)).dim == 100
    assert np.allclose(short, plain[:, :100] / np.linalg.norm(plain[:, :100], axis=1, keepdims=True), atol=1e-6)
    wrong = {"layer `layer5`": Head(layer="layer5"), "pooling `mean`": Head(pooling="mean"), "dtype `sparse`": Head(dtype="sparse")}
    for message, head in wrong.items():
        with pytest.raises(ConfigError, match=f"no {message}  hint: .*valid: "):
            encoder.resolve(head)
    with pytest.raises(ConfigError, match="wanted 1 to 512"):
        encoder.spec(Head(truncate_dim=513))
    with pytest.raises(ConfigError, match="unknown role"):
        encoder.preparer("both")  # type: ignore[arg-type]  # a mistake


def test_weights_that_are_missing_or_pickled(models: Callable[[str], Path], tmp_path: Path) -> None:
    """Without weights there is no identity; pickled ones are opened only where they are allowed."""
    import shutil

    import torch
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(models("resnet10t"), tmp_path / "resnet10t"))
    expected = vectors(TimmEncoder(str(folder)))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder = TimmEncoder(str(folder))
    with pytest.raises(ConfigError, match="is pickled: unpickling can run code"), encoder.open(DeviceSpec()):
        pass
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", allow_pickle_weights=True)) as model:
        output = model.forward([encoder.preparer("document")(PICTURES[0])], [encoder.resolve(Head())])[0]
    assert np.allclose(output[0], expected[0], atol=1e-5)
    encoder.pull()
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ConfigError, match="no weights"):
        encoder.pull()
    with pytest.raises(ConfigError, match="no weights"):
        TimmEncoder(str(folder))


def test_weights_that_are_not_this_models(models: Callable[[str], Path], tmp_path: Path) -> None:
    """Missing and broken tensors are refused: a layer left at random gives vectors that look right."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(models("resnet10t"), tmp_path / "resnet10t"))
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("layer1.0.conv1.weight")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ConfigError, match=r"could not be loaded \(RuntimeError: .*layer1\.0\.conv1"):
        TimmEncoder(str(folder)).open(DeviceSpec()).__enter__()
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="could not be loaded"):
        TimmEncoder(str(folder)).open(DeviceSpec()).__enter__()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": None}, "names no timm architecture"),
        ({"architecture": "resnet9000"}, "has no architecture `resnet9000`"),
        ({"model_args": {"checkpoint_path": "/other.pth"}}, "config.json sets `checkpoint_path`"),
        ({"pretrained_cfg": {"input_size": [1, 28, 28]}}, "reads 1 channels"),
        ({"pretrained_cfg": {"interpolation": "random"}}, "asks for `random`"),
        ({"pretrained_cfg": {"crop_mode": "five"}}, "asks for `five`"),
    ],
)
def test_config_that_cannot_be_used(change: dict[str, Any], message: str, models: Callable[[str], Path], tmp_path: Path) -> None:
    """What the folder asks for and this encoder does not do is refused when the encoder is made, at the latest when it is opened."""
    import shutil

    folder = Path(shutil.copytree(models("resnet10t"), tmp_path / "resnet10t"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ConfigError, match=message):
        TimmEncoder(str(folder)).open(DeviceSpec()).__enter__()
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        TimmEncoder(str(folder))


def test_plain_names_stand_for_hub_models() -> None:
    """`resnet50` is a model of the Hub; without it in the local cache the error names it, and says what to do."""
    with pytest.raises(ConfigError, match=r"model timm/resnet50\.a1_in1k: is not .* in the local cache.* hint: connect"):
        TimmEncoder("resnet50")
    with pytest.raises(ConfigError, match=r"model timm/resnet50\.a2_in1k"):
        TimmEncoder("resnet50.a2_in1k")
    with pytest.raises(ConfigError, match="model org/name"):
        TimmEncoder("hf-hub:org/name")
    with pytest.raises(ConfigError, match=r"has no model `resnet5`.*did you mean `resnet50`"):
        TimmEncoder("resnet5")
    with pytest.raises(ConfigError, match=r"has no weights `resnet50\.best`.*valid: resnet50\.a1_in1k"):
        TimmEncoder("resnet50.best")
    with pytest.raises(ConfigError, match="there is no model folder"):
        TimmEncoder("./resnet50")


def test_timm_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are remembered by its version, so a second plan imports no torch; a lost cache costs time only."""
    from connector.encoders import timm_library
    from connector.encoders.timm_config import hub_name

    assert hub_name("resnet50") == "timm/resnet50.a1_in1k"
    assert list(memory.recall("timm.json").values()) == ["timm/resnet50.a1_in1k"]
    monkeypatch.setattr(timm_library, "hub_name", lambda _: pytest.fail("asked again"))
    assert hub_name("resnet50") == "timm/resnet50.a1_in1k"
    monkeypatch.setattr(timm_library, "hub_name", lambda _: "another")
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.0")
    assert hub_name("resnet50") == "another"


def test_dimension_of_a_model_without_a_classifier(tmp_path: Path) -> None:
    """Where the weights' header cannot tell, the network is built without weights, once."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path / "headless"
    save_for_hf(timm.create_model("mobilenetv3_small_050", num_classes=0), folder, model_config={}, safe_serialization=True)
    encoder = TimmEncoder(str(folder))
    assert encoder.spec(Head()).dim == 1024
    assert vectors(encoder).shape == (len(PICTURES), 1024)
    assert list(memory.recall("timm.json").values()) == [1024]


def test_memory_that_runs_out(models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lack of memory is told from any other failure, so that the caller halves the batch; a closed model says so."""
    encoder = TimmEncoder(str(models("resnet10t")))
    item = encoder.preparer("document")(PICTURES[0])
    with encoder.open(DeviceSpec(device="cpu")) as model:
        monkeypatch.setattr(model, "_begin", lambda items, heads: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(OutOfMemory, match="1 pictures do not fit"):
            model.forward([item], [Head()])
        monkeypatch.setattr(model, "_begin", lambda items, heads: (_ for _ in ()).throw(KeyError("x")))
        with pytest.raises(EncodeError, match="failed on 1 pictures"):
            model.forward([item], [Head()])
    with pytest.raises(EncodeError, match="is closed"):
        model.forward([item], [Head()])


def test_encode_from_python(models: Callable[[str], Path], tmp_path: Path) -> None:
    """A handle takes pictures in any form, and says which one is no picture."""
    PICTURES[0].save(tmp_path / "towhee.png")
    with connector.encoder(f"timm:{models('resnet10t')}", device=DeviceSpec(precision="fp32")) as handle:
        found = handle.encode([str(tmp_path / "towhee.png"), PICTURES[0], encoded(PICTURES[0], "PNG")])
        assert found.shape == (3, 512)
        assert np.allclose(found[0], found[1], atol=1e-5)
        assert np.allclose(found[0], found[2], atol=1e-5)
        with pytest.raises(connector.ConnectorError, match=r"input 1: nothing\.jpg: No such file"):
            handle.encode([PICTURES[0], "nothing.jpg"])
