"""Where models come from: what is missing, unsafe or another model's is said before it can do harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.encoders import memory, weights
from connector.encoders.transformers import TransformersEncoder
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head

SHA = "0123456789abcdef0123456789abcdef01234567"
Build = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local cache of the Hugging Face Hub, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cache_model(hub: Path, folder: Path) -> None:
    """Puts a model into the cache, as a download would."""
    repository = hub / "models--org--tiny"
    shutil.copytree(folder, repository / "snapshots" / SHA)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(SHA)


@pytest.mark.parametrize("name", ["org/tiny", "org/tiny@main", f"org/tiny@{SHA}"])
def test_hub_model_from_the_cache(hub: Path, build: Build, name: str) -> None:
    """A cached hub model works offline; its identity is the commit, whatever revision was named."""
    cache_model(hub, build())
    encoder = TransformersEncoder(name)
    assert (encoder.model.model, encoder.model.revision, encoder.model.weights) == ("org/tiny", SHA, "")
    with encoder.open(DeviceSpec(device="cpu")) as model:
        assert model.forward([encoder.preparer("document")("the cat")], [encoder.resolve(Head())])


def test_unknown_hub_model_offline(hub: Path) -> None:
    """A hub model that is not cached names itself and what to do."""
    with pytest.raises(ConfigError, match="org/none") as caught:
        TransformersEncoder("org/none")
    assert "HF_HUB_OFFLINE" in caught.value.hint


def test_names_that_are_nothing(hub: Path) -> None:
    """A wrong name says what kind of name it was taken for."""
    for name, words in {
        "a b/c": "no name that the Hugging Face Hub allows",
        "./nowhere": "there is no model folder",
        "package://no_such_package_at_all/model": "no package",
        "package://connector/../secrets": "import_name",
        "package://connector/nothing": "no folder",
    }.items():
        with pytest.raises(ConfigError, match=words):
            TransformersEncoder(name)


def test_revisions_that_contradict(build: Build) -> None:
    """A revision is said once, and only of hub models."""
    with pytest.raises(ConfigError, match="disagree"):
        TransformersEncoder("org/tiny@main", revision="v2")
    with pytest.raises(ConfigError, match="cannot have a revision"):
        TransformersEncoder(str(build()), revision="main")


def test_folder_without_weights(build: Build) -> None:
    """Missing weights are found when the encoder is made, before anything is read or written."""
    folder = build()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no weights in folder .* wanted model\.safetensors"):
        TransformersEncoder(str(folder))


def test_pickled_weights_are_refused_unless_allowed(build: Build) -> None:
    """Unpickling can run code, so it happens only when the job says so."""
    import torch
    from safetensors.torch import load_file

    folder = build()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder = TransformersEncoder(str(folder))
    with pytest.raises(ConfigError, match=r"pytorch_model.bin is pickled: unpickling can run code"), encoder.open(DeviceSpec(device="cpu")):
        pytest.fail("opened")
    with encoder.open(DeviceSpec(device="cpu", allow_pickle_weights=True)) as model:
        assert model.precision in {"fp32", "bf16"}


def test_missing_shard(build: Build) -> None:
    """An index whose shard is missing is named, not loaded in part."""
    folder = build()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match="model-00002-of-00002"):
        TransformersEncoder(str(folder))


def test_weights_of_another_model(build: Build) -> None:
    """Tensors that the file does not hold would stay random: the model is refused."""
    folder = build()
    change(folder, num_hidden_layers=3)
    with pytest.raises(ConfigError, match="not this model's: 16 tensors"), TransformersEncoder(str(folder)).open(DeviceSpec(device="cpu")):
        pytest.fail("opened")


def test_broken_weights(build: Build) -> None:
    """A truncated file is a configuration error that names the folder."""
    folder = build()
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ConfigError, match="could not be loaded"), TransformersEncoder(str(folder)).open(DeviceSpec(device="cpu")):
        pytest.fail("opened")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auto_map": {"AutoModel": "x.Y"}}, "own program code"),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
        ({"vocab_size": 5}, "tokenizer has 24"),
    ],
)
def test_unsupported_configs(build: Build, values: dict[str, Any], words: str) -> None:
    """Models that bring code, need a decoder, or do not fit their tokenizer are refused when the encoder is made."""
    folder = build()
    change(folder, **values)
    with pytest.raises(ConfigError, match=words):
        TransformersEncoder(str(folder))


@pytest.mark.parametrize(("name", "words"), [("tokenizer.json", "slow tokenizer"), ("config.json", "no config.json")])
def test_missing_files(build: Build, name: str, words: str) -> None:
    """A folder that lacks a file names the file."""
    folder = build()
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=words):
        TransformersEncoder(str(folder))


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "modules.json"])
def test_broken_files(build: Build, name: str) -> None:
    """A broken file is named, with the next step."""
    folder = build()
    (folder / name).write_text("{")
    with pytest.raises(ConfigError, match=name) as caught:
        TransformersEncoder(str(folder))
    assert caught.value.hint


def test_identity_follows_the_bytes_not_the_place(build: Build, tmp_path: Path) -> None:
    """The same files elsewhere are the same model; another byte in the weights is another model."""
    first = TransformersEncoder(str(build(name="a/model"))).model
    folder = build(name="b/model")
    assert TransformersEncoder(str(folder)).model == first
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert TransformersEncoder(str(folder)).model.weights != first.weights


def test_weights_are_hashed_once(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged file is not read again; a broken cache is made anew."""
    files = weights.weight_files(build())
    first = weights.weights_hash(files)
    read: list[Path] = []

    def hashed(path: Path) -> str:
        read.append(path)
        return "other"

    monkeypatch.setattr(weights, "file_hash", hashed)
    assert weights.weights_hash(files) == first
    assert not read
    (memory.cache_folder() / "weights.json").write_text("[broken")
    assert weights.weights_hash(files) != first
    assert read == [files[0].resolve()]


def test_cache_that_cannot_be_written(build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a place for the cache everything works, only slower."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONNECTOR_CACHE", str(tmp_path / "file" / "cache"))
    assert len(weights.weights_hash(weights.weight_files(build()))) == 32


def change(folder: Path, **values: Any) -> None:
    """Changes config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))
