"""Sends one small HTTP request to a collector or a webhook: briefly, once more if that may help, and never any further than its own URL.

A run that has ended waits for it, so the time-out is short. A redirect is not followed: it would take what was sent elsewhere. What is
raised names the host and never the rest of the URL, which may be a secret.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from connector.hosts import is_local

TIMEOUT = 5.0
"""Seconds of one attempt."""

ATTEMPTS, PAUSE = 2, 0.5

_PASSING = frozenset({408, 425, 429})
_SERVER = 500


class NotSent(Exception):  # noqa: N818 - named for what happened
    """The other side was not reached, or did not take it; the message is fit for a report.

    Args:
        message: The host, and what happened.
        again: Whether another attempt may pass.
    """

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


def send(url: str, body: bytes, *, method: str, headers: dict[str, str]) -> None:
    """Sends it, twice if need be.

    Raises:
        NotSent: It was not taken.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _once(url, body, method, headers)
        except NotSent as error:
            if attempt == ATTEMPTS or not error.again:
                raise
            time.sleep(PAUSE)
        else:
            return


def _once(url: str, body: bytes, method: str, headers: dict[str, str]) -> None:
    host = urlsplit(url).hostname or ""
    proxies = [urllib.request.ProxyHandler({})] if is_local(host) else []
    opener = urllib.request.build_opener(_NoRedirect, *proxies)
    request = urllib.request.Request(url, body, {"User-Agent": "connector", **headers}, method=method)  # noqa: S310 - http and https only, checked
    try:
        with opener.open(request, timeout=TIMEOUT):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise NotSent(f"{host}: status {error.code}", again=error.code in _PASSING or error.code >= _SERVER) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotSent(f"{host}: {type(reason).__name__}", again=not isinstance(error, ValueError)) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for the error that it is here."""

    def redirect_request(self, *_: Any) -> None:
        """None: the status is an error."""
