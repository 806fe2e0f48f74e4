"""CLAP's two towers agree with the transformers library's own processor and model, and nothing in them is left to chance."""

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

from connector.encoders.clap import ClapEncoder
from connector.encoders.clap_features import ClapFeatures, mel_filters
from connector.encoders.clap_model import ClapModel
from connector.encoders.transformers import TransformersEncoder
from connector.encoding.handle import EncoderHandle
from connector.encoding.queries import Audio
from connector.errors import ConfigError, RowError
from connector.interfaces import DeviceSpec, Head, identity
from connector.testing.encoder_check import check_encoder
from tests.encoders.conftest import write_tokenizer
from tests.encoders.parity import check_parity
from tests.encoders.test_staging import check_same
from tests.recordings import encoded, tone

RATE = 8_000
RECORDINGS = [tone(seconds, RATE, seed) for seed, seconds in enumerate((0.7, 2.0, 3.1, 1.3))]
"""Two shorter than the two seconds that the models read, one as long, one longer."""

TEXTS = ["the cat sat on the mat", "a red dog", "milvus stores vector points near the green database"]
Models = Callable[[bool], Path]
Vectors = npt.NDArray[np.float32]


def save(folder: Path, *, fusion: bool) -> Path:
    """A random model of 24 numbers, its feature extractor and its tokenizer."""
    import torch
    import transformers

    torch.manual_seed(11)
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    text = {**wide, "vocab_size": 30, "max_position_embeddings": 34, "pad_token_id": 1, "projection_dim": 24}
    swin = {"patch_embeds_hidden_size": 16, "hidden_size": 128, "depths": [2, 2, 2, 2], "num_attention_heads": [2, 2, 4, 4]}
    sound = {**swin, "enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None, "projection_dim": 24}
    config = transformers.ClapConfig(text_config=text, audio_config=sound, projection_dim=24)
    network = transformers.ClapModel(config)
    for layer in network.modules():  # statistics of normalisation that are not all zeros and ones: decibels are around -40
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_var, 200.0, 400.0) if layer is network.audio_model.audio_encoder.batch_norm else None
            torch.nn.init.normal_(layer.running_mean, -40.0 if layer is network.audio_model.audio_encoder.batch_norm else 0.0)
    network.save_pretrained(folder)
    how = {"sampling_rate": RATE, "max_length_s": 2, "hop_length": 80, "fft_window_size": 256, "frequency_max": 3800}
    transformers.ClapFeatureExtractor(**how, truncation="fusion" if fusion else "rand_trunc").save_pretrained(folder)
    write_tokenizer(folder, pad_first=False)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Both kinds of random model, saved once."""
    built: dict[bool, Path] = {}

    def model(fusion: bool) -> Path:  # noqa: FBT001 - which of the two kinds
        if fusion not in built:
            built[fusion] = save(tmp_path_factory.mktemp("clap") / "clap", fusion=fusion)
        return built[fusion]

    return model


@pytest.fixture(params=[False, True], ids=["unfused", "fused"])
def folder(request: pytest.FixtureRequest, models: Models) -> Path:
    """Each kind."""
    return models(request.param)


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream draws the middle of each range: what is left of it after that is to be equal."""
    monkeypatch.setattr(np.random, "randint", lambda low, high: (low + high - 1) // 2)
    monkeypatch.setattr(np.random, "choice", lambda range_: range_[len(range_) // 2])


def reference(folder: Path) -> tuple[list[Vectors], list[Vectors]]:
    """Vectors of the recordings and the texts by transformers alone."""
    import torch
    import transformers

    network = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")  # noqa: S106 - a word
    sounds = extractor(RECORDINGS, sampling_rate=RATE, return_tensors="pt")  # all at once: one is long, so none is marked by chance
    with torch.inference_mode():
        heard = network.get_audio_features(**sounds).pooler_output.numpy()
        read = [network.get_text_features(**_known(tokenizer([text], return_tensors="pt"))).pooler_output[0].numpy() for text in TEXTS]
    return list(heard), read


def _known(inputs: Any) -> dict[str, Any]:
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("fusion", [False, True])
def test_features_equal_upstream(fusion: bool, padding: str) -> None:  # noqa: FBT001 - a parameter
    """The spectrograms of the published models' settings, to a hundredth of a decibel, however long the recording."""
    import transformers

    stated = {"padding": padding, "truncation": "fusion" if fusion else "rand_trunc", "max_length_s": 1}
    extractor, ours = transformers.ClapFeatureExtractor(**stated), ClapFeatures.of(stated, "m")
    for seconds in (0.011, 0.3, 1.0, 1.005, 1.02, 2.7, 5.0):
        samples = tone(seconds, 48_000, seed=4)
        wanted = extractor([samples, tone(9.0, 48_000)], sampling_rate=48_000, return_tensors="np")
        mel, longer = ours(samples)
        assert mel.shape == wanted["input_features"][0].shape
        assert mel.dtype == np.float32
        assert np.abs(mel - wanted["input_features"][0]).max() < 0.01, seconds
        assert longer == (fusion and bool(wanted["is_longer"][0][0]))


@pytest.mark.parametrize("slaney", [False, True])
def test_mel_filters_equal_upstream(slaney: bool) -> None:  # noqa: FBT001 - a parameter
    """The filters themselves, on both scales."""
    from transformers.audio_utils import mel_filter_bank

    wanted = mel_filter_bank(513, 64, 50, 14_000, 48_000, norm="slaney" if slaney else None, mel_scale="slaney" if slaney else "htk")
    assert np.allclose(mel_filters(513, 64, 50, 14_000, 48_000, slaney=slaney), wanted, rtol=1e-6, atol=1e-9)


def test_parity(folder: Path) -> None:
    """Sounds and words, alone and in a batch, in both precisions."""
    encoder = ClapEncoder(str(folder))
    heard, read = reference(folder)
    check_parity("clap", encoder, [Audio(one) for one in RECORDINGS], heard, words=f"{folder.parent.name}, audio")
    check_parity("clap", encoder, TEXTS, read, words=f"{folder.parent.name}, text")


def test_one_space_and_one_pass(folder: Path) -> None:
    """Both towers give unit vectors of one length; several heads are one pass; the projection can be had as it is."""
    encoder = ClapEncoder(str(folder))
    assert (encoder.spec(Head()).dim, encoder.resolve(Head())) == (24, Head("projection", "model", normalize=True))
    items = [encoder.preparer("document", "audio")(one) for one in RECORDINGS]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=10**9)) as model:
        assert isinstance(model, ClapModel)
        calls: list[int] = []
        model._network.audio_model.register_forward_hook(lambda *_: calls.append(1))
        heads = [encoder.resolve(head) for head in (Head(), Head(normalize=False), Head(truncate_dim=8))]
        unit, plain, short = (np.asarray(one) for one in model.forward(items, heads))
    assert calls == [1]
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    assert np.allclose(plain / np.linalg.norm(plain, axis=1, keepdims=True), unit, atol=1e-6)
    assert np.allclose(short, plain[:, :8] / np.linalg.norm(plain[:, :8], axis=1, keepdims=True), atol=1e-6)
    with EncoderHandle(encoder, device=DeviceSpec(device="cpu", precision="fp32")) as handle:
        mixed = handle.encode([TEXTS[0], Audio(encoded(RECORDINGS[0], RATE, subtype="FLOAT")), TEXTS[1]])
    assert np.allclose(mixed[1], unit[0], atol=1e-5)
    with pytest.raises(ConfigError, match="no layer `last`"):
        encoder.resolve(Head(layer="last"))


@pytest.mark.parametrize(("modality", "inputs"), [("audio", RECORDINGS), ("text", TEXTS)])
def test_both_towers_through_the_stager(modality: str, inputs: list[Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU is fed, the vectors are the same: a spectrogram goes with its flag, a text with its mask."""
    encoder = ClapEncoder(str(folder))
    cost = max(encoder.preparer("document", modality)(one).cost for one in inputs)
    check_same(encoder, inputs * 2, [Head(), Head(truncate_dim=8)], monkeypatch, 2 * cost, modality)


def test_contract(folder: Path) -> None:
    """The checks that every encoder passes."""
    check_encoder(lambda: ClapEncoder(str(folder)), TEXTS)


def test_the_same_every_time(folder: Path) -> None:
    """A long recording gives one vector, whatever chance would have drawn; what is left out of it is told."""
    encoder = ClapEncoder(str(folder), max_seconds=4.0)
    prepare = encoder.preparer("document", "audio")
    first, again = (prepare(tone(5.0, RATE)).data[0] for _ in range(2))
    assert np.array_equal(first, again)
    fused = "fused" if json.loads((folder / "config.json").read_text())["audio_config"]["enable_fusion"] else "unfused"
    flags = {"fused": [False, False, True], "unfused": [False, True, True]}
    assert [prepare(tone(seconds, RATE)).truncated for seconds in (1.9, 3.9, 4.1)] == flags[fused]
    assert [prepare(tone(seconds, RATE)).data[1] for seconds in (1.9, 2.0, 3.9)] == [False, False, fused == "fused"]


def test_described_without_torch(models: Models) -> None:
    """Identity, dimension and preparation need neither torch nor transformers."""
    code = f"""
import sys
from connector.encoders.clap import ClapEncoder
from connector.interfaces import Head, identity
encoder = ClapEncoder({str(models(True))!r})
identity(encoder, Head())
item = encoder.preparer("document", "audio")(sys.stdin.buffer.read())
item = encoder.preparer("query")("the cat")
print(encoder.spec(Head()).dim, item.cost, [name for name in ("torch", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], input=encoded(), capture_output=True, check=True)
    assert done.stdout.decode() == "24 1920 []\n"


def test_identity(models: Models, tmp_path: Path) -> None:
    """A folder that moves is the same model; prompts, preparation and tokenizer are part of it."""
    moved = Path(shutil.copytree(models(True), tmp_path / "elsewhere" / "clap"))
    first = ClapEncoder(str(models(True)))
    assert identity(first, Head()) == identity(ClapEncoder(str(moved)), Head())
    assert json.loads(json.dumps(first.model.preprocessing)) == first.model.preprocessing
    assert (first.text.tokenizer.name, first.text.max_tokens) == ("tokenizer.json", 30) if first.text else False
    others = [ClapEncoder(str(moved), max_seconds=9.0), ClapEncoder(str(moved), query_prompt="the "), ClapEncoder(str(models(False)))]
    for file, change in (("preprocessor_config.json", {"frequency_max": 3000}), ("tokenizer.json", {"truncation": None})):
        kept = (moved / file).read_text()
        (moved / file).write_text(json.dumps({**json.loads(kept), **change}))
        others.append(ClapEncoder(str(moved)))
        (moved / file).write_text(kept)
    assert len({json.dumps(identity(one, Head()), sort_keys=True) for one in [first, *others]}) == 6


def test_prompts_and_limits(models: Models) -> None:
    """A query's words follow their prompt; a text too long for the model is cut and flagged; sounds and words are not mixed up."""
    encoder = ClapEncoder(str(models(False)), query_prompt="the cat ")
    document, query = encoder.preparer("document", "text"), encoder.preparer("query")
    assert list(query("sat").data) == list(document("the cat sat").data)
    long = document("cat " * 40)
    assert (len(long.data), long.truncated) == (32, True)
    for modality, value, reason in (("audio", "no file", "No such file"), ("text", b"", "bytes, but the encoder reads text")):
        with pytest.raises(RowError, match=reason):
            encoder.preparer("query", modality)(value)
    for wrong, reason in ((("both", None), "unknown role"), (("query", "image"), "unknown input `image`.*valid: audio, text")):
        with pytest.raises(ConfigError, match=reason):
            encoder.preparer(*wrong)
    with pytest.raises(ConfigError, match="leaves no token"):
        ClapEncoder(str(models(False)), document_prompt="cat " * 40)
    with pytest.raises(ConfigError, match="max_seconds is 0"):
        ClapEncoder(str(models(False)), max_seconds=0)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "bert"}, "is of type bert, not clap"),
        ("config.json", {"audio_config": {"enable_fusion": False}}, "enable_fusion False, its feature extractor truncation fusion"),
        ("preprocessor_config.json", {"truncation": "first"}, "asks for `first`.*valid: fusion, rand_trunc"),
        ("preprocessor_config.json", {"padding": "zero"}, "asks for `zero`"),
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("model.safetensors", None, "no weights"),
    ],
)
def test_folders_that_cannot_be_used(file: str, change: dict[str, Any] | None, message: str, models: Models, tmp_path: Path) -> None:
    """What a folder lacks, or says in two ways, is told when the encoder is made."""
    folder = Path(shutil.copytree(models(True), tmp_path / "m"))
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        ClapEncoder(str(folder))


def test_weights_that_are_not_this_models(models: Models, tmp_path: Path) -> None:
    """Any missing tensor is refused, the poolers' too: the projections read them."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(models(False), tmp_path / "m"))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in tensors.items() if name != "text_model.pooler.dense.weight"}, folder / "model.safetensors")
    ClapEncoder(str(folder)).pull()
    with pytest.raises(ConfigError, match=r"such as text_model\.pooler\.dense\.weight"):
        ClapEncoder(str(folder)).open(DeviceSpec(device="cpu")).__enter__()


def test_the_text_encoder_names_this_one(models: Models) -> None:
    """A CLAP model given to the encoder of texts is told where it belongs."""
    with pytest.raises(ConfigError, match="hint: write clap:"):
        TransformersEncoder(str(models(False)))
