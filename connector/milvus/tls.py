"""TLS to Milvus: the files as pymilvus wants them, and what a refused connection was really about.

pymilvus leaves a client's certificate out, without a word, unless the authority's file comes under one certain name, so here it does not
matter under which of the two names it was given. grpc says "socket closed" when a plain client meets a TLS port, as it does while a server
starts, so the port is asked: the first will never pass, the second will.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from connector.milvus.settings import MilvusSettings

_PORT = 19_530
_SECONDS = 1.0


def options(settings: MilvusSettings) -> dict[str, str | bool]:
    """The keyword arguments of `MilvusClient` that are about TLS."""
    trusted = settings.ca_pem_path or settings.server_pem_path
    paths = {
        "ca_pem_path" if settings.client_pem_path else "server_pem_path": trusted,
        "client_pem_path": settings.client_pem_path,
        "client_key_path": settings.client_key_path,
        "server_name": settings.server_name,
    }
    found: dict[str, str | bool] = {name: value for name, value in paths.items() if value is not None}
    return found if settings.secure is None else {**found, "secure": settings.secure}


def unreadable(settings: MilvusSettings) -> str:
    """The first of the files that cannot be read, for a message."""
    paths = (settings.server_pem_path, settings.ca_pem_path, settings.client_pem_path, settings.client_key_path)
    return next((path for path in paths if path and not Path(path).is_file()), "a certificate")


def spoken_here(settings: MilvusSettings) -> bool:
    """Whether the port that a plain client was sent to answers a TLS greeting; False where TLS was asked for or nobody answers."""
    if settings.encrypted or settings.lite or settings.uri.startswith("unix:"):
        return False
    address = urlsplit(settings.uri)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent over this connection
    try:
        with socket.create_connection((address.hostname or "", address.port or _PORT), _SECONDS) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it refuses us, but in TLS
    except OSError:
        return False
