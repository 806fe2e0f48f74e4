"""Runs a loaded text model: token ids in, one float32 vector a head and input out. The module that imports transformers.

A micro-batch goes through in parts that stay in the processor's cache, padded to their own longest input. The network computes in the
chosen precision, but pooling and normalisation are done in float32: summing hundreds of bfloat16 numbers in bfloat16 costs more accuracy
than all the layers before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.utils import logging as transformers_logging

from connector.encoders.lanes import LaneModel
from connector.encoders.torch_device import dtype_of, is_out_of_memory, part_of, resolve_device, resolve_precision
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, Output, Prepared


def load(folder: Path, name: str, spec: DeviceSpec, *, pad_id: int) -> TextModel:
    """The model in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    device = resolve_device(spec.device)
    precision = resolve_precision(spec.precision, device)
    options = {"trust_remote_code": False, "local_files_only": True, "use_safetensors": not spec.allow_pickle_weights or None}
    with _quiet():
        network = _pretrained(folder, name, {**options, "dtype": dtype_of(precision), "output_loading_info": True})
    network.config.use_cache = False
    return TextModel(network.eval().to(device), name, precision, part_of(spec, device), pad_id)


def _pretrained(folder: Path, name: str, options: dict[str, Any]) -> Any:
    for attention in ("sdpa", "eager"):
        try:
            network, info = transformers.AutoModel.from_pretrained(folder, attn_implementation=attention, **options)
        except Exception as error:  # noqa: BLE001 - whatever the library raises here, the files are not a model that it can load
            problem = type(error).__name__
            if is_out_of_memory(error):
                raise ConfigError(f"model {name}: its weights do not fit in memory", hint="use a smaller model") from None
            if not (attention == "sdpa" and "attention" in str(error)):
                break
        else:
            return _complete(network, info, name)
    hint = "download the model again, or upgrade `transformers`"
    raise ConfigError(f"model {name}: the weights in {folder} could not be loaded ({problem})", hint=hint)


def _complete(network: Any, info: dict[str, Any], name: str) -> Any:
    """Refuses a network of which a part was left at random; the pooler is never used here and may be missing."""
    left = [*info.get("missing_keys", ()), *(key for key, *_ in info.get("mismatched_keys", ()))]
    wrong = sorted(key for key in left if "pooler" not in key)
    if wrong:
        raise ConfigError(
            f"model {name}: the weights are not this model's: {len(wrong)} tensors are missing or have another shape, such as {wrong[0]}",
            hint="download the model again",
        )
    return network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice on stderr while a model is loaded; what matters is checked and raised."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


class TextModel(LaneModel):
    """A text model on one device; used by one thread at a time.

    Args:
        network: Gives `last_hidden_state` for `input_ids` and `attention_mask`.
        name: For messages.
        precision: What it computes in.
        part: Padded tokens that go through the network at once.
        pad_id: Token id that fills the shorter inputs up.
    """

    inputs = "inputs"

    def __init__(self, network: Any, name: str, precision: str, part: int, pad_id: int) -> None:
        super().__init__(network, name, precision, part, network.device)
        self._pad_id = pad_id

    def _forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        parts = self._lanes.map(lambda part: self._pass([item.data for item in part], heads), cut(items, self._part))
        return [_joined(list(outputs)) for outputs in zip(*parts, strict=True)]

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def _pass(self, ids: list[Any], heads: Sequence[Head]) -> list[Output]:
        lengths = [len(one) for one in ids]
        padded = np.full((len(ids), max(lengths)), self._pad_id, dtype=np.int64)
        for row, one in zip(padded, ids, strict=True):
            row[: len(one)] = one
        mask = np.arange(padded.shape[1]) < np.asarray(lengths)[:, None]
        device = self._network.device
        inputs = {"input_ids": torch.from_numpy(padded).to(device), "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(device)}
        hidden = self._network(**inputs).last_hidden_state.float()
        return [_head(hidden, inputs["attention_mask"], lengths, head) for head in heads]


def cut(items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
    """Consecutive parts of the items, each of at most `most` padded tokens or of one item."""
    parts: list[Sequence[Prepared]] = []
    start = dearest = 0
    for index, item in enumerate(items):
        if index > start and (index - start + 1) * max(dearest, item.cost) > most:
            parts.append(items[start:index])
            start, dearest = index, 0
        dearest = max(dearest, item.cost)
    return [*parts, items[start:]]


def _joined(outputs: list[Output]) -> Output:
    """One head's outputs of consecutive parts as one."""
    if isinstance(outputs[0], list):
        return [one for output in outputs for one in output]
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def _head(hidden: Any, mask: Any, lengths: list[int], head: Head) -> Output:
    """What one head takes from hidden states (n, tokens, dim) in float32."""
    ragged = head.pooling == "none"
    vectors = hidden if ragged else _POOL[str(head.pooling)](hidden, mask)
    if head.truncate_dim:
        vectors = vectors[..., : head.truncate_dim]
    if head.normalize:
        vectors = torch.nn.functional.normalize(vectors, p=2, dim=-1)
    numbers = vectors.cpu().numpy()
    return [one[:length] for one, length in zip(numbers, lengths, strict=True)] if ragged else numbers


def _mean(hidden: Any, mask: Any) -> Any:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _max(hidden: Any, mask: Any) -> Any:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _last(hidden: Any, mask: Any) -> Any:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]


def _cls(hidden: Any, _mask: Any) -> Any:
    return hidden[:, 0]


_POOL: dict[str, Callable[[Any, Any], Any]] = {"cls": _cls, "last": _last, "max": _max, "mean": _mean}
