"""A server is an encoder: its vectors come in order and are checked, its moods are waited for, and a bad input costs one row."""

from __future__ import annotations

import email.utils
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoders import openai_http
from connector.encoders.openai import OpenaiEncoder
from connector.encoders.openai_http import Endpoint
from connector.encoding.handle import EncoderHandle
from connector.errors import AuthError, ConfigError, EncodeError, RowError, SchemaError, Throttled, Transient
from connector.interfaces import DeviceSpec, Head, identity
from connector.ledger.rejects import stored_rejects
from connector.retry import RetryPolicy
from connector.schema import Collection, Field, Vector, VectorField
from connector.testing.encoder_check import TEXTS, check_encoder
from connector.testing.encoders import fake_vector, word_tokenizer
from tests.encoders.fake_openai import DIM, Fake, answer, changed, dripping, dropped, places, quota, serving, short, slow, status

WORDS = [f"text {number}" for number in range(10)]
SECRET = "sk-Geheim1"  # noqa: S105 - of the fake


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A running fake; retries wait for milliseconds."""
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (300.0, 0.002, 0.01, False))
    with serving() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        yield fake


def make(**options: Any) -> OpenaiEncoder:
    """An encoder of the fake's vectors."""
    return OpenaiEncoder("some-model", **{"dimensions": DIM, "deadline": 5.0, **options})


def encode(texts: list[str] = WORDS, head: Head | None = None, **options: Any) -> Any:
    """The vectors of texts."""
    with EncoderHandle(make(**options), head) as handle:
        return handle.encode(texts)


def wanted(texts: list[str] = WORDS, dim: int = DIM) -> Any:
    """What the fake gives."""
    return np.stack([fake_vector(text, dim) for text in texts])


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_vectors_in_order(encoding_format: str, server: Fake) -> None:
    """Numbers or base64, in requests of bounded size, ordered by `index` however the answer is: bit for bit what the server has."""
    server.reverse = True
    assert np.array_equal(encode(encoding_format=encoding_format, batch_size=3), wanted())
    assert sorted(map(len, server.requests)) == [1, 3, 3, 3]
    assert server.bodies[0] | {"input": 0} == {"model": "some-model", "input": 0, "encoding_format": encoding_format, "dimensions": DIM}
    assert "Authorization" not in server.headers[0]


def test_contract(server: Fake) -> None:
    """The checks that every encoder passes."""
    check_encoder(make)
    head = make().resolve(Head(normalize=True, truncate_dim=3))
    assert np.allclose(np.linalg.norm(encode(head=head), axis=1), 1, atol=1e-6)
    assert np.allclose(encode(head=head), wanted()[:, :3] / np.linalg.norm(wanted()[:, :3], axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(ConfigError, match=r"no layer `last`"):
        make().resolve(Head(layer="last"))
    with pytest.raises(ConfigError, match=r"wanted 1 to 8"):
        make().resolve(Head(truncate_dim=9))


def test_several_heads_are_one_request(server: Fake) -> None:
    """What two fields take from one model is asked for once."""
    encoder = make()
    items = [encoder.preparer("document")(text) for text in WORDS]
    with encoder.open(DeviceSpec()) as model:
        outputs = model.forward(items, [encoder.resolve(Head()), encoder.resolve(Head(truncate_dim=2))])
    assert [np.asarray(one).shape for one in outputs] == [(10, 8), (10, 2)]
    assert len(server.requests) == 1


def test_requests_are_bounded(server: Fake) -> None:
    """By their inputs, by their tokens, and by how many are under way; all of that at once, not one after the other."""
    server.delay = 0.05
    start = time.monotonic()
    encode([f"text {number}" for number in range(40)], batch_size=2, concurrency=5)
    assert server.at_once == 5
    assert time.monotonic() - start < 20 * 0.05
    server.requests.clear()
    encode(["x" * 300, *["y" * 30] * 3], batch_tokens=110)
    assert sorted(map(len, server.requests)) == [1, 3]


def test_too_many_requests(server: Fake, caplog: pytest.LogCaptureFixture) -> None:
    """429 is waited for as long as Retry-After says, in seconds or as a date, by all threads; what was answered is not sent again."""
    server.faults = [status(429, Retry_After="0.4")]
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(encode(batch_size=2, concurrency=1), wanted())
    assert 0.4 <= time.monotonic() - start < 3
    assert max(server.times.values()) == 2
    assert "status 429: too many requests" in caplog.text
    server.faults = [status(429, Retry_After=email.utils.formatdate(time.time() + 1.5, usegmt=True))]
    start = time.monotonic()
    encode()
    assert 0.4 <= time.monotonic() - start < 4


def test_all_requests_wait(server: Fake) -> None:
    """One refusal for the rate is enough: the requests beside it are not sent into it either."""
    server.faults, server.delay = [status(429, Retry_After="0.6")], 0.02
    assert np.array_equal(encode(batch_size=1, concurrency=2), wanted())
    waits = np.diff(server.stamps)
    assert waits.max() >= 0.5
    assert int(waits.argmax()) <= 2  # of the two that were under way, and one that had just been let go


def test_a_wait_beyond_the_deadline_is_not_begun(server: Fake) -> None:
    """A server that asks for an hour ends the run now, to be tried again later."""
    server.faults = [status(429, Retry_After="3600")]
    start = time.monotonic()
    with pytest.raises(Throttled, match=r"status 429: too many requests.*hint: set a smaller concurrency"):
        encode()
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("fault", [status(500), status(503, Retry_After="0.01"), status(424), dropped, short, answer(b"<html>")])
def test_what_may_pass_is_tried_again(fault: Any, server: Fake) -> None:
    """A failure of the server, a dropped or short answer, or a proxy's page costs a wait, and the vectors are the same."""
    server.faults = [fault, fault]
    assert np.array_equal(encode(), wanted())
    assert len(server.requests) == 3


def test_the_deadline(server: Fake) -> None:
    """A server that stays broken, slow or away ends the run with what it said last; exit code 4."""
    server.faults = [status(502)] * 10_000
    with pytest.raises(Transient, match=r"127\.0\.0\.1: status 502") as caught:
        encode(deadline=0.3)
    assert caught.value.exit_code == 4
    server.faults = [slow]
    with pytest.raises(Transient, match=r"127\.0\.0\.1: TimeoutError"):
        encode(timeout=0.2, deadline=0.1)
    server.faults = [dripping]
    start = time.monotonic()
    with pytest.raises(Transient, match=r"127\.0\.0\.1: TimeoutError"):
        encode(timeout=0.5, deadline=0.3)
    assert time.monotonic() - start < 2
    with pytest.raises(Transient, match=r"127\.0\.0\.1: ConnectionRefusedError.*hint: start the server"):
        encode(base_url="http://127.0.0.1:9/v1", deadline=0.1)


def test_a_slow_answer_within_its_time(server: Fake) -> None:
    """Slow is not broken."""
    server.faults = [slow]
    assert np.array_equal(encode(timeout=5.0), wanted())


@pytest.mark.parametrize(
    ("fault", "said"), [(status(401), "set the environment variable MY_KEY"), (status(403), "MY_KEY"), (quota, "quota")]
)
def test_credentials(fault: Any, said: str, server: Fake) -> None:
    """A wrong key, or an empty account, is told at once: exit code 7, one request."""
    server.faults = [fault] * 10
    with pytest.raises(AuthError, match=said) as caught:
        encode(api_key_env="MY_KEY", concurrency=1)
    assert caught.value.exit_code == 7
    assert len(server.requests) == 1


def test_the_key_reaches_the_server_and_nothing_else(
    server: Fake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Read from the environment at the opening; not in the identity, a message, a log or a repr, even if the server repeats it."""
    server.key, server.bad = SECRET, "bad"
    with pytest.raises(AuthError) as caught:
        encode()
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    server.faults = [status(500)]
    with caplog.at_level(logging.DEBUG):
        assert np.array_equal(encode(), wanted())
        with pytest.raises(RowError, match=r"maximum context length is 9 tokens\. \*\*\*") as refused:
            encode(["good", "bad"])
    assert server.headers[-1]["Authorization"] == f"Bearer {SECRET}"
    shown = [str(caught.value), str(refused.value), caplog.text, repr(identity(make(), Head())), repr(Endpoint(server.url, {}, SECRET))]
    assert [text for text in shown if SECRET in text] == []


@pytest.mark.parametrize("key", ["two words", "sk-\nGeheim1", "sk-Schlüssel"])
def test_a_key_that_cannot_be_one(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line of a file, pasted into the environment, is told at once, and not repeated."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds no key") as caught:
        encode()
    assert key[3:] not in str(caught.value)


def test_a_key_over_plain_http_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """To another machine, unencrypted, with a key: said once; to this one, encrypted, or without a key: not."""
    openai_http._WARNED.clear()
    with caplog.at_level(logging.WARNING):
        for url in ("http://192.0.2.1/v1", "http://192.0.2.1/v1", "https://192.0.2.1/v1", "http://localhost/v1"):
            Endpoint(url, {}, SECRET)
        Endpoint("http://192.0.2.2/v1", {})
    assert [record.getMessage() for record in caplog.records] == [
        "http://192.0.2.1/v1: credentials travel unencrypted to another machine; use https://"
    ]


def test_redirects_are_not_followed(server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A POST would lose its body, and the key would go elsewhere."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with serving() as other:
        server.faults = [status(307, Location=f"{other.url}/embeddings"), status(301, Location=f"{other.url}/embeddings")]
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"status 30[17] for http.*hint: base_url is what stands before"):
                encode()
        assert other.requests == []


def test_one_bad_input(server: Fake) -> None:
    """It is found by halving and named with the server's words; all others have their vectors, and none of those is asked for again."""
    server.bad = "7"
    encoder = make()
    items = [encoder.preparer("document")(text) for text in WORDS]
    with encoder.open(DeviceSpec()) as model:
        [output] = model.forward(items, [encoder.resolve(Head())])
        refused = dict(model.refused)  # type: ignore[attr-defined]  # of this model
        again = model.forward(items[:3], [encoder.resolve(Head())])[0]
        assert model.refused == {}  # type: ignore[attr-defined]  # as above
    assert refused == {7: "the server refused it (status 400): This model's maximum context length is 9 tokens."}
    assert np.isnan(output[7]).all()
    assert np.array_equal(np.delete(np.asarray(output), 7, axis=0), np.delete(wanted(), 7, axis=0))
    assert np.array_equal(again, wanted()[:3])
    assert len(server.requests) <= 2 * 4 + 2 + 1


def test_more_inputs_than_the_server_takes(server: Fake) -> None:
    """No input is at fault, so all have vectors, and later requests are as small as the server wants them."""
    server.most = 4
    encoder = make(concurrency=1)
    items = [encoder.preparer("document")(text) for text in WORDS]
    with encoder.open(DeviceSpec()) as model:
        for _ in range(2):
            assert np.array_equal(np.asarray(model.forward(items, [encoder.resolve(Head())])[0]), wanted())
            sizes = list(map(len, server.requests))
            server.requests.clear()
    assert max(sizes) <= 4


def test_settings_that_refuse_everything(server: Fake) -> None:
    """A wrong setting is told as such, after two requests, instead of rejecting every row."""
    server.bad = "e"  # which the probe holds too
    with pytest.raises(
        ConfigError, match=r"some-model: the server refused it \(status 400\).*a text of one word too.*hint: correct the model's"
    ):
        encode([f"text {number}" for number in range(100)], concurrency=1)
    assert len(server.requests) == 2
    with pytest.raises(ConfigError, match=r"status 404 for .*/v2/embeddings: Not Found"):
        encode(base_url=server.url.replace("v1", "v2"))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (changed(lambda vectors: vectors[:-1]), "9 vectors with 9 different places for 10 inputs"),
        (changed(lambda vectors: [*vectors, vectors[0]]), "11 vectors"),
        (places([0, 1, 2, 3, 4, 5, 6, 7, 8, 8]), "10 vectors with 9 different places"),
        (places([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), "10 vectors with 10 different places"),
        (changed(lambda vectors: [*vectors[:-1], vectors[0][:5]]), "vectors of several lengths"),
        (changed(lambda vectors: [one[:5] for one in vectors]), "some-model gives vectors of 5 numbers, wanted 8.*hint: set dim=5"),
        (answer({"data": [{"embedding": "no base64!"}]}), "no list of numbers"),
        (answer({"data": [{"embedding": [1, None, *"345678"]}] * 10}), "input 0: the vector holds numbers that are not finite"),
        (answer({"data": [{"embedding": [[1]]}]}), "no list of numbers"),
        (answer({"data": [{}]}), "no list of numbers"),
        (answer({"embeddings": []}), "an answer without `data`"),
        (answer([1]), "an answer without `data`"),
        (answer(b" " * 12_000_000), "an answer of over"),
    ],
)
def test_wrong_answers(fault: Any, reason: str, server: Fake) -> None:
    """Vectors that do not belong to the inputs one by one are never taken."""
    server.faults = [fault]
    with pytest.raises((EncodeError, ConfigError), match=reason):
        encode()


def test_numbers_that_are_not_finite(server: Fake) -> None:
    """They come through and are refused where every encoder's are, by input."""
    server.faults = [changed(lambda vectors: [one * (np.nan if place == 4 else 1) for place, one in enumerate(vectors)])]
    with pytest.raises(EncodeError, match=r"input 4: the vector holds numbers that are not finite"):
        encode()


def test_dimension(server: Fake) -> None:
    """Known without a request from `dimensions` or a schema; else asked for once and remembered; an answer is compared with it."""
    assert make(dimensions=5).spec(Head()).dim == 5
    encoder = make(dimensions=None)
    encoder.declared(DIM)
    assert (encoder.spec(Head()).dim, make(dimensions=None).spec(Head(truncate_dim=3)).dim, server.requests) == (DIM, 3, [])
    assert [make(dimensions=None).spec(Head()).dim for _ in range(2)] == [DIM, DIM]
    assert server.requests == [["hello"]]
    assert encode(dimensions=None, head=Head(truncate_dim=3)).shape == (10, 3)
    with pytest.raises(ConfigError, match=r"truncate_dim is 9, the server gives 8"):
        encode(dimensions=None, head=Head(truncate_dim=9))


def test_identity(server: Fake) -> None:
    """The model's name, dimensions, prompts, further fields and tokenizer; not where it is served, with what key, or in what portions."""
    same = [make(), make(base_url="https://elsewhere.example/v1"), make(batch_size=3, concurrency=1, timeout=9, api_key_env="OTHER")]
    assert len({json.dumps(identity(one, Head())) for one in same}) == 1
    folder = str(word_tokenizer().parent)
    others = [make(dimensions=4), make(query_prompt="query: "), make(extra={"truncate": True}), make(tokenizer=folder)]
    others += [make(tokenizer=folder, max_tokens=9), OpenaiEncoder("other", dimensions=DIM)]
    assert len({json.dumps(identity(one, Head())) for one in [same[0], *others]}) == 7
    assert server.requests == []


def test_prompts_and_further_fields(server: Fake) -> None:
    """A role's prompt stands before the text; `extra` goes along with every request."""
    encoder = make(query_prompt="query: ", document_prompt="passage: ", extra={"truncate": True})
    with EncoderHandle(encoder) as handle:
        handle.encode(["a"], role="query")
        handle.encode(["a"])
    assert server.requests == [["query: a"], ["passage: a"]]
    assert server.bodies[0]["truncate"] is True


def test_without_a_tokenizer_texts_go_as_they_are() -> None:
    """Their tokens are estimated, and the server decides what is too long; what is no text is refused here."""
    prepare = make().preparer("document")
    assert make().text is None
    assert [prepare(text).cost for text in ("word", "word " * 60, "世界" * 50)] == [2, 101, 101]
    assert prepare("word " * 60).data == "word " * 60
    for value, reason in ((7, "int, but the encoder reads text"), (" ", "empty text"), ("\ud800", "not valid Unicode")):
        with pytest.raises(RowError, match=reason):
            prepare(value)
    with pytest.raises(ConfigError, match="unknown role"):
        make().preparer("both")  # type: ignore[arg-type]  # a mistake


def test_with_a_tokenizer_texts_are_split_and_cut(server: Fake) -> None:
    """Tokens are counted, and what is longer than the model reads is cut at a token's end and flagged."""
    encoder = make(tokenizer=str(word_tokenizer().parent), max_tokens=5, document_prompt="to store: ")
    assert encoder.text is not None
    assert encoder.text.max_tokens == 3
    whole, cut = (encoder.preparer("document")(text) for text in ("one two three", "one two  three four"))
    assert (whole.data, whole.cost, whole.truncated) == ("to store: one two three", 5, False)
    assert (cut.data, cut.cost, cut.truncated) == ("to store: one two  three", 5, True)
    with pytest.raises(ConfigError, match="leaves no token"):
        make(tokenizer=str(word_tokenizer().parent), max_tokens=2, document_prompt="to store: ")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"base_url": "localhost:8080"}, "neither http"),
        ({"base_url": "ftp://host/v1"}, "neither http"),
        ({"base_url": "http://[::1"}, "neither http"),
        ({"base_url": "https://user:Geheim1@host/v1"}, "holds credentials"),
        ({"base_url": "https://host/v1?key=Geheim1"}, "holds credentials or a query"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"dimensions": -1}, "dimensions is -1"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"extra": {"input": "x"}}, "`input` has an option of its own"),
        ({"max_tokens": 9}, "max_tokens needs the model's tokenizer"),
        ({"tokenizer": "./nothing"}, "no model folder"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], reason: str) -> None:
    """Told when the encoder is made, without repeating a secret."""
    with pytest.raises(ConfigError, match=reason) as caught:
        make(**options)
    assert "Geheim1" not in str(caught.value)


class Notes(Collection):
    """Texts, encoded elsewhere."""

    id: str = Field(primary_key=True, max_length=20)
    text: str = Field(max_length=200)
    vector: Vector = VectorField(dim=DIM, encoder="openai:some-model", metric="COSINE")
    short: Vector = VectorField(dim=4, encoder="openai:some-model", metric="COSINE", source="text", truncate_dim=4)


class WrongNotes(Collection):
    """Two fields that contradict each other."""

    id: str = Field(primary_key=True, max_length=20)
    vector: Vector = VectorField(dim=DIM, encoder="openai:some-model", source="text")
    other: Vector = VectorField(dim=DIM + 1, encoder="openai:some-model", source="text")


def test_a_run(server: Fake, tmp_path: Path) -> None:
    """One request serves both fields; a bad row is rejected with the server's reason, the others land and are found."""
    server.bad = "BAD"
    rows = [{"id": str(place), "text": text} for place, text in enumerate([*WORDS, "BAD news", "last"])]
    report = connector.run(rows, into=Notes, milvus="./n.db", rejects={"fail_over": 1})
    assert (report.exit_code, report.counts.written, report.counts.rejected, report.rows.upserted) == (0, 11, 1, 11)
    [reject] = stored_rejects(next(Path(".connector").glob("*.db")), "notes")
    assert (reject["station"], "field `text`: the server refused it (status 400): This model's maximum" in reject["reason"]) == (
        "encode",
        True,
    )
    assert max(server.times[text] for text in WORDS) <= 5  # halving, never once more than that
    hits = connector.search(Notes, "text 3", field="short", milvus="./n.db", limit=1)
    assert hits[0].id == "3"
    sent = len(server.requests)
    assert connector.run(rows, into=Notes, milvus="./n.db", rejects={"fail_over": 1}).counts.unchanged == 11
    assert len(server.requests) == sent
    with pytest.raises(SchemaError, match=r"other wants dim 9, encoder openai:some-model gives 8"):
        connector.run(rows, into=WrongNotes, milvus="./w.db")


def test_texts_of_every_sort(server: Fake) -> None:
    """Other scripts arrive as they are."""
    assert np.array_equal(encode(list(TEXTS)), wanted(list(TEXTS)))
