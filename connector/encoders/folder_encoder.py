"""What encoders have in common: how a head is read, roles, and, of those whose models are folders, downloads and how weights are opened."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, get_args

from connector.encoders.heads import Offer
from connector.encoders.locate import Located, with_weights
from connector.encoders.running import running
from connector.encoders.taps import Taps
from connector.encoders.weights import check_loadable, check_weights, weights_hash
from connector.errors import ConfigError, nearest
from connector.interfaces import DeviceSpec, Head, Model, ModelIdentity, Prepared, Role, VectorSpec


class NetworkEncoder(abc.ABC):
    """An encoder that runs a network here, wherever its weights are."""

    model: ModelIdentity

    def _named(self, head: Head) -> Head:
        """The head with its layer in the one form."""
        return head

    @abc.abstractmethod
    def _offer(self, head: Head) -> Offer | Taps:
        """What the model offers to a head, whose layer is in the one form."""

    @abc.abstractmethod
    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:
        """As `preparer`, for a role that there is."""

    def resolve(self, head: Head) -> Head:
        """The head with the model's defaults filled in.

        Raises:
            ConfigError: There is no such layer, pooling, dimension or type.
        """
        named = self._named(head)
        return self._offer(named).resolve(named)

    def spec(self, head: Head) -> VectorSpec:
        """What the head gives: one dense vector an input, or with pooling none one a position.

        Raises:
            ConfigError: As `resolve`.
        """
        named = self._named(head)
        return self._offer(named).spec(named)

    def preparer(self, role: Role, modality: str | None = None) -> Callable[[Any], Prepared]:
        """Prepares one input.

        Raises:
            ConfigError: There is no such role, or the model does not read this.
        """
        if role not in get_args(Role):
            raise ConfigError(f"unknown role `{role}`", hint=nearest(role, get_args(Role)))
        return self._preparer(role, modality)


class FolderEncoder(NetworkEncoder):
    """An encoder of one model folder.

    Args:
        located: Where it is.
    """

    kind: ClassVar[str]

    def __init__(self, located: Located) -> None:
        self._located = located
        self._name = located.name

    @abc.abstractmethod
    def _load(self, root: Path, device: DeviceSpec) -> Any:
        """The model with its weights, which are all there below `root`; it has `close()`."""

    def _files(self, root: Path) -> list[Path]:
        """The weight files when the model's folder is `root`."""
        return check_weights(root, self._name)

    def _hash(self) -> str:
        """What stands for the weights of a model without a commit."""
        return weights_hash(self._files(self._located.folder))

    def _identity(self, preprocessing: dict[str, Any]) -> ModelIdentity:
        """The identity; a hub model's commit stands for its weights and its config.json."""
        revision = self._located.revision
        return ModelIdentity(self.kind, self._name, revision, "" if revision else self._hash(), preprocessing)

    def pull(self) -> None:
        """Downloads what `open` needs, if it is a hub model.

        Raises:
            ConfigError: The Hub cannot be reached, or the model has no weights.
        """
        self._files(with_weights(self._located))

    def spread(self, device: DeviceSpec) -> list[DeviceSpec]:
        """Where each copy of the model goes."""
        from connector.encoders.torch_device import spread

        return spread(device)

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """Imports torch and loads the weights; leaving the context frees them.

        Raises:
            ConfigError: The device or precision is not there, or the weights are missing, pickled or not this model's.
        """
        root = with_weights(self._located)
        check_loadable(self._files(root), self._name, pickle=device.allow_pickle_weights)
        with running(self._load(root, device), self.model, device) as model:
            yield model
