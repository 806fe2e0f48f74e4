"""A TCP proxy on the loopback that slows, cuts and swallows: what a network does to a connection that both ends believe in.

Give a job the proxy's `uri` instead of the server's, and call `cut`, `black_hole` and `resume` while it runs.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class TcpProxy:
    """Passes bytes on to another port of this machine; a context manager.

    Args:
        target: `http://host:port`, as a Milvus URI.

    Attributes:
        delay: Seconds that every piece of up to 64 KiB is held, in both directions.
        accepted: How many connections were made to it.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 19530)
        self.delay = 0.0
        self.accepted = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._cut = False
        self._open: set[socket.socket] = set()
        self._mutex = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Resets every connection, and every new one, until `resume`."""
        self._cut = True
        with self._mutex:
            doomed = list(self._open)
        for one in doomed:
            _reset(one)
        self._flowing.set()

    def black_hole(self) -> None:
        """Connections stay open and can be made, and no byte passes until `resume`, which lets those that wait go on."""
        self._flowing.clear()

    def resume(self) -> None:
        """Ends `cut` and `black_hole`."""
        self._cut = False
        self._flowing.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                if self._cut:
                    raise ConnectionResetError
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._mutex:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := source.recv(_CHUNK):
                self._flowing.wait()
                time.sleep(self.delay)
                sink.sendall(some)
        for one in (source, sink):
            if self._cut:
                _reset(one)
            else:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        with self._mutex:
            self._open -= {source, sink}


def _reset(one: socket.socket) -> None:
    """Closes with RST instead of FIN: the other end sees an error, not an end."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RD)  # wakes the thread that reads it; in the other direction it would send FIN
    one.close()
