"""Opens a connection to Milvus and makes every call through it safe: a timeout always, our errors only, retried if it may pass.

pymilvus retries the wrong things (a refused connection not at all, some errors for 211 s) and waits for ever without a timeout, so both are
owned here. Milvus Lite corrupts its log when two threads write at once, so all calls on one file go through one lock.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from connector.errors import ConfigError, ConnectorError, SinkError, Transient
from connector.milvus import tls
from connector.milvus.settings import MilvusSettings
from connector.milvus.translate import translate
from connector.retry import RetryPolicy, retry

log = logging.getLogger(__name__)
T = TypeVar("T")

_LITE_LOCKS: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
_LITE_USERS: defaultdict[str, int] = defaultdict(int)
_WARNED: set[str] = set()
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Server:
    """What answers.

    Attributes:
        kind: Milvus Lite or a server.
        version: Major, minor, patch.
        text: For messages, such as "Milvus 2.3.5".
    """

    kind: Literal["lite", "server"]
    version: tuple[int, int, int]
    text: str

    @property
    def lite(self) -> bool:
        """Whether this is Milvus Lite."""
        return self.kind == "lite"


class Connection:
    """One database of one Milvus, open. Made by `connect`; a context manager.

    Attributes:
        settings: How it was reached.
        server: What answered.
        client: The `pymilvus.MilvusClient`; its methods are only called through `call`.
        stop: Set by whoever asks a run to end; calls then fail at once instead of being tried again. None: nobody asks.
    """

    def __init__(self, settings: MilvusSettings, client: Any, server: Server) -> None:
        self.settings = settings
        self.server = server
        self.client = client
        self.stop: threading.Event | None = None
        self._lock: threading.RLock | None = _LITE_LOCKS[settings.path] if settings.lite else None
        self._open = True

    @property
    def policy(self) -> RetryPolicy:
        """How calls are tried again."""
        return replace(self.settings.policy, stop=self.stop)

    def wait(self, seconds: float) -> None:
        """Waits so long, or until a run is asked to end."""
        if self.stop is None:
            time.sleep(seconds)
        else:
            self.stop.wait(seconds)

    def call(self, what: str, function: Callable[..., T], *args: Any, policy: RetryPolicy | None = None, **options: Any) -> T:
        """Calls a method of the client, or anything that takes `timeout`, until it passes or the retry deadline is over.

        Args:
            what: The call and its object, for messages: "upsert into products__g1".
            function: Idempotent, since after an unknown outcome it is called again.
            args: Its arguments.
            policy: Instead of the settings' own.
            options: Its keyword arguments; `timeout` is added.

        Raises:
            ConnectorError: As `translate` says; never an error of pymilvus or grpc.
        """
        return retry(lambda: self.once(what, function, *args, **options), policy or self.policy, what)

    def once(self, what: str, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """One attempt of `call`, with the same errors; for callers that decide themselves when to try again."""
        import grpc
        from pymilvus.exceptions import MilvusException

        options.setdefault("timeout", self.settings.timeout)
        try:
            if self._lock is None:
                return function(*args, **options)
            with self._lock:
                return function(*args, **options)
        except (MilvusException, grpc.RpcError) as error:
            raise translate(error, what) from error

    def close(self) -> None:
        """Ends the connection; the last one on a Lite file writes it to disk and releases its lock. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        self.client.close()
        if self.settings.lite:
            _release(self.settings.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def connect(settings: MilvusSettings) -> Connection:
    """Connects and asks for the version.

    Returns:
        An open connection; close it, or use it in a `with` statement.

    Raises:
        Transient: Not reachable. Tried for a few seconds only: a wrong host is told at once.
        AuthError: Wrong credentials.
        ConfigError: TLS where there is none or the reverse, an HTTP port, a missing folder or database.
        Locked: Another process has the Lite file open.
    """
    _quiet()
    _warn(settings)
    what = f"Milvus at {settings.uri}"
    client, version = retry(lambda: _dial(settings, what), settings.first_contact, what)
    connection = Connection(settings, client, parse_version(version))
    if settings.database:
        _check_database(connection)
    return connection


def parse_version(text: str) -> Server:
    """The server behind the text that it reports: "milvus_lite-3.2.2", "v2.3.5-lite" (a server), "v2.6.1"."""
    match = _VERSION.search(text)
    version = (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)
    lite = text.startswith("milvus_lite")
    return Server("lite" if lite else "server", version, f"{'Milvus Lite' if lite else 'Milvus'} {'.'.join(map(str, version))}")


def _warn(settings: MilvusSettings) -> None:
    if settings.exposed and settings.uri not in _WARNED:
        _WARNED.add(settings.uri)
        log.warning("%s: credentials travel unencrypted to another machine; use https://, or set `secure`", settings.uri)


def _quiet() -> None:
    """Keeps pymilvus from loading a `.env` file into our environment and from logging errors, with tracebacks, that we report.

    While it is imported it reads MILVUS_URI and refuses the path of a file there, so for that moment the variable is gone.
    """
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    uri = os.environ.pop("MILVUS_URI", None)
    try:
        import pymilvus  # noqa: F401 - it sets its logger's level while it is imported
    finally:
        if uri is not None:
            os.environ["MILVUS_URI"] = uri
    for name in ("pymilvus", "milvus_lite", "grpc._server"):  # the last for what Milvus Lite does not implement
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _dial(settings: MilvusSettings, what: str) -> tuple[Any, str]:
    import grpc
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    if settings.lite:
        _start_lite(settings, what)
    timeout = min(settings.timeout, 5.0)
    client: Any = None
    try:
        client = MilvusClient(settings.uri, timeout=timeout, dedicated=True, **_options(settings))
        return client, str(client.get_server_version(timeout=timeout))
    except (MilvusException, grpc.RpcError, OSError) as error:
        if client is not None:
            client.close()
        if settings.lite:
            _release(settings.path)
        raise _readable(error, settings, what) from error


def _readable(error: Exception, settings: MilvusSettings, what: str) -> ConnectorError:
    if isinstance(error, OSError):
        return ConfigError(f"{what}: cannot read {tls.unreadable(settings)}", hint="correct the path in `milvus:`")
    known = translate(error, what)
    if isinstance(known, Transient) and tls.spoken_here(settings):
        return ConfigError(f"{what}: this port speaks TLS, and no TLS was tried", hint="write https://, or set `secure`")
    return known


def _options(settings: MilvusSettings) -> dict[str, Any]:
    options: dict[str, Any] = tls.options(settings)
    if settings.token is not None:
        options["token"] = settings.token.get_secret_value()
    if settings.password is not None:
        options |= {"user": settings.user, "password": settings.password.get_secret_value()}
    return options | ({"db_name": settings.database} if settings.database else {})


def _start_lite(settings: MilvusSettings, what: str) -> None:
    """Opens the Lite file; pymilvus would do it too, but swallows the reason when it fails."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread
    from milvus_lite.exceptions import MilvusLiteError
    from milvus_lite.server_manager import server_manager_instance as manager

    path = settings.path
    if not Path(path).parent.is_dir():
        raise ConfigError(f"{what}: the folder {Path(path).parent} does not exist", hint="create it, or correct `milvus.uri`")
    with _LITE_LOCKS[path]:
        _LITE_USERS[path] += 1
        if path in manager._servers:  # noqa: SLF001 - its public method cannot say why a file does not open
            return
        try:
            manager._servers[path] = start_server_in_thread(data_dir=path, host="127.0.0.1", port=0)  # noqa: SLF001 - as above
        except (MilvusLiteError, OSError) as error:
            _LITE_USERS[path] -= 1
            if isinstance(error, OSError):
                reason = error.strerror or type(error).__name__
                raise ConfigError(f"{what}: cannot be opened: {reason}", hint="check the path and its permissions") from error
            raise translate(error, what) from error


def _release(path: str) -> None:
    from milvus_lite.server_manager import server_manager_instance as manager

    with _LITE_LOCKS[path]:
        _LITE_USERS[path] -= 1
        if _LITE_USERS[path] <= 0:
            manager.release_server(path)


def _check_database(connection: Connection) -> None:
    """A database that does not exist is only noticed by the first call that needs it, so such a call is made."""
    settings = connection.settings
    what = f"database {settings.database}"
    try:
        connection.call(what, connection.client.list_collections, policy=settings.first_contact)
    except SinkError as error:
        connection.close()
        raise ConfigError(error.message, hint="create the database, or correct `database`") from error
    except ConnectorError:
        connection.close()
        raise
