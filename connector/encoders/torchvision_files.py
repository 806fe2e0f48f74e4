"""Fetches torchvision's own weights into torch's cache, where torchvision looks for them, and checks them by the hash in their name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from connector.errors import ConfigError

_YES = {"1", "ON", "TRUE", "YES"}


def revision_of(weights: str, url: str) -> str:
    """What tells these weights from any others: their name, and the first digits of their SHA-256 that stand in the address."""
    return f"{weights}-{_digits(url)}"


def _digits(url: str) -> str:
    return url.rpartition("/")[2].partition(".")[0].rpartition("-")[2]


def fetched(url: str, model: str) -> Path:
    """The file, downloaded if the cache does not have it; HF_HUB_OFFLINE=1 forbids that, as for every model.

    Raises:
        ConfigError: It is not there and cannot be downloaded, or it is not what its name says.
    """
    file = _cache() / url.rpartition("/")[2]
    if not file.is_file():
        _download(url, file, model)
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if not found.startswith(_digits(url)):
        problem = f"model {model}: {file} is broken: its SHA-256 begins with {found[:8]}, wanted {_digits(url)}"
        raise ConfigError(problem, hint="remove the file and run the same command again")
    return file


def _cache() -> Path:
    """Where torch keeps downloaded weights, without asking torch."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _download(url: str, file: Path, model: str) -> None:
    """In one step: half a file never has the whole one's name."""
    hint = (
        f"connect, or put the file there yourself (it is {url}), or set `weights` to a safetensors file; HF_HUB_OFFLINE=1 forbids downloads"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _YES:
        raise ConfigError(f"model {model}: its weights are not in {file.parent}, and downloads are forbidden", hint=hint)
    import torch.hub

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=_digits(url), progress=False)
    except Exception as error:  # noqa: BLE001 - http, disk and hash errors alike end here
        problem = f"model {model}: its weights could not be downloaded ({type(error).__name__})"
        raise ConfigError(problem, hint=hint) from None
