"""What encoders have in common whose models are folders that `save_pretrained` wrote: heads, downloads, and how weights are opened."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, get_args

from connector.encoders.heads import Offer
from connector.encoders.locate import locate, with_weights
from connector.encoders.running import running
from connector.encoders.vision_types import read_config
from connector.encoders.weights import check_loadable, check_weights, network_hash
from connector.errors import ConfigError, nearest
from connector.interfaces import DeviceSpec, Head, Model, ModelIdentity, Role, VectorSpec


class FolderEncoder(abc.ABC):
    """An encoder of one model folder.

    Args:
        model: `org/name`, `org/name@revision`, a folder, or `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a hub model.
    """

    kind: ClassVar[str]
    model: ModelIdentity

    def __init__(self, model: str, revision: str | None) -> None:
        self._located = locate(model, revision)
        self._name = self._located.name

    @abc.abstractmethod
    def _offer(self, head: Head) -> tuple[Head, Offer]:
        """The head with its layer in the one form, and what the model offers to it."""

    @abc.abstractmethod
    def _load(self, folder: Path, device: DeviceSpec) -> Any:
        """The model with its weights, which are all there; it has `close()`."""

    def _identity(self, preprocessing: dict[str, Any]) -> ModelIdentity:
        """The identity; a hub model's commit stands for its weights and its config.json."""
        folder, name, revision = self._located.folder, self._name, self._located.revision
        weights = "" if revision else network_hash(check_weights(folder, name), read_config(folder, name))
        return ModelIdentity(self.kind, name, revision, weights, preprocessing)

    def resolve(self, head: Head) -> Head:
        """The head with the model's defaults filled in.

        Raises:
            ConfigError: There is no such layer, pooling, dimension or type.
        """
        asked, offer = self._offer(head)
        return offer.resolve(asked)

    def spec(self, head: Head) -> VectorSpec:
        """What the head gives: one dense vector an input, or with pooling none one a position.

        Raises:
            ConfigError: As `resolve`.
        """
        asked, offer = self._offer(head)
        return offer.spec(asked)

    def pull(self) -> None:
        """Downloads what `open` needs, if it is a hub model.

        Raises:
            ConfigError: The Hub cannot be reached, or the model has no weights.
        """
        check_weights(with_weights(self._located), self._name)

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """Imports torch and loads the weights; leaving the context frees them.

        Raises:
            ConfigError: The device or precision is not there, or the weights are missing, pickled or not this model's.
        """
        folder = with_weights(self._located)
        check_loadable(check_weights(folder, self._name), self._name, pickle=device.allow_pickle_weights)
        with running(self._load(folder, device), self.model, device) as model:
            yield model


def check_role(role: Role) -> None:
    """Refuses what is neither document nor query.

    Raises:
        ConfigError: It is neither.
    """
    if role not in get_args(Role):
        raise ConfigError(f"unknown role `{role}`", hint=nearest(role, get_args(Role)))
