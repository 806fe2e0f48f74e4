"""What a test server needs on disk: its program, unpacked once for all, and a configuration with ports of its own.

The program comes from the PyPI package `milvus`, which holds a standalone Milvus 2.3.5 in compressed pieces. Its own starter is not
used: it gives every server the same etcd ports, so a second one on the machine waits for ever. Both files are written as JSON, which
is YAML. Two intervals are shorter than by default, so that a test waits tenths of a second where people wait seconds.
"""

from __future__ import annotations

import importlib.metadata
import json
import lzma
import os
import platform
import random
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from connector.errors import ConfigError, MissingExtra

HOST: Final = "127.0.0.1"
_LISTENERS = ("proxy", "internal", "rootCoord", "queryCoord", "queryNode", "indexCoord", "indexNode", "dataCoord", "dataNode")
_EXTRA = ("etcd", "etcdPeer", "metrics")
_LOWEST = 15_000
_SESSION_SECONDS = 20
"""How long a killed server's roles count as alive: reads begin so long after a restart; a longer freeze makes it end itself."""

_PIECE = 1 << 20


def unsupported() -> str:
    """Why this machine cannot run the server, in a few words; "" if it can."""
    here = f"{sys.platform} {platform.machine()}"
    return "" if here == "linux x86_64" else f"the packaged Milvus server runs on linux x86_64, not on {here}"


def unpack(cache: Path | None = None) -> Path:
    """The folder that holds the program `milvus` and its libraries; unpacked (some seconds) unless that was done before.

    Args:
        cache: Where to keep it, under a name with its version; default `CONNECTOR_CACHE`, or `~/.cache/connector`.

    Raises:
        ConfigError: Not on this machine.
        MissingExtra: The package `milvus` is not installed.
    """
    if reason := unsupported():
        raise ConfigError(reason, hint="use Milvus Lite, or a server in a container")
    try:
        package = importlib.metadata.distribution("milvus")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtra("the package `milvus` is not installed", hint='pip install "milvus==2.3.5"') from error
    cache = cache or Path(os.environ.get("CONNECTOR_CACHE") or Path.home() / ".cache" / "connector")
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"milvus-{package.version}"
    with FileLock(f"{target}.lock"):
        if not target.is_dir():
            _unpack(Path(str(package.locate_file("milvus/data"))), target)
    return target


def _unpack(data: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(_decompress, piece, draft / piece.stem) for piece in sorted((data / "bin").glob("*.lzma"))]:
            done.result()
    shutil.copy(data / "glog.conf", draft)
    draft.rename(target)


def _decompress(source: Path, target: Path) -> None:
    with lzma.open(source) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, _PIECE)
    target.chmod(0o755)


def free_ports() -> dict[str, int]:
    """A port for each listener, free now; below those that the kernel gives to outgoing connections, so they stay free over a restart."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    names = (*_LISTENERS, *_EXTRA)
    for _ in range(100):
        first = random.randrange(_LOWEST, highest - len(names))  # noqa: S311 - spread, not secret
        ports = {name: first + offset for offset, name in enumerate(names)}
        if all(map(_free, ports.values())):
            return ports
    raise ConfigError(f"no {len(names)} free ports in a row between {_LOWEST} and {highest}", hint="end some servers")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def configure(folder: Path, program: Path, ports: Mapping[str, int], changes: Mapping[str, Any]) -> None:
    """Writes `milvus.yaml`, `etcd.yaml` and `glog.conf` into `folder/configs`; the server reads the first again when it changes.

    Args:
        folder: The server's own; its data goes there too.
        program: As `unpack` returned it.
        ports: As `free_ports` returned them.
        changes: Laid over our `milvus.yaml`, key by key.
    """
    configs = folder / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    shutil.copy(program / "glog.conf", configs)
    (configs / "etcd.yaml").write_text(json.dumps(_etcd(folder, ports)), encoding="utf-8")
    draft = configs / "milvus.draft"
    draft.write_text(json.dumps(merged(_milvus(folder, ports), changes), indent=1), encoding="utf-8")
    draft.replace(configs / "milvus.yaml")


def _milvus(folder: Path, ports: Mapping[str, int]) -> dict[str, Any]:
    roles = {name: {"ip": HOST, "address": HOST, "port": ports[name]} for name in _LISTENERS if name != "internal"}
    roles["proxy"] |= {"internalPort": ports["internal"], "timeTickInterval": 50}
    roles["queryCoord"] |= {"distPullInterval": 100, "checkChannelInterval": 100, "checkSegmentInterval": 100}
    etcd = {"endpoints": f"{HOST}:{ports['etcd']}", "use": {"embed": True}, "config": {"path": str(folder / "configs" / "etcd.yaml")}}
    return {
        **roles,
        "etcd": etcd | {"data": {"dir": str(folder / "etcd")}},
        "metastore": {"type": "etcd"},
        "mq": {"type": "rocksmq"},
        "rocksmq": {"path": str(folder / "rocksmq")},
        "localStorage": {"path": str(folder / "data")},
        "common": {"storageType": "local", "session": {"ttl": _SESSION_SECONDS}},
    }


def _etcd(folder: Path, ports: Mapping[str, int]) -> dict[str, Any]:
    """Etcd's own file: the server's has no key for the port that its peers would use."""
    client, peer = f"http://{HOST}:{ports['etcd']}", f"http://{HOST}:{ports['etcdPeer']}"
    return {
        "name": "default",
        "data-dir": str(folder / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "log-level": "warn",
    }


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees in one; where both have a leaf, the change's."""

    def pairs() -> Iterator[tuple[str, Any]]:
        for key in {**base, **changes}:
            below, above = base.get(key), changes.get(key)
            both = isinstance(below, Mapping) and isinstance(above, Mapping)
            yield key, merged(below, above) if both else changes.get(key, below)  # type: ignore[arg-type]  # both are mappings

    return dict(pairs())
