"""Asks `connector serve` whether it lives, as the image's health check; a container that runs anything else is healthy while it runs.

Exit 0 or 1, as a health check wants it. The port is the default of `connector serve`; another one is named by `CONNECTOR_HEALTH_URL`.
"""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

URL = "http://127.0.0.1:9480/healthz"


def serves(words: bytes) -> bool:
    """Whether a command line, with NUL between its words as /proc has it, is `connector serve`."""
    return b"serve" in words.split(b"\0")


def healthy(url: str) -> bool:
    """Whether the page answers with 200 in time."""
    try:
        with urllib.request.urlopen(url, timeout=4) as answer:  # noqa: S310 - our own page
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own
    except OSError:
        return False


if __name__ == "__main__":
    one_of_ours = serves(Path("/proc/1/cmdline").read_bytes())
    raise SystemExit(0 if not one_of_ours or healthy(os.environ.get("CONNECTOR_HEALTH_URL", URL)) else 1)
