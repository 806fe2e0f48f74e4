"""Job files: what is accepted, what is refused with which words, and what never shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigError
from connector.interfaces import DeviceSpec
from connector.job import Job, SplitSettings
from connector.job.yaml_file import MAX_ALIASES, load_yaml

FULL = """
version: 1
job: nightly-products
namespace: shop/1
source: {kind: files, root: docs, include: ["*.md"]}
into: schemas/products.py:Products
milvus: {uri: "${env:TEST_URI}", token: "${file:token.txt}", database: shop, timeout: 5}
encode: {image: {device: cpu, precision: fp32, batch: 64}}
sync: mirror
rejects: {fail_over: 1%}
state: state/products.db
parse: text
split: {by: tokens, size: 128, overlap: 16}
map: {body: text}
transform: shop:clean
max_document_bytes: 1000
workers: 0
"""
SMALL = {"job": "j", "source": {"kind": "files", "root": "."}, "into": "s.py:S", "milvus": {"uri": "./m.db"}}
SMALL_YAML = "job: j\nsource: {kind: files, root: .}\ninto: s.py:S\nmilvus: {uri: ./m.db}\n"


def job(text: str) -> Job:
    """The job that a file with this text is."""
    Path("job.yaml").write_text(text, encoding="utf-8")
    return Job.from_yaml("job.yaml")


def refused(text: str) -> ConfigError:
    """What is said of a file with this text."""
    with pytest.raises(ConfigError) as caught:
        job(text)
    return caught.value


def check(**changes: Any) -> Job:
    """A small job with these keys."""
    return Job.check({**SMALL, **changes}, "job.yaml")


def value(text: str) -> Any:
    """What YAML makes of one value."""
    Path("value.yaml").write_text(f"x: {text}\n", encoding="utf-8")
    return load_yaml(Path("value.yaml"))["x"]


def test_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key that a job may have, and where it arrives."""
    monkeypatch.setenv("TEST_URI", "http://milvus:19530")
    Path("token.txt").write_text("s3cret\n", encoding="utf-8")
    made = job(FULL)
    assert (made.job, made.scope, made.where) == ("nightly-products", "shop/1", "job.yaml")
    assert (made.source.kind, made.source.options) == ("files", {"root": "docs", "include": ["*.md"]})
    assert (made.milvus.uri, made.milvus.database, made.milvus.timeout) == ("http://milvus:19530", "shop", 5.0)
    assert made.milvus.token is not None
    assert made.milvus.token.get_secret_value() == "s3cret"
    assert made.encode == {"image": DeviceSpec("cpu", "fp32", 64)}
    assert (made.sync, made.rejects.fail_over, made.state_path) == ("mirror", "1%", Path("state/products.db"))
    assert (made.parse, made.split, made.map) == ("text", SplitSettings(by="tokens", size=128, overlap=16), {"body": "text"})
    assert (made.transform, made.max_document_bytes, made.workers) == ("shop:clean", 1000, 0)


def test_defaults() -> None:
    """Four keys are enough; the rest has defaults that a user can rely on."""
    made = job(SMALL_YAML)
    assert (made.version, made.scope, made.sync, made.workers, made.max_document_bytes) == (1, "j", "upsert", 2, 64 << 20)
    assert made.state_path == Path(".connector/j.db")
    assert made.rejects.allowed(1000) == 0


@pytest.mark.parametrize(("share", "listed", "allowed"), [(3, 10, 3), ("1%", 1000, 10), ("0.5 %", 1000, 5), ("7", 10, 7), ("100%", 0, 0)])
def test_tolerated_rejects(share: Any, listed: int, allowed: float) -> None:
    """A number of documents or a share of those listed, also when it comes out of the environment as text."""
    assert check(rejects={"fail_over": share}).rejects.allowed(listed) == pytest.approx(allowed)


@pytest.mark.parametrize(
    ("changes", "said", "hint"),
    [
        ("sorce: {}", "job.yaml: unknown key `sorce`", "did you mean `source`?"),
        ("1: x", "job.yaml: unknown key `1`", "valid: encode"),
        ("where: x", "job.yaml: unknown key `where`", "valid: encode"),
        ("split: {sise: 3}", "job.yaml: split: unknown key `sise`", "did you mean `size`?"),
        ("rejects: {failover: 3}", "job.yaml: rejects: unknown key `failover`", "did you mean `fail_over`?"),
        ("encode: {image: {precison: fp32}}", "job.yaml: encode.image: unknown key `precison`", "did you mean `precision`?"),
        ("encode: {image: {1: fp32}}", "job.yaml: encode.image: unknown key `1`", "valid: allow_pickle_weights"),
        ("encode: {image: {precision: fp64}}", "job.yaml: `encode.image.precision`: Input should be 'auto'", "correct"),
        ("encode: {image: {batch: 0}}", "job.yaml: encode.image: batch is 0", "auto"),
        ("encode: {image: cuda}", "job.yaml: `encode.image`: Input should be a dictionary", "correct"),
        ("sync: mirrored", "job.yaml: `sync`: Input should be 'append', 'upsert' or 'mirror'", "correct"),
        ("version: 2", "job.yaml: `version`: Input should be 1", "correct"),
        ("workers: -1", "job.yaml: `workers`: Input should be greater than or equal to 0", "correct"),
        ("workers: many", "job.yaml: `workers`: Input should be a valid integer", "correct"),
        ("split: tokens", "job.yaml: `split`: Input should be a valid dictionary", "correct"),
        ("split: {size: 0}", "job.yaml: `split.size`: Input should be greater than or equal to 1", "correct"),
        ("rejects: {fail_over: some}", "job.yaml: `rejects.fail_over`: Value error, wanted a number or a share such as 1%", "correct"),
        ("rejects: {fail_over: -1}", "job.yaml: `rejects.fail_over`: Value error, wanted a number", "correct"),
        ("namespace: ''", "job.yaml: `namespace`: String should have at least 1 character", "correct"),
        ('namespace: "a\\0b"', "job.yaml: `namespace`: String should match pattern", "correct"),
        (f"namespace: {'ü' * 128}", "job.yaml: `namespace`: Value error, over 255 bytes", "correct"),
        ("max_document_bytes: 0", "job.yaml: `max_document_bytes`: Input should be greater", "correct"),
    ],
)
def test_wrong_keys_and_values(changes: str, said: str, hint: str) -> None:
    """The file, the place, what is wrong, and what was probably meant: at every level of the file."""
    error = refused(f"{SMALL_YAML}{changes}\n")
    assert error.message.startswith(said)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: files", "knd: files", "job.yaml: `source` has no `kind`"),
        ("{kind: files, root: .}", "./docs", "job.yaml: `source` has no `kind`"),
        ("{kind: files, root: .}", "", "job.yaml: `source` has no `kind`"),
        ("{kind: files, root: .}", "[files]", "job.yaml: `source` has no `kind`"),
        ("kind: files", "kind: 5", "job.yaml: `source` has no `kind`"),
        ("uri:", "urll:", "job.yaml: milvus: unknown key `urll`"),
        ("{uri: ./m.db}", "./m.db", "job.yaml: `milvus`: Input should be a valid dictionary"),
        ("./m.db", "milvus.example", "job.yaml: `milvus.uri`: Value error, neither http"),
        ("job: j\n", "", "job.yaml: `job`: Field required"),
        ("into: s.py:S\n", "", "job.yaml: `into`: Field required"),
        ("job: j\n", "job: ../up\n", "job.yaml: `job`: String should match pattern"),
        ("job: j\n", "job: 5\n", "job.yaml: `job`: Input should be a valid string"),
    ],
)
def test_what_a_job_must_have(old: str, new: str, said: str) -> None:
    """A key that is missing or is no key of ours is found before anything is opened."""
    assert refused(SMALL_YAML.replace(old, new)).message.startswith(said)


def test_source_keys_are_left_to_the_source() -> None:
    """What a source takes is its own affair, also keys that we use ourselves."""
    made = check(source={"kind": "x", "options": 1, "where": 2, 3: 4})
    assert made.source.options == {"options": 1, "where": 2, "3": 4}


def test_objects_of_the_sdk_pass() -> None:
    """A source object or a class takes the place of what a file would name."""
    source = object()
    assert check(source=source).source is source
    with pytest.raises(ConfigError, match="`source` has no `kind`"):
        check(source="./docs")


# -- YAML ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("Y", "Y"),
        ("true", True),
        ("False", False),
        ("2024-01-02", "2024-01-02"),
        ("22:22", "22:22"),
        ("1_000", "1_000"),
        ("010", "010"),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("null", None),
        ("~", None),
        ("1.2.3", "1.2.3"),
        ("'5'", "5"),
    ],
)
def test_values_mean_what_they_look_like(text: str, found: Any) -> None:
    """Norway's `no`, a time of day, a date and a number with a leading zero stay text, as in YAML 1.2."""
    assert value(text) == found
    assert type(value(text)) is type(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SMALL_YAML + "sync: mirror\nsync: upsert\n", "line 6: the key `sync` stands twice"),
        (SMALL_YAML + "split:\n  size: 1\n  size: 2\n", "line 7: the key `size` stands twice"),
        (SMALL_YAML + 'sync: mirror\n"sync": upsert\n', "line 6: the key `sync` stands twice"),
        ("job: [1, 2\nsource: x\n", "line 2: "),
        ("\tjob: x\n", "line 1: "),
        ("a: 1\n---\nb: 2\n", "line 2: "),
        ("job: !!python/object/apply:os.system [ls]\n", "line 1: could not determine a constructor"),
        ("a: *nobody\n", "line 1: found undefined alias"),
        ("a: &a [*a]\n", "line 1: the alias `a` stands within what it means"),
        ("a: &a {b: {c: *a}}\n", "line 1: the alias `a` stands within what it means"),
        ("a: !!int x\n", "a value does not fit its tag"),
        ("a: !!timestamp x\n", "a value does not fit its tag"),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n", "nested too deeply"),
        ("? [a, b]\n: c\n", "line 1: "),
        ("a: \x07\n", "special characters are not allowed"),
    ],
)
def test_broken_yaml(text: str, said: str) -> None:
    """The file, the line, and what is wrong with it; nothing in a file runs, loops or ends in a traceback."""
    error = refused(text)
    assert error.message.startswith("job.yaml: not valid YAML: ")
    assert said in error.message
    assert "\n" not in error.message


def test_alias_bomb() -> None:
    """A few lines that unfold into millions of values are refused, and at once; a handful of aliases is fine."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    start = time.perf_counter()
    assert f"more than {MAX_ALIASES} aliases" in refused("\n".join(lines)).message
    assert time.perf_counter() - start < 1
    Path("few.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a\n", encoding="utf-8")
    assert load_yaml(Path("few.yaml")) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}


def test_merged_keys_may_be_said_again() -> None:
    """`<<` gives defaults: a key that overrides one does not stand twice, however the mappings are nested."""
    Path("merge.yaml").write_text("z: {b: &b {<<: &a {x: 1}, x: 2}}\nc: {<<: *b, x: 3}\n", encoding="utf-8")
    assert load_yaml(Path("merge.yaml")) == {"z": {"b": {"x": 2}}, "c": {"x": 3}}


@pytest.mark.parametrize(
    ("text", "said"), [("", "found NoneType"), ("# nothing\n", "found NoneType"), ("- a\n", "found list"), ("text\n", "found str")]
)
def test_a_file_that_is_no_job(text: str, said: str) -> None:
    """An empty file or a list says so."""
    assert said in refused(text).message


def test_a_file_that_cannot_be_read() -> None:
    """A missing file, a folder and a file of bytes are named."""
    Path("bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path in ("missing.yaml", ".", "bytes.yaml"):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            Job.from_yaml(path)
        assert caught.value.message.startswith(f"{path}: ")


# -- references ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environment", "found"),
    [
        ("${env:TEST_A}", {"TEST_A": "1"}, "1"),
        ('"${env:TEST_A}/${env:TEST_B}"', {"TEST_A": "x", "TEST_B": "y"}, "x/y"),
        ("${env:TEST_A:-fallback}", {}, "fallback"),
        ("${env:TEST_A:-fallback}", {"TEST_A": ""}, "fallback"),
        ("${env:TEST_A:-fallback}", {"TEST_A": "set"}, "set"),
        ("${env:TEST_A:-}", {}, ""),
        ('"${env:TEST_A:-http://h:1/x-y}"', {}, "http://h:1/x-y"),
        ("${env:TEST_A}", {"TEST_A": ""}, ""),
        ("${env:TEST_A}", {"TEST_A": "{a: 1}\nb: 2"}, "{a: 1}\nb: 2"),
        ("${env:TEST_A}", {"TEST_A": "${env:TEST_B}", "TEST_B": "no"}, "${env:TEST_B}"),
        ("$HOME and 5 $", {}, "$HOME and 5 $"),
    ],
)
def test_references(text: str, environment: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's value takes the reference's place inside the string: it cannot inject YAML, nor another reference."""
    for name, content in environment.items():
        monkeypatch.setenv(name, content)
    assert value(text) == found


def test_text_from_the_environment_becomes_a_number_where_one_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`workers: ${env:N}` is as good as a number."""
    monkeypatch.setenv("TEST_N", "3")
    made = job(SMALL_YAML + "workers: ${env:TEST_N}\nrejects: {fail_over: '${env:TEST_N}'}\n")
    assert (made.workers, made.rejects.fail_over) == (3, 3)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("${env:TEST_UNSET}", "job.yaml: line 5: the environment variable `TEST_UNSET` is not set", "${env:TEST_UNSET:-default}"),
        ("${file:gone.txt}", "job.yaml: line 5: gone.txt: No such file or directory", "${file:...}"),
        ("${file:binary}", "job.yaml: line 5: binary: not UTF-8", "${file:...}"),
        ("${evn:TEST_A}", "job.yaml: line 5: `${evn:TEST_A}` is no reference", "${env:NAME}"),
        ("${TEST_A}", "job.yaml: line 5: `${TEST_A}` is no reference", "${env:NAME}"),
        ("${env:}", "job.yaml: line 5: `${env:}` is no reference", "${env:NAME}"),
    ],
)
def test_wrong_references(text: str, said: str, hint: str) -> None:
    """The file, the line and the name; a misspelt reference is not sent to a server as a password."""
    Path("binary").write_bytes(b"\xff")
    error = refused(f"{SMALL_YAML}state: {text}\n")
    assert error.message == said
    assert hint in error.hint


# -- secrets ---------------------------------------------------------------------------------------------------------------------------


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither `repr` nor `str` of a job, nor its dump, says a token, a password or what a source was given."""
    monkeypatch.setenv("TEST_TOKEN", "s3cret")
    text = SMALL_YAML.replace("root: .", "root: ., password: '${env:TEST_TOKEN}'")
    for credentials in ("token: '${env:TEST_TOKEN}'", "user: u, password: '${env:TEST_TOKEN}'"):
        made = job(text.replace("./m.db", f"http://h:1, {credentials}"))
        for shown in (repr(made), str(made), repr(made.source), repr(made.milvus), str(made.milvus.model_dump())):
            assert "s3cret" not in shown
        assert made.source.options["password"] == "s3cret"  # noqa: S105 - it must still arrive


@pytest.mark.parametrize(
    "changes",
    [
        "milvus: {uri: 'http://u:s3cret@h:1'}",
        "milvus: {uri: 's3cret'}",
        "milvus: {uri: ./m.db, token: s3cret}",
        "milvus: {uri: 'http://h:1', token: [s3cret]}",
        "milvus: {uri: 'http://h:1', token: x, user: u, password: s3cret}",
        "milvus: {uri: 'http://h:1', password: s3cret}",
        "milvus: {uri: 'http://h:1', timeout: s3cret}",
        "milvus: s3cret",
        "milvus: {uri: 'http://h:1', database: !!int s3cret}",
        "milvus: {uri: 'http://h:1', database: 's3cret}",
    ],
)
def test_secrets_are_not_in_error_messages(changes: str) -> None:
    """A refused value is named by its key, never quoted."""
    text = SMALL_YAML.replace("milvus: {uri: ./m.db}", changes)
    assert "s3cret" in text
    assert "s3cret" not in str(refused(text))
