"""Vectors of recordings agree with the transformers library's own feature extractor and model, whatever the batch and the precision."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import connector.encoding
import connector.interfaces
from connector.encoders.audio_config import describe_audio
from connector.encoders.audio_model import AudioModel, lots
from connector.encoders.transformers import TransformersEncoder
from connector.encoders.transformers_audio import TransformersAudioEncoder
from connector.errors import ConfigError, RowError
from connector.interfaces import DeviceSpec, Head, Prepared, identity
from connector.testing.encoder_check import check_encoder
from tests.encoders.parity import agreement, check_parity
from tests.encoders.test_staging import check_same
from tests.recordings import encoded, tone

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-base": ("Wav2Vec2", {"feat_extract_norm": "group"}),
    "wav2vec2-large": ("Wav2Vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}),
    "hubert-large": ("Hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "data2vec-audio": ("Data2VecAudio", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}),
    "wavlm-base": ("WavLM", {"feat_extract_norm": "group"}),
}
"""Small networks of every sort: normalised over the whole recording or frame by frame, before or behind attention."""

MASKED = {"wav2vec2-large", "hubert-large", "data2vec-audio"}
"""Those whose feature extractors hand out an attention mask, as their models on the Hub have it."""

RECORDINGS = [tone(seconds, seed=seed) for seed, seconds in enumerate((0.5, 1.1, 0.5, 0.3, 2.0))]
Vectors = npt.NDArray[np.float32]
Models = Callable[[str], Path]


def save(folder: Path, kind: str) -> Path:
    """A random model and its feature extractor, as save_pretrained writes them."""
    import torch
    import transformers

    torch.manual_seed(5)
    family, changes = KINDS[kind]
    wide = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    convolutions = {"conv_dim": (64,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = getattr(transformers, f"{family}Config")(**{**wide, **convolutions, **changes})
    getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    if kind == "data2vec-audio":  # as the published models' files have it, though nothing reads it there
        stated = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**stated, "feat_extract_norm": "layer"}))
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=kind in MASKED).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Each kind of random model, saved once."""
    built: dict[str, Path] = {}

    def model(kind: str) -> Path:
        if kind not in built:
            built[kind] = save(tmp_path_factory.mktemp(kind) / kind, kind)
        return built[kind]

    return model


def reference(folder: Path, layer: int | None = None) -> list[Vectors]:
    """The frames of each recording by transformers alone: its loader, its feature extractor, its model, one at a time."""
    import torch
    import transformers

    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for one in RECORDINGS:
        inputs = extractor(one, sampling_rate=16_000, return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = network(**inputs, output_hidden_states=True)
        hidden = output.last_hidden_state if layer is None else output.hidden_states[layer]
        found.append(hidden[0].numpy())
    return found


def encode(encoder: TransformersAudioEncoder, head: Head | None = None, recordings: list[Any] | None = None) -> list[Any]:
    """In float32."""
    with connector.encoding.EncoderHandle(encoder, head, DeviceSpec(device="cpu", precision="fp32")) as handle:
        return list(handle.encode(recordings or RECORDINGS))


@pytest.mark.parametrize("kind", KINDS)
def test_parity(kind: str, models: Models) -> None:
    """The mean, the maximum and the frames themselves, alone and in a batch, in both precisions."""
    encoder, frames = TransformersAudioEncoder(str(models(kind))), reference(models(kind))
    check_parity("transformers audio", encoder, RECORDINGS, [one.mean(axis=0) for one in frames], words=f"{kind}, mean")
    check_parity("transformers audio", encoder, RECORDINGS, [one.max(axis=0) for one in frames], Head(pooling="max"), words=f"{kind}, max")
    check_parity("transformers audio", encoder, RECORDINGS, frames, Head(pooling="none"), words=f"{kind}, none")


@pytest.mark.parametrize("kind", ["wav2vec2-base", "wav2vec2-large"])
def test_layers(kind: str, models: Models) -> None:
    """Any hidden layer, counted from either end; several heads, however many, are one pass of the network."""
    encoder = TransformersAudioEncoder(str(models(kind)))
    for layer in (0, 1, 2):
        wanted = [one.mean(axis=0) for one in reference(models(kind), layer)]
        check_parity("transformers audio", encoder, RECORDINGS, wanted, Head(layer=str(layer)), words=f"{kind}, layer {layer}, mean")
    assert (
        encoder.resolve(Head(layer="-1"))
        == encoder.resolve(Head(layer="3"))
        == encoder.resolve(Head())
        == Head("last", "mean", normalize=False)
    )
    assert encoder.resolve(Head(layer="-4")).layer == "0"
    for wrong, said in (("4", "no layer `4`"), ("-5", "no layer `-1`"), ("first", "no layer `first`")):
        with pytest.raises(ConfigError, match=rf"{said}.*valid: 0, 1, 2, last"):
            encoder.resolve(Head(layer=wrong))
    with pytest.raises(ConfigError, match=r"no pooling `cls`.*valid: max, mean, none"):
        encoder.resolve(Head(pooling="cls"))


def test_one_pass_for_all_heads(models: Models) -> None:
    """Three heads of one model cost what one costs."""
    encoder = TransformersAudioEncoder(str(models("wav2vec2-large")))
    items = [encoder.preparer("document")(one) for one in RECORDINGS]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        assert isinstance(model, AudioModel)
        calls: list[int] = []
        model._network.register_forward_hook(lambda *_: calls.append(1))
        heads = [encoder.resolve(head) for head in (Head(), Head(layer="1", pooling="max"), Head(pooling="none", normalize=True))]
        outputs = model.forward(items, heads)
    assert (len(outputs), len(calls)) == (3, 1)
    assert [len(one) for one in outputs[2]] == [describe_audio(models("wav2vec2-large"), "m").frames(len(one)) for one in RECORDINGS]


def test_recordings_that_padding_would_change_are_not_padded(models: Models) -> None:
    """Upstream, a batch changes what some models give even under a mask (data2vec-audio by half its length); here never."""
    import torch
    import transformers

    folder = models("data2vec-audio")
    frames = reference(folder)
    extractor, network = transformers.AutoFeatureExtractor.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder).eval()
    inputs = extractor(RECORDINGS, sampling_rate=16_000, return_tensors="pt", padding=True)
    with torch.inference_mode():
        padded = network(**inputs).last_hidden_state
    _, upstream = agreement([padded[0, : len(frames[0])].numpy()], [frames[0]])
    _, ours = agreement(encode(TransformersAudioEncoder(str(folder)), Head(pooling="none")), frames)
    assert upstream > 0.01
    assert ours < 1e-4
    assert [describe_audio(models(kind), "m").padded for kind in KINDS] == [False, True, True, False, False]


def test_lots() -> None:
    """Parts keep to their size, or hold one; where lengths must be alike, they are."""
    items = [Prepared(None, cost, 0) for cost in (4, 5, 5, 9, 30)]
    assert lots(items, 20, "cpu", alike=False) == [items[:3], items[3:4], items[4:]]
    assert lots(items, 20, "cpu", alike=True) == [items[:1], items[1:3], items[3:4], items[4:]]


@pytest.mark.parametrize("kind", ["wav2vec2-base", "wav2vec2-large"])
def test_recordings_through_the_stager(kind: str, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU is fed, recordings of all lengths give the same vectors, each in its own place."""
    heads = [Head(), Head(pooling="none"), Head(layer="1", pooling="max")]
    check_same(TransformersAudioEncoder(str(models(kind))), RECORDINGS * 2, heads, monkeypatch, 40_000)


@pytest.mark.parametrize("kind", ["wav2vec2-base", "hubert-large"])
def test_contract(kind: str, models: Models) -> None:
    """The checks that every encoder passes."""
    check_encoder(lambda: TransformersAudioEncoder(str(models(kind))), RECORDINGS)


def test_files_at_other_rates(models: Models) -> None:
    """A file at 44.1 kHz in stereo, compressed, is the same recording: its vector is where the original's is."""
    encoder = TransformersAudioEncoder(str(models("wav2vec2-base")))
    original = tone(1.0, 44_100, seed=3)
    data = encoded(np.stack([original, original], axis=1), 44_100, "FLAC")
    found, wanted = encode(encoder, recordings=[data, (original, 44_100)])
    assert float(found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)) > 0.99999


def test_described_without_torch(models: Models) -> None:
    """Identity, dimension and preparation need neither torch nor transformers: a plan starts at once."""
    code = f"""
import sys
from connector.encoders.transformers_audio import TransformersAudioEncoder
from connector.interfaces import Head, identity
encoder = TransformersAudioEncoder({str(models("wav2vec2-base"))!r})
identity(encoder, Head())
item = encoder.preparer("document")(sys.stdin.buffer.read())
print(encoder.spec(Head()).dim, item.cost, [name for name in ("torch", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], input=encoded(), capture_output=True, check=True)
    assert done.stdout.decode() == "64 8000 []\n"


def test_identity(models: Models, tmp_path: Path) -> None:
    """A folder that moves is the same model; what changes the vectors changes the identity."""
    moved = Path(shutil.copytree(models("wav2vec2-base"), tmp_path / "elsewhere" / "wav2vec2-base"))
    first = TransformersAudioEncoder(str(models("wav2vec2-base")))
    assert identity(first, Head()) == identity(TransformersAudioEncoder(str(moved)), Head())
    assert (first.model.kind, first.model.model, len(first.model.weights)) == ("transformers-audio", "wav2vec2-base", 32)
    how = {"rules": 1, "rate": 16_000, "normalize": True, "max_seconds": 30.0, "resampling": "soxr HQ"}
    assert first.model.preprocessing == how
    assert TransformersAudioEncoder(str(moved), max_seconds=10).model != first.model
    stated = json.loads((moved / "preprocessor_config.json").read_text())
    (moved / "preprocessor_config.json").write_text(json.dumps({**stated, "do_normalize": False}))
    assert TransformersAudioEncoder(str(moved)).model != first.model
    (moved / "preprocessor_config.json").unlink()
    (moved / "processor_config.json").write_text(json.dumps({"feature_extractor": {**stated, "sampling_rate": 8_000}}))
    assert TransformersAudioEncoder(str(moved)).model.preprocessing["rate"] == 8_000
    assert connector.interfaces.identity(first, Head(layer="3")) == connector.interfaces.identity(first, Head())


def test_inputs_that_cannot_be_prepared(models: Models) -> None:
    """Too short for a frame, or no recording: a reject with words. Too long: cut and flagged."""
    encoder = TransformersAudioEncoder(str(models("wav2vec2-base")), max_seconds=1.0)
    prepare = encoder.preparer("document")
    assert describe_audio(models("wav2vec2-base"), "m").least == 400
    assert prepare(tone()[:400]).cost == 400
    with pytest.raises(RowError, match="a recording of 399 samples at 16,000 a second, wanted at least 400"):
        prepare(tone()[:399])
    with pytest.raises(RowError, match="not a recording"):
        prepare(b"words")
    assert [(item.cost, item.truncated) for item in map(prepare, (tone(0.9), tone(1.2)))] == [(14_400, False), (16_000, True)]
    with pytest.raises(ConfigError, match="unknown role"):
        encoder.preparer("both")  # type: ignore[arg-type]  # a mistake
    with pytest.raises(ConfigError, match="less than one frame"):
        TransformersAudioEncoder(str(models("wav2vec2-base")), max_seconds=0)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "bert"}, "is of type bert, which reads no samples.*valid types: data2vec-audio"),
        ("config.json", {"model_type": "clap"}, "hint: write clap:"),
        ("config.json", {"add_adapter": True}, "has an adapter"),
        ("config.json", {"auto_map": {"AutoModel": "m.M"}}, "its own program code"),
        ("config.json", None, r"holds no config\.json"),
        (
            "preprocessor_config.json",
            {"feature_extractor_type": "WhisperFeatureExtractor"},
            "type WhisperFeatureExtractor, wanted Wav2Vec2",
        ),
        ("preprocessor_config.json", None, r"holds no preprocessor_config\.json"),
        ("model.safetensors", None, "no weights"),
    ],
)
def test_folders_that_cannot_be_used(file: str, change: dict[str, Any] | None, message: str, models: Models, tmp_path: Path) -> None:
    """What a folder lacks, or asks for and this encoder does not do, is told when the encoder is made."""
    folder = Path(shutil.copytree(models("wav2vec2-base"), tmp_path / "m"))
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        TransformersAudioEncoder(str(folder))


def test_weights_that_are_not_this_models(models: Models, tmp_path: Path) -> None:
    """Missing and broken tensors are refused when the model is opened, pickled ones too; the vector for masking may be missing."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(models("wav2vec2-base"), tmp_path / "m"))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in tensors.items() if name != "masked_spec_embed"}, folder / "model.safetensors")
    with TransformersAudioEncoder(str(folder)).open(DeviceSpec(device="cpu")):
        pass
    save_file({name: one for name, one in tensors.items() if "layers.1.attention.q_proj.weight" not in name}, folder / "model.safetensors")
    with pytest.raises(ConfigError, match="1 tensors are missing or have another shape, such as encoder"):
        TransformersAudioEncoder(str(folder)).open(DeviceSpec(device="cpu")).__enter__()
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="could not be loaded"):
        TransformersAudioEncoder(str(folder)).open(DeviceSpec(device="cpu")).__enter__()
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder = TransformersAudioEncoder(str(folder))
    encoder.pull()
    with pytest.raises(ConfigError, match="is pickled"):
        encoder.open(DeviceSpec(device="cpu")).__enter__()


def test_the_text_encoder_names_this_one(models: Models) -> None:
    """An audio model given to the encoder of texts is told where it belongs."""
    with pytest.raises(ConfigError, match=r"reads recordings.*hint: write transformers-audio:"):
        TransformersEncoder(str(models("wav2vec2-base")))


@pytest.mark.parametrize("kind", ["transformers-audio", "clap"])
def test_without_the_extra(kind: str) -> None:
    """Where the packages for recordings are missing, the line that installs them is told before anything else is done."""
    code = f"""
import sys
sys.modules["soxr"] = None
from connector import registry
from connector.errors import MissingExtra
try:
    registry.create("encoders", {kind!r}, {{"model": "./nothing"}}, where="here")
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == f"the encoder `{kind}` needs the module `soxr`, which is not installed  hint: pip install 'connector[audio]'\n"
