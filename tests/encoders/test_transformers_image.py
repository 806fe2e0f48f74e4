"""Vectors agree with those of transformers for every type, layer and pooling, and everything else is known without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoders.transformers import TransformersEncoder
from connector.encoders.transformers_image import TransformersImageEncoder
from connector.encoders.vision_types import TYPES
from connector.encoding.handle import EncoderHandle
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, identity
from connector.testing.encoder_check import check_encoder
from tests.encoders.parity import agreement, check_parity
from tests.encoders.vision_models import VISION, build_vision
from tests.pictures import encoded, varied

PICTURES = [varied(60 + 20 * seed, 90, seed) for seed in range(6)]
PREFIX = {**dict.fromkeys(VISION, 1), "convnext": 0, "convnextv2": 0, "deit": 2, "dinov2_with_registers": 5, "swin": 0}
Models = Callable[[str], Path]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Each type of random model, saved once."""
    built: dict[str, Path] = {}

    def model(kind: str) -> Path:
        if kind not in built:
            built[kind] = build_vision(tmp_path_factory.mktemp("vision") / kind, kind)
        return built[kind]

    return model


@pytest.fixture
def changed(models: Models, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a model in a folder of the same name, with another config.json."""
    import shutil

    def copy(kind: str, **config: Any) -> Path:
        folder = Path(shutil.copytree(models(kind), tmp_path / kind, dirs_exist_ok=True))
        stated = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**stated, **config}))
        return folder

    return copy


def outputs(folder: Path) -> list[Any]:
    """What transformers gives for each picture, one at a time: its own processor (PIL backend), its own loading, in float32."""
    import torch
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    network = transformers.AutoModel.from_pretrained(folder).eval()
    more: dict[str, Any] = {}
    if network.config.model_type == "vit_mae":
        network.config.mask_ratio = 0.0
        more["noise"] = torch.arange(16.0)[None]
    with torch.inference_mode():
        return [network(**processor(one, return_tensors="pt"), output_hidden_states=True, **more) for one in PICTURES]


def reference(output: Any, layer: str, pooling: str, prefix: int) -> Any:
    """One picture's vector, or its patches, of what the library gave."""
    if pooling == "model":
        return output.pooler_output[0].numpy()
    hidden = (output.last_hidden_state if layer == "last" else output.hidden_states[int(layer)])[0]
    if hidden.ndim == 3:
        hidden = hidden.flatten(1).T
    tokens = hidden.numpy()
    patches = tokens[prefix:]
    return {"cls": tokens[0], "mean": patches.mean(axis=0), "max": patches.max(axis=0), "none": patches}[pooling]


@pytest.mark.parametrize("kind", VISION)
def test_parity(kind: str, models: Models) -> None:
    """Every type agrees with the library, by its own default, in float32 and bfloat16, alone and in a batch."""
    encoder = TransformersImageEncoder(str(models(kind)))
    head = encoder.resolve(Head())
    wanted = [reference(one, str(head.layer), str(head.pooling), PREFIX[kind]) for one in outputs(models(kind))]
    assert agreement(wanted[:1], wanted[1:2])[0] < 0.99, "a random model that gives one vector for all pictures would prove nothing"
    check_parity("transformers vision", encoder, PICTURES, wanted, words=f"{kind}, {head.pooling}")


@pytest.mark.parametrize("kind", VISION)
def test_every_layer_and_pooling(kind: str, models: Models) -> None:
    """All that a model offers is what the library has under that number; the vectors are as long as promised."""
    encoder = TransformersImageEncoder(str(models(kind)))
    wanted = outputs(models(kind))
    heads = [Head(layer, pooling) for layer in ("last", "0", "1") for pooling in ("cls", "mean", "max", "none", "model")]
    offered = [head for head in heads if offers(encoder, head)]
    assert len(offered) >= 9
    prepare = encoder.preparer("document")
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        found = model.forward([prepare(one) for one in PICTURES], [encoder.resolve(head) for head in offered])
    for head, output in zip(offered, found, strict=True):
        right = [reference(one, str(head.layer), str(head.pooling), PREFIX[kind]) for one in wanted]
        cosine, difference = agreement(list(output), right)
        assert cosine >= 0.99999, head
        assert difference <= 1e-4, head
        assert output[0].shape[-1] == encoder.spec(head).dim
        if head.pooling == "none":
            assert [len(one) for one in output] == [encoder.positions(head, prepare(one)) for one in PICTURES], head
        assert encoder.spec(head).kind == ("ragged" if head.pooling == "none" else "dense")


def offers(encoder: TransformersImageEncoder, head: Head) -> bool:
    """Whether the model has such a head."""
    try:
        encoder.resolve(head)
    except ConfigError:
        return False
    return True


def test_types_that_are_listed_are_tested() -> None:
    """A type is offered only when its vectors were compared with the library's."""
    assert set(TYPES) == set(VISION)


@pytest.mark.parametrize(("kind", "dim"), [("vit", 32), ("convnext", 32), ("swin", 32)])
def test_contract(kind: str, dim: int, models: Models) -> None:
    """The checks that every encoder passes."""
    check_encoder(lambda: TransformersImageEncoder(str(models(kind))), PICTURES)
    assert TransformersImageEncoder(str(models(kind))).spec(Head()).dim == dim


def test_layers_have_one_name(models: Models) -> None:
    """A layer counted from behind is the one counted from the front; where the last block is the output, its number is `last`."""
    vit, data2vec, swin = (TransformersImageEncoder(str(models(kind))) for kind in ("vit", "data2vec-vision", "swin"))
    assert vit.resolve(Head()) == Head("last", "cls", normalize=False)
    assert vit.resolve(Head(layer="-2")).layer == "1"
    assert vit.resolve(Head(layer="-1")).layer == "2"  # before the last normalisation, as `hidden_states[-1]` of transformers
    assert (
        data2vec.resolve(Head(layer="-1")) == data2vec.resolve(Head(layer="2")) == data2vec.resolve(Head()) == Head("last", "mean", False)
    )
    assert [swin.spec(Head(layer=str(layer))).dim for layer in range(3)] == [16, 32, 32]
    assert TransformersImageEncoder(str(models("convnext"))).resolve(Head(layer="1")).pooling == "mean"


def test_what_there_is_not_is_refused(models: Models) -> None:
    """An unknown layer, pooling, type or length is refused with what there is."""
    vit, swin = TransformersImageEncoder(str(models("vit"))), TransformersImageEncoder(str(models("swin")))
    wrong = {
        r"no layer `7`  hint: valid: 0, 1, 2, last": Head(layer="7"),
        "no layer `-4`": Head(layer="-4"),
        "no layer `-0`": Head(layer="-0"),
        "no layer `9{5000}`": Head(layer="9" * 5000),
        "no layer `encoder`": Head(layer="encoder"),
        "no pooling `last`": Head(pooling="last"),
        "no pooling `model`": Head(layer="1", pooling="model"),
        "no dtype `sparse`": Head(dtype="sparse"),
        "wanted 1 to 32": Head(truncate_dim=33),
    }
    for message, head in wrong.items():
        with pytest.raises(ConfigError, match=message):
            vit.resolve(head)
    with pytest.raises(ConfigError, match="no pooling `cls`"):
        swin.resolve(Head(pooling="cls"))
    with pytest.raises(ConfigError, match="unknown role"):
        vit.preparer("both")  # type: ignore[arg-type]  # a mistake


def test_three_layers_and_patches_are_one_pass(models: Models) -> None:
    """One network call a batch gives three layers, the pooler and the patches."""
    encoder = TransformersImageEncoder(str(models("vit")))
    heads = [encoder.resolve(head) for head in (Head("0", "mean"), Head("1", "cls"), Head(), Head(pooling="model"), Head(pooling="none"))]
    calls = []
    prepare = encoder.preparer("document")
    items = [prepare(one) for one in PICTURES]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        network: Any = model._network  # type: ignore[attr-defined]  # the test looks inside
        network.register_forward_hook(lambda *_: calls.append("network"))
        network.layers[0].register_forward_hook(lambda *_: calls.append("first block"))
        found = model.forward(items, heads)
    assert calls == ["first block", "network"]
    assert [np.shape(one) for one in found[:4]] == [(6, 32)] * 4
    assert [one.shape for one in found[4]] == [(16, 32)] * 6
    assert np.allclose(found[2][0], outputs(models("vit"))[0].last_hidden_state[0, 0].numpy(), atol=1e-5)


def test_parts_side_by_side_keep_their_layers(models: Models) -> None:
    """Layers are collected by hooks of the library: parts of a batch that run in several threads do not get each other's."""
    encoder = TransformersImageEncoder(str(models("vit")))
    head = encoder.resolve(Head("1", "mean"))
    items = [encoder.preparer("document")(one) for one in PICTURES * 8]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=1)) as model:
        for _ in range(5):
            [found] = model.forward(items, [head])
            wanted = [reference(one, "1", "mean", 1) for one in outputs(models("vit"))] * 8
            assert agreement(list(found), wanted)[1] <= 1e-4


def test_a_masked_autoencoder_sees_everything(models: Models) -> None:
    """No patch is hidden or moved, whatever the mask ratio of its training: the same vector each time, and patches in their places."""
    encoder = TransformersImageEncoder(str(models("vit_mae")))
    with EncoderHandle(encoder, Head(pooling="none"), DeviceSpec(precision="fp32")) as handle:
        first, second = handle.encode(PICTURES[:1])[0], handle.encode(PICTURES[:1])[0]
    assert first.shape == (16, 32)
    assert np.array_equal(first, second)


def test_a_pooler_that_was_never_trained_is_not_offered(changed: Callable[..., Path]) -> None:
    """Many folders hold no pooler, and the library fills one in at random: it is refused, and the rest works without a word."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = changed("vit")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "pooler" not in name}
    assert len(kept) == len(tensors) - 2
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    encoder = TransformersImageEncoder(str(folder))
    with pytest.raises(ConfigError, match="no pooling `model`"):
        encoder.resolve(Head(pooling="model"))
    check_encoder(lambda: TransformersImageEncoder(str(folder)), PICTURES)
    torch.save(kept, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder = TransformersImageEncoder(str(folder))  # the names in pickled weights are not known before they are loaded
    head = encoder.resolve(Head(pooling="model"))
    item = encoder.preparer("document")(PICTURES[0])
    with (
        encoder.open(DeviceSpec(device="cpu", allow_pickle_weights=True)) as model,
        pytest.raises(ConfigError, match="its weights hold no pooler"),
    ):
        model.forward([item], [head])


def test_weights_that_cannot_be_used(changed: Callable[..., Path]) -> None:
    """Missing, truncated, pickled and foreign weights are refused."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = changed("vit")
    tensors = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if ".1." not in name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="the weights are not this model's"):
        TransformersImageEncoder(str(folder)).open(DeviceSpec()).__enter__()
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="could not be loaded"):
        TransformersImageEncoder(str(folder)).open(DeviceSpec()).__enter__()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="no weights"):
        TransformersImageEncoder(str(folder))
    torch.save(tensors, folder / "pytorch_model.bin")
    encoder = TransformersImageEncoder(str(folder))
    encoder.pull()
    with pytest.raises(ConfigError, match="is pickled"):
        encoder.open(DeviceSpec()).__enter__()


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("vit", {"model_type": "bert"}, "type `bert` is none of the vision encoders known here  hint: .*data2vec-vision.*for text write"),
        ("vit", {"model_type": "clip"}, "hint: for words and pictures write clip:vit"),
        ("vit", {"num_channels": 1}, "reads 1 channels"),
        ("vit", {"auto_map": {"AutoModel": "x.Y"}}, "brings its own program code"),
        ("vit", {"image_size": 64}, "makes pictures of 32 x 32 pixels, the model reads 64 x 64"),
        ("vit", {"hidden_size": None}, "does not say how large the model is"),
        ("swin", {"depths": None}, "does not say how large the model is"),
    ],
    ids=range(7),
)
def test_config_that_cannot_be_used(kind: str, config: dict[str, Any], message: str, changed: Callable[..., Path]) -> None:
    """What the folder asks for and this encoder does not do is refused when the encoder is made."""
    with pytest.raises(ConfigError, match=message):
        TransformersImageEncoder(str(changed(kind, **config)))


def test_the_encoder_of_texts_says_which_kind_to_write(models: Models, tmp_path: Path) -> None:
    """A vision model under the plain kind is refused with the right one."""
    with pytest.raises(ConfigError, match="model vit is of type `vit`, no text encoder  hint: write transformers-image:vit"):
        TransformersEncoder(str(models("vit")))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(ConfigError, match="hint: write clip:"):
        TransformersEncoder(str(tmp_path))
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        TransformersImageEncoder(str(models("vit").parent))


def test_identity(models: Models, changed: Callable[..., Path], tmp_path: Path) -> None:
    """A folder that moves, or is saved by a newer library, is the same model; other weights, configuration or preprocessing are not."""
    first = TransformersImageEncoder(str(models("vit"))).model
    assert TransformersImageEncoder(str(changed("vit", transformers_version="9", dtype="bfloat16"))).model == first
    assert str(tmp_path) not in repr(first)
    assert (first.kind, first.model, first.revision, len(first.weights)) == ("transformers-image", "vit", "", 32)
    wanted = {"rules": 1, "resize": [32, 32], "resample": "bilinear", "crop": None, "rescale": 1 / 255}
    assert dict(first.preprocessing) == {**wanted, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert TransformersImageEncoder(str(changed("vit", layer_norm_eps=1e-3))).model.weights != first.weights
    folder = changed("vit")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    for change in (
        {"resample": 3},
        {"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": 32},
        {"image_mean": [0, 0, 0]},
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps({**settings, **change}))
        assert TransformersImageEncoder(str(folder)).model != first
        assert json.dumps(identity(TransformersImageEncoder(str(folder)), Head()))


def test_described_without_torch(models: Models) -> None:
    """Identity, dimension and preparation need no torch; running the network needs no timm."""
    code = f"""
import sys
from connector.encoders.transformers_image import TransformersImageEncoder
from connector.interfaces import DeviceSpec, Head, identity
encoder = TransformersImageEncoder({str(models("dinov2"))!r})
identity(encoder, Head())
item = encoder.preparer("document")(sys.stdin.buffer.read())
print(encoder.spec(Head()).dim, item.cost, [name for name in ("torch", "timm", "torchvision", "transformers") if name in sys.modules])
with encoder.open(DeviceSpec(device="cpu")):
    print("timm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], input=encoded(), capture_output=True, check=True)
    assert done.stdout.decode() == "32 1024 []\nFalse\n"


def test_encode_from_python(models: Models, tmp_path: Path) -> None:
    """One line gives vectors, of any layer; what is no picture is named."""
    PICTURES[0].save(tmp_path / "towhee.png")
    with connector.encoder(f"transformers-image:{models('dinov2')}", device=DeviceSpec(precision="fp32")) as handle:
        found = handle.encode([str(tmp_path / "towhee.png"), connector.Image(PICTURES[0]), encoded(PICTURES[0], "PNG")])
        assert found.shape == (3, 32)
        assert np.allclose(found[0], found[1:], atol=1e-5)
        with pytest.raises(connector.ConnectorError, match=r"input 1: nothing\.jpg: No such file"):
            handle.encode([PICTURES[0], "nothing.jpg"])
