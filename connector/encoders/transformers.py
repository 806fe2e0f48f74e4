"""Text encoders of the `transformers` library: what they give is known from JSON files, their weights are loaded by `open`.

Pooling, projections, normalisation, length and prompts follow the model's own folder, so that vectors agree with sentence-transformers.
Any hidden state and any pooling can be taken instead, several of them in one pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from connector.encoders import layers
from connector.encoders.describe import POOLINGS, TextModelDescription, describe
from connector.encoders.heads import RAGGED, Offer
from connector.encoders.locate import locate, with_weights
from connector.encoders.running import running
from connector.encoders.tokens import TextPreparer, load_tokenizer
from connector.encoders.weights import check_loadable, check_weights, file_hash, weights_hash
from connector.errors import ConfigError, nearest
from connector.interfaces import DeviceSpec, Head, Model, ModelIdentity, Prepared, Role, TextLimits, VectorSpec


class TransformersEncoder:
    """Text to vectors, by a model of the Hugging Face Hub, of a folder or of an installed package.

    Args:
        model: `org/name`, `org/name@revision`, a folder, or `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a hub model.
        max_tokens: Most tokens of one input, special tokens and prompt included; default: what the model states.
        document_prompt: Put before every text that is stored; default: what the model states, "" for none.
        query_prompt: Put before every text that is searched for; default: what the model states, "" for none.

    Raises:
        ConfigError: There is no such model, a file of it is missing or broken, or it needs what this encoder does not do.
    """

    kind = "transformers"
    inputs = frozenset({"text"})

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_tokens: int | None = None,
        document_prompt: str | None = None,
        query_prompt: str | None = None,
    ) -> None:
        self._located = locate(model, revision)
        self._about = about = self._checked(describe(self._located.folder, self._located.name))
        self._path = about.folder / "tokenizer.json"
        self._max_tokens = self._length(max_tokens)
        stated: dict[str, str | None] = {"document": document_prompt, "query": query_prompt}
        self._prompts = {role: about.prompts.get(role, "") if prompt is None else prompt for role, prompt in stated.items()}
        self.text: TextLimits | None = TextLimits(self._path, self._usable())
        self.model = self._identity()

    def _checked(self, about: TextModelDescription) -> TextModelDescription:
        """What the folder states, if it is a model of this kind."""
        if about.modules.sparse is not None:
            raise ConfigError(f"model {self._located.name} gives sparse vectors", hint=f"write splade:{self._located.name}")
        return about

    def _length(self, wanted: int | None) -> int:
        most = self._about.positions
        if wanted is not None and (wanted < 1 or (most is not None and wanted > most)):
            hint = f"set max_tokens to at most {most}"
            raise ConfigError(f"max_tokens is {wanted}, but model {self._located.name} reads 1 to {most} tokens", hint=hint)
        return self._about.max_tokens if wanted is None else wanted

    def _usable(self) -> int:
        """Tokens left for the user's text once special tokens and the longer prompt are taken off."""
        tokenizer = load_tokenizer(self._path, lowercase=self._about.lowercase)
        name, size = self._located.name, self._about.vocabulary
        if size is not None and tokenizer.get_vocab_size() > size:
            problem = f"model {name}: the tokenizer has {tokenizer.get_vocab_size()} tokens, the model {size}"
            raise ConfigError(problem, hint="download the model again")
        prompt = max(len(tokenizer.encode(prompt, add_special_tokens=False)) for prompt in self._prompts.values())
        usable = self._max_tokens - prompt - tokenizer.num_special_tokens_to_add(is_pair=False)
        if usable < 1:
            problem = f"model {name}: max_tokens {self._max_tokens} leaves no token for the text"
            raise ConfigError(problem, hint="raise max_tokens or shorten the prompt")
        return usable

    def _identity(self) -> ModelIdentity:
        located = self._located
        preprocessing: dict[str, Any] = {"tokenizer": file_hash(self._path), "max_tokens": self._max_tokens, "prompts": dict(self._prompts)}
        if self._about.lowercase:
            preprocessing["lowercase"] = True
        if not self._about.modules.prompt_pooled and any(self._prompts.values()):
            preprocessing["prompt_pooled"] = False
        weights = "" if located.revision else weights_hash(self._weights(located.folder))
        return ModelIdentity(self.kind, located.name, located.revision, weights, preprocessing)

    def _weights(self, root: Path) -> list[Path]:
        """The weight files of the network and of its projections, when the model's folder is `root`."""
        folders = [self._about.folder, *(one.folder for one in self._about.modules.projections)]
        return [file for one in folders for file in check_weights(root / one.relative_to(self._located.folder), self._located.name)]

    def resolve(self, head: Head) -> Head:
        """The head with the model's defaults filled in.

        Raises:
            ConfigError: There is no such layer, pooling, dimension or type.
        """
        return self._offer(head).resolve(self._named(head))

    def spec(self, head: Head) -> VectorSpec:
        """A dense vector of the model's width, or of `truncate_dim`; with pooling none, one such vector a token.

        Raises:
            ConfigError: As `resolve`.
        """
        return self._offer(head).spec(self._named(head))

    def _named(self, head: Head) -> Head:
        return replace(head, layer=layers.canonical(head.layer, self._about.depth))

    def _offer(self, head: Head) -> Offer:
        """What can be had: the folder's own embedding, or any hidden state pooled in any way."""
        about, modules, own = self._about, self._about.modules, self._about.modules.pooling
        names, projected = layers.names(about.depth), (layers.PROJECTED,) if modules.projections else ()
        if projected and head.layer in {None, layers.PROJECTED}:
            width = modules.projections[-1].outputs
            return Offer(self._located.name, width, (*projected, *names), (own,), modules.normalize, about.truncate_dim)
        modes = str(head.pooling or own).split("+")
        joined = ("+".join(modes),) if set(modes) <= set(POOLINGS) and len(modes) == len(set(modes)) else ()
        other = head.pooling == RAGGED or bool(projected)  # what the folder says of its embedding says nothing of these
        return Offer(
            self._located.name,
            about.hidden_size * (len(modes) if joined else 1),
            (*names, *projected),
            tuple(dict.fromkeys((own, *POOLINGS, RAGGED, *joined))),
            modules.normalize and head.pooling != RAGGED,
            None if other else about.truncate_dim,
        )

    def preparer(self, role: Role, modality: str | None = None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - it reads nothing but text
        """Tokenises one text, after the role's prompt."""
        if role not in get_args(Role):
            raise ConfigError(f"unknown role `{role}`", hint=nearest(role, get_args(Role)))
        prompt = self._prompts[role]
        return TextPreparer(self._path, self._max_tokens, prompt, self._about.lowercase, self._left_out(prompt))

    def _left_out(self, prompt: str) -> int:
        """Positions of a prompt that is not pooled: its tokens, and the special ones before them."""
        if self._about.modules.prompt_pooled or not prompt:
            return 0
        encoding = load_tokenizer(self._path, lowercase=self._about.lowercase).encode(prompt)
        return len(encoding.ids) - encoding.special_tokens_mask[-1]

    def positions(self, head: Head, prepared: Prepared) -> int:  # noqa: ARG002 - every layer has the same positions
        """One vector a token, special tokens included."""
        return prepared.cost

    def pull(self) -> None:
        """Downloads what `open` needs, if it is a hub model.

        Raises:
            ConfigError: The Hub cannot be reached, or the model has no weights.
        """
        self._weights(with_weights(self._located))

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """Imports torch and loads the weights; leaving the context frees them.

        Raises:
            ConfigError: The device or precision is not there, or the weights are missing, pickled or not this model's.
        """
        root = with_weights(self._located)
        check_loadable(self._weights(root), self._located.name, pickle=device.allow_pickle_weights)
        with running(self._load(root / self._about.folder.relative_to(self._located.folder), device), self.model, device) as model:
            yield model

    def _load(self, folder: Path, device: DeviceSpec) -> Any:
        from connector.encoders.text_model import load

        about = self._about
        return load(folder, self._located.name, device, pad_id=about.pad_id, projections=about.modules.projections)
