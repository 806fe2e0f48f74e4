"""Bytes to text: right, or rejected."""

from __future__ import annotations

import random

import pytest

from connector.errors import DocumentError
from connector.parsers.decoding import decode

FRENCH = "Été comme hiver, le café à la crème coûte très cher ; où êtes-vous allés ? Garçon, ça va."
RUSSIAN = "Привет, как дела? Сегодня хорошая погода, мы пойдем гулять в парк."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_encodings(encoding: str) -> None:
    """UTF-8 needs no mark; with a byte order mark UTF-16 and UTF-32 are read too, and the mark is no part of the text."""
    assert decode(FRENCH.encode(encoding)) == FRENCH


def test_big_endian_mark() -> None:
    """The byte order mark tells the order."""
    assert decode(b"\xfe\xff" + FRENCH.encode("utf-16-be")) == FRENCH


@pytest.mark.parametrize(("text", "encoding"), [(FRENCH, "cp1252"), (RUSSIAN, "cp1251"), ("東京は大きな都市です。" * 5, "cp932")])
def test_detected(text: str, encoding: str) -> None:
    """Enough text of a known language is detected without a declaration."""
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "encoding", "declared"),
    [("café", "latin-1", "ISO-8859-1"), ("da\u2019s", "cp1252", "latin1"), ("пар", "koi8-r", "koi8-r")],
)
def test_declared(text: str, encoding: str, declared: str) -> None:
    """Where detection could not be sure, the declared charset decides; Latin-1 is read as browsers do, as windows-1252."""
    assert decode(text.encode(encoding), declared) == text


def test_utf8_wins_over_a_wrong_declaration() -> None:
    """Bytes that are valid UTF-8 are UTF-8, whatever a template declared."""
    assert decode(FRENCH.encode(), "iso-8859-1") == FRENCH


def test_escaped_encodings_pass_for_ascii_but_are_declared() -> None:
    """ISO-2022-JP is 7-bit: only its declaration and its escapes tell it from ASCII."""
    assert decode("日本語".encode("iso2022_jp"), "iso-2022-jp") == "日本語"


@pytest.mark.parametrize("declared", ["no-such-charset", "", "a\0b", "utf-16", "base64", "rot13", "idna"])
def test_useless_declaration_is_ignored(declared: str) -> None:
    """A charset that does not exist, does not fit, or is no charset changes nothing."""
    assert decode(FRENCH.encode("cp1252"), declared) == FRENCH


@pytest.mark.parametrize("data", [b"a\0b", b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xfea\0\0\0"])
def test_nul_means_binary(data: bytes) -> None:
    """Bytes with U+0000 are rejected as binary, also when a mark says UTF-16."""
    with pytest.raises(DocumentError, match="binary"):
        decode(data)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_rejected(seed: int) -> None:
    """Random bytes are no text: no encoding is guessed for them."""
    rng = random.Random(seed)  # noqa: S311  # a fixed sequence is the point
    with pytest.raises(DocumentError, match="not text in any encoding that could be told with confidence"):
        decode(bytes(rng.randrange(1, 256) for _ in range(rng.choice([20, 200, 2000]))))


def test_too_short_to_tell_is_rejected() -> None:
    """Four letters are not enough to tell Latin-1 from Latin-2: rejected, not guessed."""
    with pytest.raises(DocumentError, match="confidence"):
        decode("café".encode("latin-1"))


def test_empty() -> None:
    """No bytes are no text, and no error."""
    assert decode(b"") == ""
