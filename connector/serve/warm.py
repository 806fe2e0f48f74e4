"""Keeps models loaded between runs and shares them: jobs with the same encoder use the same weights, and take turns on the device.

A turn is one micro-batch, so it is never longer than a window. What makes two encoders the same is everything that the schema says of them,
what the model's files are, and where and how it computes. A model that failed, or in which a run hangs, is not used again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from connector.encoding.binding import make_encoder
from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import DeviceSpec, Encoder, Head, Model, Output, Prepared
from connector.schema.spec import VectorFieldSpec
from connector.serve.turnstile import Owner, Turnstile

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Warm:
    """A model that is loaded, or about to be.

    Attributes:
        loading: Held while it is loaded, so that it is loaded once.
        model: The model; None before.
        turns: Of its device.
        open: Frees it.
        users: The runs that have it open.
        idle: When the last of them left.
        spoiled: Why it is not used any more; "" if it is.
    """

    loading: threading.Lock = field(default_factory=threading.Lock)
    model: Model | None = None
    turns: Turnstile = field(default_factory=Turnstile)
    open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    users: list[Owner] = field(default_factory=list)
    idle: float = 0.0
    spoiled: str = ""


class WarmEncoders:
    """The loaded models of a process.

    Args:
        keep: Seconds for which a model stays that nobody uses.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._mutex = threading.Lock()
        self._models: dict[str, _Warm] = {}
        self._turns: defaultdict[str, Turnstile] = defaultdict(Turnstile)

    def maker(self, owner: Owner) -> Callable[[VectorFieldSpec], Encoder]:
        """Builds encoders as `make_encoder` does, for one run; their `open` gives the shared models."""

        def make(spec: VectorFieldSpec) -> Encoder:
            made: Any = _Shared(make_encoder(spec), {"encoder": spec.encoder, "options": spec.options}, self, owner)
            return made  # type: ignore[no-any-return]  # it has all that the encoder has

        return make

    @contextlib.contextmanager
    def opened(self, encoder: Encoder, about: dict[str, Any], device: DeviceSpec, owner: Owner) -> Iterator[Model]:
        """The shared model of an encoder, loaded if it is not; it stays when the block ends.

        Raises:
            ConnectorError: It cannot be loaded.
        """
        key = json.dumps([about, asdict(encoder.model), asdict(device)], sort_keys=True, default=repr)
        warm = self._entered(key, owner)
        try:
            with warm.loading:
                if warm.model is None:
                    warm.model = self._loaded(encoder, device, warm)
                    warm.turns = self._turns_of(warm.model)
            made: Any = _Turns(warm, owner)
            yield made
        finally:
            self._left(key, warm, owner)

    def _entered(self, key: str, owner: Owner) -> _Warm:
        with self._mutex:
            warm = self._models.get(key)
            if warm is None or warm.spoiled:
                warm = self._models[key] = _Warm()
            warm.users.append(owner)
            return warm

    def _loaded(self, encoder: Encoder, device: DeviceSpec, warm: _Warm) -> Model:
        """Loads it; where memory is short, again without those that nobody uses."""
        try:
            return warm.open.enter_context(encoder.open(device))
        except OutOfMemory:
            if not self.free(0.0):
                raise
        return warm.open.enter_context(encoder.open(device))

    def _turns_of(self, model: Model) -> Turnstile:
        """Of its device; a model that computes elsewhere keeps nobody else waiting."""
        if model.precision == "remote":
            return Turnstile()
        with self._mutex:
            return self._turns[str(getattr(model, "device", ""))]

    def _left(self, key: str, warm: _Warm, owner: Owner) -> None:
        with self._mutex:
            warm.users.remove(owner)
            warm.idle = time.monotonic()
            gone = not warm.users and (warm.model is None or bool(warm.spoiled) or self._keep <= 0)
            if gone and self._models.get(key) is warm:
                del self._models[key]
        if gone:
            warm.open.close()

    def free(self, keep: float | None = None) -> int:
        """Frees the models that nobody used for so many seconds (default: as long as they are to be kept); how many."""
        now, wait = time.monotonic(), self._keep if keep is None else keep
        with self._mutex:
            old = {key: one for key, one in self._models.items() if one.model is not None and not one.users and now - one.idle >= wait}
            for key in old:
                del self._models[key]
        for warm in old.values():
            warm.open.close()
        return len(old)

    def give_up(self, owner: Owner) -> None:
        """Lets the others go on without a run that hangs: its turn goes to the next, and the models that it has open are not used again."""
        with self._mutex:
            mine = [one for one in self._models.values() if owner in one.users]
            for warm in mine:
                warm.spoiled = "a run hangs in it"
            turnstiles = [*self._turns.values(), *(warm.turns for warm in mine)]
        for turns in turnstiles:
            turns.revoke(owner)

    @property
    def names(self) -> list[str]:
        """The models that are loaded: kind and name of each."""
        with self._mutex:
            return sorted(json.loads(key)[0]["encoder"] for key, one in self._models.items() if one.model is not None)


class _Shared:
    """An encoder whose models are shared: everything but `open` is the encoder's own."""

    def __init__(self, encoder: Encoder, about: dict[str, Any], pool: WarmEncoders, owner: Owner) -> None:
        self._encoder, self._about, self._pool, self._owner = encoder, about, pool, owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def open(self, device: DeviceSpec) -> contextlib.AbstractContextManager[Model]:
        """The shared model."""
        return self._pool.opened(self._encoder, self._about, device, self._owner)


class _Turns:
    """A shared model as one run sees it: each pass waits for its turn, and what the model says of its last pass is kept with this run."""

    submit = None
    """The model's own would pass by the turnstile: one run's micro-batches would be under way while another has the model."""

    def __init__(self, warm: _Warm, owner: Owner) -> None:
        self._warm, self._owner = warm, owner
        self.refused: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warm.model, name)

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """One pass, as `Model.forward`."""
        model: Any = self._warm.model
        with self._warm.turns.turn(self._owner):
            if self._warm.spoiled:
                raise EncodeError(f"the model is not used any more: {self._warm.spoiled}", hint="the next run loads it anew")
            try:
                outputs: list[Output] = model.forward(items, heads)
            except OutOfMemory:
                raise
            except Exception as error:
                self._warm.spoiled = f"it failed ({type(error).__name__})"
                raise
            self.refused = dict(getattr(model, "refused", {}))
            return outputs
