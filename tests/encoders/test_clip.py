"""Words and pictures come to the library's own vectors in one space, whichever is stored and whichever is searched for."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoders.clip import ClipEncoder
from connector.encoding.handle import EncoderHandle
from connector.errors import ConfigError, RowError
from connector.interfaces import DeviceSpec, Head, identity
from connector.testing.encoder_check import check_encoder
from tests.encoders.parity import agreement, check_parity
from tests.encoders.vision_models import build_pair
from tests.pictures import encoded, varied

KINDS = {"clip": 24, "siglip": 32, "siglip2": 32}
PICTURES = [connector.Image(varied(60 + 20 * seed, 90, seed)) for seed in range(6)]
TEXTS = ["the cat", "A red dog sat on the mat!", "stores", "blue green, and near points over the database", "the dog"]
Models = Callable[[str], Path]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Each kind of random pair, saved once."""
    built: dict[str, Path] = {}

    def model(kind: str) -> Path:
        if kind not in built:
            built[kind] = build_pair(tmp_path_factory.mktemp("pairs") / kind, kind)
        return built[kind]

    return model


@pytest.fixture
def copied(models: Models, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a pair, to be changed."""
    import shutil

    return lambda kind: Path(shutil.copytree(models(kind), tmp_path / kind, dirs_exist_ok=True))


def change(file: Path, **values: Any) -> None:
    """Sets values of a JSON file; those of an inner model as text_config or vision_config."""
    stated = json.loads(file.read_text())
    for name, value in values.items():
        stated[name] = {**stated[name], **value} if isinstance(value, dict) and name in stated else value
    file.write_text(json.dumps(stated))


def reference(folder: Path, inputs: list[Any], *, normalize: bool = True) -> list[Any]:
    """By the library alone: its processor, its network, one input at a time; SigLIP's texts filled up as its documentation has it."""
    import torch
    import transformers

    network = transformers.AutoModel.from_pretrained(folder).eval()
    images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    words = transformers.AutoTokenizer.from_pretrained(folder)
    how = {"padding": "max_length"} if network.config.model_type == "siglip" else {"padding": True}
    found = []
    with torch.inference_mode():
        for one in inputs:
            if isinstance(one, str):
                output = network.get_text_features(**words([one], return_tensors="pt", truncation=True, **how))
            else:
                output = network.get_image_features(**images(one.value, return_tensors="pt"))
            vector = output.pooler_output[0]
            found.append((vector / vector.norm() if normalize else vector).numpy())
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", [PICTURES, TEXTS], ids=["pictures", "texts"])
def test_parity(kind: str, inputs: list[Any], models: Models) -> None:
    """Both models agree with the library in float32 and bfloat16, alone and in a batch."""
    encoder = ClipEncoder(str(models(kind)))
    wanted = reference(models(kind), inputs)
    assert wanted[0].shape == (KINDS[kind],)
    assert agreement(wanted[:1], wanted[1:2])[0] < 0.99, "a random model that gives one vector for everything would prove nothing"
    check_parity("CLIP and SigLIP", encoder, inputs, wanted, words=f"{kind}, {'texts' if inputs is TEXTS else 'pictures'}")


def test_the_first_configurations_of_clip(copied: Callable[[str], Path]) -> None:
    """They state an end token that no tokenizer has (2); the model then takes the highest id, and the filling must not be higher."""
    folder = copied("clip")
    change(folder / "config.json", text_config={"eos_token_id": 2, "pad_token_id": 1})
    with EncoderHandle(ClipEncoder(str(folder)), device=DeviceSpec(precision="fp32")) as handle:
        assert agreement(list(handle.encode(TEXTS)), reference(folder, TEXTS))[1] <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_contract(kind: str, models: Models) -> None:
    """The checks that every encoder passes, for words and, by the same model, for pictures."""
    check_encoder(lambda: ClipEncoder(str(models(kind))), TEXTS)
    encoder = ClipEncoder(str(models(kind)))
    with EncoderHandle(encoder, device=DeviceSpec(precision="fp32")) as handle:
        mixed: list[Any] = [TEXTS[0], PICTURES[0], TEXTS[1], PICTURES[1].value]
        found = handle.encode(mixed)
        assert np.allclose(found, reference(models(kind), [*mixed[:3], PICTURES[1]]), atol=1e-5)
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_what_upstream_leaves_to_its_caller(models: Models) -> None:
    """Vectors are of unit length unless the head says otherwise; then they are as the library gives them."""
    encoder = ClipEncoder(str(models("clip")))
    assert encoder.resolve(Head()) == Head("projection", "model", normalize=True)
    assert encoder.spec(Head(truncate_dim=8)).dim == 8
    inputs = [*TEXTS[:2], *PICTURES[:2]]
    with EncoderHandle(encoder, Head(normalize=False), DeviceSpec(precision="fp32")) as handle:
        assert agreement(list(handle.encode(inputs)), reference(models("clip"), inputs, normalize=False))[1] <= 1e-4
    for head, message in ((Head(layer="last"), "no layer `last`"), (Head(pooling="cls"), "no pooling `cls`")):
        with pytest.raises(ConfigError, match=message):
            encoder.resolve(head)


def test_texts_are_filled_up_as_trained(models: Models) -> None:
    """SigLIP reads 64 tokens whatever the text: another length gives another vector. CLIP's filling does not matter."""
    prepare = ClipEncoder(str(models("siglip"))).preparer("query", "text")
    ids = prepare("the cat sat").data
    assert (len(ids), ids[3:].tolist()) == (64, [1] * 61)
    left = ClipEncoder(str(models("siglip2"))).preparer("query", "text")("the cat").data
    assert (len(left), left[:57].tolist()) == (64, [0] * 57)
    assert len(ClipEncoder(str(models("clip"))).preparer("query", "text")("ab").data) == 4


def test_long_texts_are_cut_and_counted(models: Models) -> None:
    """CLIP reads 77 tokens, the end among them: what is longer is cut before it and flagged, and splitters know how much fits."""
    for kind, most in (("clip", 75), ("siglip", 63)):
        encoder = ClipEncoder(str(models(kind)))
        assert encoder.text is not None
        assert encoder.text.max_tokens == most
        prepare = encoder.preparer("document")
        long = prepare("the cat " * 60)
        assert (len(long.data), long.truncated) == (most + (2 if kind == "clip" else 1), True)
        assert not prepare("the cat").truncated
        with EncoderHandle(encoder, device=DeviceSpec(precision="fp32")) as handle:
            assert agreement(list(handle.encode(["the cat " * 60])), reference(models(kind), ["the cat " * 60]))[1] <= 1e-4


def test_preparing(models: Models) -> None:
    """Preparers pickle; costs count in pixels for both kinds, so that one budget holds; what is neither is refused."""
    encoder = ClipEncoder(str(models("clip")))
    words, pictures = (pickle.loads(pickle.dumps(encoder.preparer("document", one))) for one in ("text", "image"))  # noqa: S301 - our own
    assert (words("ab").cost, pictures(encoded()).cost) == (4 * 8 * 8, 32 * 32)
    assert (words("ab").data.ndim, pictures(encoded()).data.ndim) == (1, 3)
    with pytest.raises(RowError, match="int, but the encoder reads text"):
        words(7)
    with pytest.raises(RowError, match="empty text"):
        words(" ")
    with pytest.raises(RowError, match="not an image"):
        pictures(b"words")
    with pytest.raises(ConfigError, match="does not read audio"):
        encoder.preparer("query", "audio")
    with pytest.raises(ConfigError, match="unknown role"):
        encoder.preparer("both")  # type: ignore[arg-type]  # a mistake


def test_two_heads_are_one_pass(models: Models) -> None:
    """Two fields of one picture, or of one text, cost one pass of its model."""
    encoder = ClipEncoder(str(models("clip")))
    heads = [encoder.resolve(head) for head in (Head(), Head(truncate_dim=8), Head(normalize=False))]
    calls = []
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        network: Any = model._network  # type: ignore[attr-defined]  # the test looks inside
        network.text_model.register_forward_hook(lambda *_: calls.append("text"))
        network.vision_model.register_forward_hook(lambda *_: calls.append("image"))
        for modality, value in (("text", "the cat"), ("image", PICTURES[0].value)):
            found = model.forward([encoder.preparer("document", modality)(value)], heads)
            assert [np.shape(one) for one in found] == [(1, 24), (1, 8), (1, 24)]
    assert calls == ["text", "image"]


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("config.json", {"model_type": "siglip2"}, "type `siglip2` is neither CLIP nor SigLIP of one picture size"),
        ("config.json", {"model_type": "bert"}, "hint: .*for other models write transformers:"),
        ("config.json", {"auto_map": {"AutoModel": "x.Y"}}, "brings its own program code"),
        ("config.json", {"vision_config": {"num_channels": 1}}, "reads 1 channels"),
        ("config.json", {"vision_config": {"image_size": 64}}, "makes pictures of 32 x 32 pixels, the model reads 64 x 64"),
        ("config.json", {"text_config": {"vocab_size": 100}}, "the tokenizer has 514 tokens, the model 100"),
        ("config.json", {"text_config": {"eos_token_id": 5}}, r"the tokenizer ends a text with \[599\], and the model looks for 5"),
        ("tokenizer.json", {"version": "9"}, "cannot be read as a tokenizer"),
        ("processor_config.json", {"image_processor": {"do_pad": True}}, "sets `do_pad`"),
    ],
    ids=range(9),
)
def test_folders_that_cannot_be_used(file: str, values: dict[str, Any], message: str, copied: Callable[[str], Path]) -> None:
    """What the folder asks for and this encoder does not do is refused when the encoder is made."""
    folder = copied("clip")
    change(folder / file, **values)
    with pytest.raises(ConfigError, match=message):
        ClipEncoder(str(folder))


def test_siglip_folders_that_cannot_be_used(copied: Callable[[str], Path]) -> None:
    """Vectors of two lengths, no head for pictures, and a padding that the tokenizer does not know."""
    folder = copied("siglip")
    for file, values, message in (
        ("config.json", {"text_config": {"projection_size": 16}}, "16 numbers for words and 32 for pictures"),
        ("config.json", {"vision_config": {"vision_use_head": False}}, "no head for pictures"),
        ("tokenizer_config.json", {"pad_token": "<filling>"}, "does not know its own padding `<filling>`"),
    ):
        change(copied("siglip") / file, **values)
        with pytest.raises(ConfigError, match=message):
            ClipEncoder(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"tokenizer\.json is missing"):
        ClipEncoder(str(folder))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "clip"},
        {"model_type": "siglip"},
        {"model_type": "clip", "vision_config": {"patch_size": 14}, "text_config": {"eos_token_id": 2}},
        {"model_type": "clip", "vision_config": {"patch_size": 14, "image_size": 336}, "vision_config_dict": {"image_size": 256}},
        {"model_type": "clip", "text_config": {"vocab_size": 7}, "text_config_dict": {"eos_token_id": 2}, "vision_config_dict": None},
        {"model_type": "siglip", "vision_config": {"hidden_size": 1152}, "text_config": {"vocab_size": 256_000}},
    ],
)
def test_inner_models_are_read_as_the_library_reads_them(config: dict[str, Any]) -> None:
    """Older folders leave out what is at its default, or say things twice."""
    import transformers

    from connector.encoders.clip_config import _DIM, inner

    kind = transformers.CLIPConfig if config["model_type"] == "clip" else transformers.SiglipConfig
    theirs = kind(**json.loads(json.dumps(config)))
    for part in ("vision", "text"):
        own = inner(config, part)
        assert own == {name: getattr(getattr(theirs, f"{part}_config"), name) for name in own}
    assert transformers.CLIPConfig().projection_dim == _DIM


def test_weights_that_cannot_be_used(copied: Callable[[str], Path]) -> None:
    """Half a pair, broken, pickled and missing weights are refused."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = copied("clip")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in tensors.items() if "visual_projection" not in name}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ConfigError, match=r"the weights are not this model's.*visual_projection"):
        ClipEncoder(str(folder)).open(DeviceSpec()).__enter__()
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="could not be loaded"):
        ClipEncoder(str(folder)).open(DeviceSpec()).__enter__()
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="is pickled"):
        ClipEncoder(str(folder)).open(DeviceSpec()).__enter__()
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ConfigError, match="no weights"):
        ClipEncoder(str(folder))


def test_identity(models: Models, copied: Callable[[str], Path], tmp_path: Path) -> None:
    """A folder that moves is the same model; another tokenizer, filling, length, configuration or picture size is another."""
    first = ClipEncoder(str(models("siglip"))).model
    assert ClipEncoder(str(copied("siglip"))).model == first
    assert str(tmp_path) not in repr(first)
    assert json.dumps(identity(ClipEncoder(str(models("siglip"))), Head()))
    assert (first.kind, first.model, len(first.weights)) == ("clip", "siglip", 32)
    assert first.preprocessing["text"]["padding"] == {"token": 1, "left": False}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("config.json", {"vision_config": {"hidden_act": "relu"}}),
        ("tokenizer_config.json", {"model_max_length": 32}),
        ("tokenizer_config.json", {"padding_side": "left"}),
        ("tokenizer_config.json", {"pad_token": "<unk>"}),
        ("tokenizer_config.json", {"tokenizer_class": "Siglip2Tokenizer"}),
        ("tokenizer.json", {"normalizer": None}),
        ("processor_config.json", {"image_processor": {"resample": 2}}),
    ]
    for file, values in changes:
        folder = copied("siglip")
        change(folder / file, **values)
        assert ClipEncoder(str(folder)).model != first, (file, values)


def test_described_without_torch(models: Models) -> None:
    """Identity, dimension and both preparers need no torch."""
    code = f"""
import sys
from connector.encoders.clip import ClipEncoder
from connector.interfaces import Head, identity
encoder = ClipEncoder({str(models("siglip"))!r})
identity(encoder, Head())
item = encoder.preparer("document", "image")(sys.stdin.buffer.read())
text = encoder.preparer("query")("the cat")
print(encoder.spec(Head()).dim, item.cost, text.cost, [name for name in ("torch", "timm", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], input=encoded(), capture_output=True, check=True)
    assert done.stdout.decode() == "32 1024 4096 []\n"
