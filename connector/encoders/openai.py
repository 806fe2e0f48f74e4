"""Text encoders behind an OpenAI-compatible embeddings endpoint: text-embeddings-inference, infinity, vLLM, or a hosted one.

The model is somebody else's: its weights cannot be hashed, so its name is its identity, and two servers of one name are taken for one
space. Where it is served, and with what key, is the machine's side and never part of it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from connector.encoders.heads import Offer
from connector.encoders.locate import locate
from connector.encoders.memory import recall, remember
from connector.encoders.openai_http import Endpoint
from connector.encoders.openai_model import PROBE, OpenaiModel
from connector.encoders.tokens import checked, load_tokenizer
from connector.encoders.weights import file_hash, read_json
from connector.errors import ConfigError, nearest
from connector.interfaces import DeviceSpec, Head, Model, ModelIdentity, Prepared, Role, TextLimits, VectorSpec
from connector.retry import RetryPolicy

OFFICIAL = "https://api.openai.com/v1"
"""Where requests go if nothing else is said."""

BYTES_A_TOKEN = 3
"""How tokens are estimated without a tokenizer: English has about four, Chinese about three bytes a token."""

_CACHE = "openai.json"
_UNKNOWN = 1 << 20
_OURS = ("dimensions", "encoding_format", "input", "model")


@dataclass(frozen=True)
class RemoteTextPreparer:
    """Checks one text, estimates or counts its tokens, and with a tokenizer cuts what is too long.

    Attributes:
        prompt: Put before every text.
        tokenizer: Path of the tokenizer.json, or None.
        max_tokens: Most tokens of prompt and text, special ones included.
    """

    prompt: str
    tokenizer: Path | None = None
    max_tokens: int = 0

    def __call__(self, text: object) -> Prepared:
        """The prompt and the text; the cost is its tokens.

        Raises:
            RowError: The input is no text, is blank, or is not valid Unicode.
        """
        whole, cut = self.prompt + checked(text), False
        if self.tokenizer is None:
            tokens = 1 + len(whole.encode()) // BYTES_A_TOKEN
        else:
            [encoding] = load_tokenizer(self.tokenizer, max_tokens=self.max_tokens).encode_batch([whole])  # without the interpreter's lock
            tokens, cut = len(encoding.ids), bool(encoding.overflowing)
            whole = whole[: max(end for _, end in encoding.offsets)] if cut else whole
        return Prepared(whole, tokens, len(whole.encode()), truncated=cut)


class OpenaiEncoder:
    """Texts to vectors, by a server that speaks OpenAI's embeddings protocol.

    Args:
        model: The name that the server knows it by.
        base_url: What stands before `/embeddings`; default: the environment variable OPENAI_BASE_URL, else OpenAI's own.
        api_key_env: The environment variable that holds the key; nothing is sent where it is not set.
        dimensions: Asks the server for vectors of this length.
        document_prompt: Put before every text that is stored.
        query_prompt: Put before every text that is searched for.
        tokenizer: The model's tokenizer, so that texts are split and cut before they are sent: a folder, `package://...`, or a hub model.
        max_tokens: Most tokens of an input, prompt and special tokens included; default: what the tokenizer's folder states, else 512.
        batch_size: Most inputs of a request.
        batch_tokens: Most tokens of a request.
        concurrency: Most requests at a time.
        timeout: Seconds without a sign of the server.
        deadline: Seconds for which a request that may pass is tried again.
        encoding_format: How vectors come: `float`, or `base64`, which is a quarter of the bytes where the server knows it.
        extra: Further fields of every request, such as `truncate: true`.

    Raises:
        ConfigError: An option is wrong; nothing is sent before `open`.
    """

    inputs = frozenset({"text"})

    def __init__(  # noqa: PLR0913, PLR0917 - a schema writes these as keys
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        dimensions: int | None = None,
        document_prompt: str = "",
        query_prompt: str = "",
        tokenizer: str | None = None,
        max_tokens: int | None = None,
        batch_size: int = 32,
        batch_tokens: int = 32_768,
        concurrency: int = 4,
        timeout: float = 60.0,
        deadline: float = 300.0,
        encoding_format: Literal["float", "base64"] = "float",
        extra: dict[str, Any] | None = None,
    ) -> None:
        numbers = {"batch_size": batch_size, "batch_tokens": batch_tokens, "concurrency": concurrency, "timeout": timeout}
        _check({**numbers, "dimensions": 1 if dimensions is None else dimensions}, extra or {})
        self._name, self._dim, self._dimensions = model, dimensions, dimensions
        self._base_url = _base_url(base_url or os.environ.get("OPENAI_BASE_URL") or OFFICIAL)
        self._key_env, self._timeout, self._policy = api_key_env, timeout, RetryPolicy(deadline=deadline)
        self._size, self._tokens, self._concurrency = batch_size, batch_tokens, concurrency
        self._body = {**(extra or {}), "model": model, "encoding_format": encoding_format}
        self._body |= {} if dimensions is None else {"dimensions": dimensions}
        self._prompts = {"document": document_prompt, "query": query_prompt}
        self._path, self._max_tokens = _tokenizer(tokenizer, max_tokens)
        self.text: TextLimits | None = None if self._path is None else TextLimits(self._path, self._usable(self._path))
        self.model = ModelIdentity("openai", model, "", "", self._preprocessing(extra or {}))

    def _preprocessing(self, extra: dict[str, Any]) -> dict[str, Any]:
        known: dict[str, Any] = {"prompts": self._prompts, "dimensions": self._dimensions, "extra": extra}
        return known if self._path is None else {**known, "tokenizer": file_hash(self._path), "max_tokens": self._max_tokens}

    def _usable(self, path: Path) -> int:
        tokenizer = load_tokenizer(path)
        prompt = max(len(tokenizer.encode(prompt, add_special_tokens=False)) for prompt in self._prompts.values())
        usable = self._max_tokens - prompt - tokenizer.num_special_tokens_to_add(is_pair=False)
        if usable < 1:
            raise ConfigError(f"max_tokens {self._max_tokens} leaves no token for the text", hint="raise max_tokens or shorten the prompt")
        return int(usable)

    def declared(self, dim: int | None) -> None:
        """Takes the dimension of a schema's field for the model's, unless `dimensions` says it; every answer is compared with it."""
        self._dim = self._dim or dim

    def resolve(self, head: Head) -> Head:
        """The head with defaults filled in: vectors as the server gives them.

        Raises:
            ConfigError: There is no such layer, pooling, dimension or type.
        """
        return Offer(self._name, self._dim or _UNKNOWN, ("embedding",), ("model",)).resolve(head)

    def spec(self, head: Head) -> VectorSpec:
        """A dense vector of `dimensions`, of what a schema declares, or of what one request told (remembered); or of `truncate_dim`.

        Raises:
            ConfigError: As `resolve`.
            Transient: The server has to be asked, and stays away.
        """
        filled = self.resolve(head)
        return VectorSpec("dense", filled.truncate_dim or self._known_dim(), filled.dtype)

    def _known_dim(self) -> int:
        if self._dim is None:
            key = json.dumps([self._base_url, self._body], sort_keys=True, default=repr)
            known = recall(_CACHE).get(key)
            if not isinstance(known, int):
                known = len(self._endpoint().embed([PROBE])[0])
                remember(_CACHE, key, known)
            self._dim = known
        return self._dim

    def preparer(self, role: Role, modality: str | None = None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - it reads nothing but text
        """Checks one text and puts the role's prompt before it."""
        if role not in get_args(Role):
            raise ConfigError(f"unknown role `{role}`", hint=nearest(role, get_args(Role)))
        return RemoteTextPreparer(self._prompts[role], self._path, self._max_tokens)

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """Reads the key; requests are sent by `forward`. Of the device only `batch` counts: the tokens of a request.

        Raises:
            ConfigError: The key cannot be one.
        """
        tokens = self._tokens if device.batch == "auto" else device.batch
        sizes = {"batch_size": self._size, "batch_tokens": tokens, "concurrency": self._concurrency}
        model = OpenaiModel(self._endpoint(), self._name, self._dim, **sizes)
        try:
            yield model
        finally:
            model.close()

    def _endpoint(self) -> Endpoint:
        key = os.environ.get(self._key_env, "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigError(f"the environment variable {self._key_env} holds no key: spaces or odd characters", hint="set it again")
        return Endpoint(self._base_url, self._body, key, self._key_env, self._timeout, self._policy)


def _check(numbers: dict[str, float], extra: dict[str, Any]) -> None:
    for name, value in numbers.items():
        if value <= 0:
            raise ConfigError(f"{name} is {value}, wanted more than 0", hint=f"correct {name}")
    for name in _OURS:
        if name in extra:
            raise ConfigError(f"extra: `{name}` has an option of its own", hint=f"write {name} beside extra")


def _base_url(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        ConfigError: It is no http or https address, or holds credentials: addresses appear in messages.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        whole = False
    if not whole:
        raise ConfigError("base_url is neither http://host/... nor https://host/...", hint=f"write it as {OFFICIAL}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("base_url holds credentials or a query", hint="write the key into an environment variable, named by api_key_env")
    return url.rstrip("/")


def _tokenizer(name: str | None, max_tokens: int | None) -> tuple[Path | None, int]:
    if name is None:
        if max_tokens is not None:
            raise ConfigError("max_tokens needs the model's tokenizer to count them", hint="set tokenizer, or remove max_tokens")
        return None, 0
    folder = locate(name).folder
    stated = read_json(folder / "tokenizer_config.json").get("model_max_length") if (folder / "tokenizer_config.json").is_file() else None
    known = int(stated) if isinstance(stated, int) and stated < _UNKNOWN else 512
    return folder / "tokenizer.json", max_tokens or known
