"""Loads networks of the transformers library from a folder, offline, whole or not at all. Imports transformers, and with it torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from connector.encoders.torch_device import dtype_of, is_out_of_memory, resolve_device, resolve_precision
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec


def _pooler(key: str) -> bool:
    return "pooler" in key


def pretrained(
    kind: Any, folder: Path, name: str, spec: DeviceSpec, *, unused: Callable[[str], bool] = _pooler, **options: Any
) -> tuple[Any, str]:
    """A network in evaluation mode on the device of `spec`, and the precision that it computes in.

    Args:
        kind: A class of transformers with `from_pretrained`, such as AutoModel.
        folder: Holds config.json and the weights.
        name: Of the model, for messages.
        spec: Where and how to compute.
        unused: Whether a tensor of this name is never used here, so that it may be missing from the weights.
        **options: Further arguments of `from_pretrained`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    device = resolve_device(spec.device)
    precision = resolve_precision(spec.precision, device)
    given = {"trust_remote_code": False, "local_files_only": True, "use_safetensors": not spec.allow_pickle_weights or None, **options}
    with quiet():
        network = _loaded(kind, folder, name, {**given, "dtype": dtype_of(precision), "output_loading_info": True}, unused)
    network.config.use_cache = False
    return network.eval().to(device), precision


def _loaded(kind: Any, folder: Path, name: str, options: dict[str, Any], unused: Callable[[str], bool]) -> Any:
    for attention in ("sdpa", "eager"):
        try:
            network, info = kind.from_pretrained(folder, attn_implementation=attention, **options)
        except Exception as error:  # noqa: BLE001 - whatever the library raises here, the files are not a model that it can load
            problem = type(error).__name__
            if is_out_of_memory(error):
                raise ConfigError(f"model {name}: its weights do not fit in memory", hint="use a smaller model") from None
            if not (attention == "sdpa" and "attention" in str(error)):
                break
        else:
            return _complete(network, info, name, unused)
    hint = "download the model again, or upgrade `transformers`"
    raise ConfigError(f"model {name}: the weights in {folder} could not be loaded ({problem})", hint=hint)


def _complete(network: Any, info: dict[str, Any], name: str, unused: Callable[[str], bool]) -> Any:
    """Refuses a network of which a part was left at random."""
    left = [*info.get("missing_keys", ()), *(key for key, *_ in info.get("mismatched_keys", ()))]
    wrong = sorted(key for key in left if not unused(key))
    if wrong:
        raise ConfigError(
            f"model {name}: the weights are not this model's: {len(wrong)} tensors are missing or have another shape, such as {wrong[0]}",
            hint="download the model again",
        )
    return network


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice of transformers on stderr; what matters is checked and raised."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
