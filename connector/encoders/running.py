"""Holds a loaded model while it is used: compiled or packed, its parts sized as was asked for; its weights are freed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from connector.interfaces import DeviceSpec, Model, ModelIdentity


@contextlib.contextmanager
def running(model: Any, identity: ModelIdentity, device: DeviceSpec) -> Iterator[Model]:
    """The model, until the context ends.

    Args:
        model: A `LaneModel`.
        identity: By which the size of its parts is remembered.
        device: Says whether a size was given, and whether to compile.
    """
    if device.compile:
        model.compile()
    else:
        model.pack()
    if device.batch == "auto":
        model.tune(identity)
    try:
        yield model
    finally:
        model.close()
