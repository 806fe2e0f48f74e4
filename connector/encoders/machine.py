"""Says what a machine has for a model: cores, free memory, and what bfloat16 costs where it is emulated. Needs torch.

These are facts that explain a slow or a failed run; each is told once, in the run's notes or in the error.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import torch

from connector.encoders.cuda import cuda_memory, cuda_name
from connector.encoders.memory import recall, remember
from connector.encoders.torch_device import dtype_of, native_bf16

_CACHE = "machines.json"
_SIDE, _ROUNDS = 384, 5
_GIB = 1 << 30


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """What a device calls itself: the same on another machine only if that has the same."""
    if device.type == "cuda":
        return cuda_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} x {usable_cores()}"


def free_memory(device: torch.device) -> str:
    """How much memory a device has left, in words."""
    if device.type == "cuda":
        free, total = cuda_memory(device)
    else:
        free, total = (os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
    return f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB are free on {device}"


def crowding(threads: int, cores: int, device: torch.device) -> str:
    """What to say of more threads than cores; "" if there are not."""
    if threads <= cores or device.type != "cpu":
        return ""
    return f"torch was told to use {threads} threads, but there are {cores} cores: {cores} are used"


def emulation(precision: str, device: torch.device) -> str:
    """What to say of bfloat16 that is emulated here and slower than float32; "" if it is not."""
    if precision != "bf16" or native_bf16(device):
        return ""
    slower = slowdown(device)
    if slower <= 1:
        return ""
    return f"this hardware emulates bf16: a matrix product takes {slower:.1f} times as long as in fp32. `precision: auto` would choose fp32"


def slowdown(device: torch.device) -> float:
    """Time of a small matrix product in bfloat16 over that in float32; measured once for a device and a version of torch."""
    key = f"bf16, {device_name(device)}, torch {torch.__version__}"
    known = recall(_CACHE).get(key)
    if isinstance(known, float) and known > 0:
        return known
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(1 + _ROUNDS):
        for precision, some in seconds.items():
            some.append(_product(precision, device))
    slower = min(seconds["bf16"][1:]) / min(seconds["fp32"][1:])
    remember(_CACHE, key, slower)
    return slower


def _product(precision: str, device: torch.device) -> float:
    matrix = torch.full((_SIDE, _SIDE), 0.5, dtype=dtype_of(precision), device=device)
    start = time.perf_counter()
    float((matrix @ matrix)[0, 0])  # a number on the CPU is there only when the product is done
    return time.perf_counter() - start
