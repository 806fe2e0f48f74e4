"""Chooses where and in what numbers a model computes, and tells lack of memory from other failures. Needs torch.

bfloat16 is chosen only where the hardware multiplies it natively: elsewhere it is emulated and slower than float32. float16 is
never chosen on a CPU, where it is hundreds of times slower.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from connector.errors import ConfigError
from connector.interfaces import DeviceSpec

CPU_PART = 2048
"""Padded tokens that go through the network at once on a CPU: with fewer, weights come from memory too often."""

CUDA_PART = 32_768
"""Padded tokens that go through it at once on a GPU, which wants many."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MEMORY_WORDS = ("out of memory", "CUDNN_STATUS_NOT_SUPPORTED", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: can't allocate memory")
_OLDEST_BF16_GPU = 8


def resolve_device(name: str) -> torch.device:
    """The device of this name; "auto" is the first CUDA device, else the CPU.

    Raises:
        ConfigError: There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()):
        raise ConfigError(f"unknown device `{name}`", hint="valid: auto, cpu, cuda, cuda:1")
    if int(index or 0) >= count:
        raise ConfigError(f"device {name} is not there: torch sees {count} CUDA devices", hint="set device: auto, or install the driver")
    return torch.device("cpu") if kind == "cpu" else torch.device("cuda", int(index or 0))


def spread(spec: DeviceSpec) -> list[DeviceSpec]:
    """Where each copy of a model goes: one to each CUDA device where none is named; a number of copies is dealt to those there are."""
    devices = torch.cuda.device_count() if spec.device in {"auto", "cuda"} else 0
    count = max(1, devices) if spec.replicas == "auto" else spec.replicas
    if count == 1 or not devices:
        return [spec] * count
    return [replace(spec, device=f"cuda:{number % devices}") for number in range(count)]


def native_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself: AVX512-BF16, AMX or a GPU of compute capability 8."""
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device)[0] >= _OLDEST_BF16_GPU)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; "auto" is bf16 where it is native, else fp32.

    Raises:
        ConfigError: The precision makes no sense on this device.
    """
    if name == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 is hundreds of times slower on a CPU", hint="set precision: auto")
    return name


def dtype_of(precision: str) -> torch.dtype:
    """The torch type of a precision."""
    return _DTYPES[precision]


def part_of(spec: DeviceSpec, device: torch.device) -> int:
    """Padded tokens that go through the network at once."""
    if spec.batch != "auto":
        return max(1, spec.batch)
    return CUDA_PART if device.type == "cuda" else CPU_PART


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may pass; the words are those of accelerate's `should_reduce_batch_size`."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _MEMORY_WORDS)
