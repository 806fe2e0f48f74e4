"""Has the attention of a text model on a CPU read whole vectors of keys. Needs transformers, and with it torch.

torch's flash attention for CPUs takes exponentials sixteen at a time (AVX2: eight), and those of the keys that are left over one by one:
attention over 31 positions takes two and a half times as long as over 32. So keys are filled up to whole vectors with some that are
masked, which changes nothing but rounding. Measured on one core with AMX, bfloat16, 12 heads of 32, 11 interleaved rounds, time against
torch's own: 0.62 at 25 positions, 0.51 at 31, 0.61 at 59, 0.77 at 197; a MiniLM of 6 layers as a whole 0.85 to 0.9.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from connector.encoders.folding import agree
from connector.encoders.pretrained import quiet

NAME = "connector_filled_sdpa"
"""What this attention is called among those of transformers."""

WIDTH = {"AVX512": 16, "AVX2": 8}.get(torch.backends.cpu.get_cpu_capability(), 1)
"""Exponentials taken at a time, in float32; 1 where nothing was measured, and nothing is filled up."""

LEAST = 4
"""Fewest keys left over for which it pays to copy the others."""

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference, relative to the length of the hidden states, that rounding through all layers excuses."""


class _Latest(threading.local):
    """The mask that was last filled up, and what came of it: all layers of a pass have the same."""

    given: Any = None
    filled: Any = None


_latest = _Latest()


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
def fill(network: Any) -> bool:
    """Has a network fill keys up; False, and nothing is changed, if it has an attention of its own or then gives anything else.

    Args:
        network: Of transformers, in evaluation mode, on a CPU; reads `input_ids` and `attention_mask`.
    """
    tolerance = TOLERANCES.get(network.dtype)
    if WIDTH == 1 or tolerance is None or network.config._attn_implementation != "sdpa":  # noqa: SLF001 - there is no public name for it
        return False
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    ids = torch.arange(10, 20).reshape(2, 5) % network.config.vocab_size
    inputs = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])}
    try:
        wanted = network.base_model(**inputs).last_hidden_state
        with quiet():
            network.set_attn_implementation(NAME)
        same = agree([wanted], [network.base_model(**inputs).last_hidden_state], tolerance)
    except Exception:  # noqa: BLE001 - one that wants other inputs, or asks for the name of its attention, may fail in any way
        same = False
    if not same:
        network.set_attn_implementation("sdpa")
    return same


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, None]:
    """As transformers calls it: (n, heads, positions, width) in, (n, positions, heads, width) out."""
    count = key.shape[2]
    missing = -count % WIDTH
    causal = options.get("is_causal")
    if attention_mask is None and (getattr(module, "is_causal", True) if causal is None else causal):
        missing = 0  # torch masks by place, without a mask that could be filled up
    if 0 < missing <= WIDTH - LEAST and options.get("position_bias") is None:
        attention_mask = _filled(attention_mask, query, count, missing)
        key, value = pad(key, (0, 0, 0, missing)), pad(value, (0, 0, 0, missing))
    given: tuple[Any, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return given


def _filled(mask: Any, query: Any, count: int, missing: int) -> Any:
    """What is added to the scores: minus infinity where a key is not read, which none of the missing is."""
    if mask is None:
        return pad(query.new_zeros(1, 1, 1, count), (0, missing), value=-torch.inf)
    if _latest.given is not mask:
        added = query.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf) if mask.dtype is torch.bool else mask
        _latest.given, _latest.filled = mask, pad(added, (0, missing), value=-torch.inf)
    return _latest.filled
