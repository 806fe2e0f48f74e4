"""Asks a library what only it knows, once: its answers are remembered by its version and the question, so that a plan imports no torch."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Sequence
from typing import Any

from connector.encoders.memory import recall, remember
from connector.record import fingerprint


def asked(library: str, what: str, about: Sequence[Any], ask: Callable[[], Any]) -> Any:
    """The answer, from the memory or from `ask`.

    Args:
        library: Whose version counts; the memory's file has its name.
        what: The sort of question.
        about: The question as JSON values, its first one readable.
        ask: Gives the answer, a JSON value.
    """
    question = fingerprint({"about": json.dumps(about, sort_keys=True, default=repr)})
    key = f"{importlib.metadata.version(library)}/{what}/{about[0]}/{question}"
    known = recall(f"{library}.json").get(key)
    if known is None:
        known = ask()
        remember(f"{library}.json", key, known)
    return known
