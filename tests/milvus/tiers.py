"""On which Milvus a test runs: by default on Milvus Lite and on the server; a test of what only one has says so."""

from __future__ import annotations

import pytest

from connector.testing.server_files import unsupported

TIERS = ["lite"] if unsupported() else ["lite", "server"]
LITE_ONLY = pytest.mark.parametrize("backend", ["lite"], indirect=True)
SERVER_ONLY = pytest.mark.parametrize("backend", TIERS[1:], indirect=True)
