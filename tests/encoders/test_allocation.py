"""Freed memory stays for the next pass, and goes back when it is told to; in processes of their own, since all of it is process-wide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from connector.encoders import allocation

pytestmark = pytest.mark.skipif(allocation._glibc() is None, reason="only glibc can be told")

SCRIPT = """
import json, resource, sys
import torch
from connector.encoders.allocation import give_back, keep_freed

def faults():
    counts = []
    for _ in range(20):
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        torch.zeros(40 << 20, dtype=torch.uint8)
    return (counts[-1] - counts[9]) / 10  # the first ones find their places

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

before, said = faults(), keep_freed()
after, kept = faults(), held()
give_back()
print(json.dumps([before, said, after, kept - held()]))
"""


def measured(**environment: str) -> list[Any]:
    """Faults a block of 40 MiB before, whether it can be told, faults after, and the megabytes that were given back."""
    clean = {name: value for name, value in os.environ.items() if name not in allocation._SET_BY_HAND}
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, env={**clean, **environment})
    found: list[Any] = json.loads(done.stdout)
    return found


def test_a_block_is_used_again_without_a_fault_and_given_back_in_the_end() -> None:
    """A block of 40 MiB has at least 20 huge pages, or 10,240 small ones."""
    before, said, after, given = measured()
    assert said is True
    assert before >= 20
    assert after < before / 5
    assert given >= 35


def test_what_was_set_by_hand_stays() -> None:
    """An administrator who tunes malloc is not overruled."""
    before, said, after, _ = measured(MALLOC_MMAP_THRESHOLD_="131072")
    assert said is False
    assert after >= before / 2
