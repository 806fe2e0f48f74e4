"""What is secret does not reach a log line, whichever way it stands in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.observe import masking
from connector.observe.masking import hide, masked


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    before = set(masking._KNOWN)
    yield
    masking._KNOWN.clear()
    masking._KNOWN.update(before)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:Geheim@host:19530/db", "http://***@host:19530/db"),
        ("GET https://key-Geheim@hub/x", "GET https://***@hub/x"),
        ("password=Geheim1 user=me", "password=*** user=me"),
        ("{'token': 'Geheim', 'uri': 'http://h'}", "{'token': '***', 'uri': 'http://h'}"),
        ('{"api_key": "Geheim"}', '{"api_key": "***"}'),
        ("Authorization: Bearer Geheim.a-b", "Authorization: Bearer ***"),
        ("headers: {'authorization': 'Basic R2VoZWlt'}", "headers: {'authorization': 'Basic ***'}"),
        ("sent Bearer Geheim-Geheim", "sent Bearer ***"),
        ("POST https://hooks.slack.com/services/T0/B0/Geheim failed", "POST https://hooks.slack.com/*** failed"),
        ("?access_token=Geheim&page=2", "?access_token=***&page=2"),
    ],
)
def test_what_looks_like_a_secret(text: str, shown: str) -> None:
    """Passwords before a host, values of telling names, headers, and Slack's webhooks."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "512 tokens: at most 256 are read",
        "http://127.0.0.1:19530",
        "a@example.com wrote",
        "the key `sku` is missing",
        "notes: 3 of 4 documents; token by token",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    """A log that is masked beyond need is of no use."""
    assert masked(text) == text


def test_what_a_job_holds() -> None:
    """Known values are masked wherever they stand, of `user:password` the password alone too; very short ones are not looked for."""
    hide(["root:Geheim-1", "Geheim-2", "abc"])
    assert masked("x Geheim-1 y root:Geheim-1, Geheim-2: abc") == "x *** y ***, ***: abc"
