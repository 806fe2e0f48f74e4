"""A server that limits or denies writes by its own configuration: the run slows down, or stops and says which limit it was."""

from __future__ import annotations

import time

from tests.server.conftest import Servers, Shops

MEGABYTES_A_SECOND = 0.05


def test_a_limited_rate_slows_the_run_down(servers: Servers, shop_on: Shops) -> None:
    """Over the rate the server refuses, the run waits, and everything arrives; the message names the limit."""
    dml = {"enabled": True, "upsertRate": {"max": MEGABYTES_A_SECOND}}
    server = servers(quotaAndLimits={"enabled": True, "dml": dml})
    shop = shop_on(server, timeout=2, retry_deadline=120)
    for number in range(50):
        shop.write(f"note{number:04}", 120)
    begun = time.monotonic()
    done = shop.run()
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun > 8
    assert "trying again" in done.stderr
    assert "rate limit exceeded" in done.stderr
    assert shop.converged("server: writes limited to 50 kB/s")


def test_denied_writes_end_the_run_in_order(servers: Servers, shop_on: Shops) -> None:
    """A used-up quota: exit 4 with the server's words after the deadline; when it is lifted, the same command finishes."""
    server = servers(quotaAndLimits={"enabled": True, "limitWriting": {"forceDeny": True}})
    shop = shop_on(server, retry_deadline=15)
    shop.write("note", 10)
    done = shop.run()
    for number in range(11, 31):
        if done.returncode:
            break
        shop.write("note", number)  # the server denies nothing in the first seconds after its start
        done = shop.run()
    assert done.returncode == 4, done.stdout + done.stderr
    assert "quota" in done.stderr
    assert "the server denies writes" in done.stderr
    server.configure({})
    shop.configure(retry_deadline=120)
    shop.expect_ok()
    assert shop.converged("server: writes denied, then allowed again")
