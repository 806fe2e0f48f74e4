"""Tells this machine from others by a host's name, so that credentials are not sent in the clear to another one unnoticed."""

from __future__ import annotations

from ipaddress import ip_address


def is_local(host: str) -> bool:
    """Whether a host of a URL is this machine: a loopback address, `localhost`, or a name below it. Nothing is looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
