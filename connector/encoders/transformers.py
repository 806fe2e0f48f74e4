"""Text encoders of the `transformers` library: what they give is known from JSON files, their weights are loaded by `open`.

Pooling, projections, normalisation, length and prompts follow the model's own folder, so that vectors agree with sentence-transformers.
Any hidden state and any pooling can be taken instead, several of them in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.encoders import layers
from connector.encoders.describe import POOLINGS, TextModelDescription, describe
from connector.encoders.folder_encoder import FolderEncoder
from connector.encoders.heads import RAGGED, Offer
from connector.encoders.locate import locate
from connector.encoders.tokens import TextPreparer, load_tokenizer
from connector.encoders.weights import check_weights, file_hash
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, Prepared, Role, TextLimits


class TransformersEncoder(FolderEncoder):
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
        super().__init__(locate(model, revision))
        self._about = about = self._checked(describe(self._located.folder, self._name))
        self._path = about.folder / "tokenizer.json"
        self._max_tokens = self._length(max_tokens)
        stated: dict[str, str | None] = {"document": document_prompt, "query": query_prompt}
        self._prompts = {role: about.prompts.get(role, "") if prompt is None else prompt for role, prompt in stated.items()}
        self.text: TextLimits | None = TextLimits(self._path, self._usable())
        self.model = self._identity(self._reading())

    def _checked(self, about: TextModelDescription) -> TextModelDescription:
        """What the folder states, if it is a model of this kind."""
        if about.modules.sparse is not None:
            raise ConfigError(f"model {self._name} gives sparse vectors", hint=f"write splade:{self._name}")
        return about

    def _length(self, wanted: int | None) -> int:
        most = self._about.positions
        if wanted is not None and (wanted < 1 or (most is not None and wanted > most)):
            hint = f"set max_tokens to at most {most}"
            raise ConfigError(f"max_tokens is {wanted}, but model {self._name} reads 1 to {most} tokens", hint=hint)
        return self._about.max_tokens if wanted is None else wanted

    def _usable(self) -> int:
        """Tokens left for the user's text once special tokens and the longer prompt are taken off."""
        tokenizer = load_tokenizer(self._path, lowercase=self._about.lowercase)
        name, size = self._name, self._about.vocabulary
        if size is not None and tokenizer.get_vocab_size() > size:
            problem = f"model {name}: the tokenizer has {tokenizer.get_vocab_size()} tokens, the model {size}"
            raise ConfigError(problem, hint="download the model again")
        prompt = max(len(tokenizer.encode(prompt, add_special_tokens=False)) for prompt in self._prompts.values())
        usable = self._max_tokens - prompt - tokenizer.num_special_tokens_to_add(is_pair=False)
        if usable < 1:
            problem = f"model {name}: max_tokens {self._max_tokens} leaves no token for the text"
            raise ConfigError(problem, hint="raise max_tokens or shorten the prompt")
        return usable

    def _reading(self) -> dict[str, Any]:
        """Everything done to a text, as JSON values."""
        reading: dict[str, Any] = {"tokenizer": file_hash(self._path), "max_tokens": self._max_tokens, "prompts": dict(self._prompts)}
        if self._about.lowercase:
            reading["lowercase"] = True
        if not self._about.modules.prompt_pooled and any(self._prompts.values()):
            reading["prompt_pooled"] = False
        return reading

    def _files(self, root: Path) -> list[Path]:
        """Those of the network and of its projections."""
        folders = [self._about.folder, *(one.folder for one in self._about.modules.projections)]
        return [file for one in folders for file in check_weights(root / one.relative_to(self._located.folder), self._name)]

    def _named(self, head: Head) -> Head:
        return replace(head, layer=layers.canonical(head.layer, self._about.depth))

    def _offer(self, head: Head) -> Offer:
        """What can be had: the folder's own embedding, or any hidden state pooled in any way."""
        about, modules, own = self._about, self._about.modules, self._about.modules.pooling
        names, projected = layers.names(about.depth), (layers.PROJECTED,) if modules.projections else ()
        if projected and head.layer in {None, layers.PROJECTED}:
            width = modules.projections[-1].outputs
            return Offer(self._name, width, (*projected, *names), (own,), modules.normalize, about.truncate_dim)
        modes = str(head.pooling or own).split("+")
        joined = ("+".join(modes),) if set(modes) <= set(POOLINGS) and len(modes) == len(set(modes)) else ()
        other = head.pooling == RAGGED or bool(projected)  # what the folder says of its embedding says nothing of these
        return Offer(
            self._name,
            about.hidden_size * (len(modes) if joined else 1),
            (*names, *projected),
            tuple(dict.fromkeys((own, *POOLINGS, RAGGED, *joined))),
            modules.normalize and head.pooling != RAGGED,
            None if other else about.truncate_dim,
        )

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - it reads nothing but text
        """Tokenises one text, after the role's prompt."""
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

    def _load(self, root: Path, device: DeviceSpec) -> Any:
        return self._network(root / self._about.folder.relative_to(self._located.folder), device)

    def _network(self, folder: Path, device: DeviceSpec) -> Any:
        from connector.encoders.text_model import load

        about = self._about
        return load(folder, self._name, device, pad_id=about.pad_id, projections=about.modules.projections)
