"""Gives a new Milvus server's root user its own password in place of the one that every new server has; does nothing where it has it.

    MILVUS_URI=http://milvus:19530 MILVUS_TOKEN=root:... python -m connector.milvus.root_password

Authorization protects nothing while `root:Milvus` opens the door. Newer servers can begin with another password
(`common.security.defaultRootPassword`), older ones cannot, and on both a setting changes nothing once the server has data; so the stack
runs this before anything else talks to the server, at every start.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from pydantic import SecretStr

from connector.errors import AuthError, ConfigError, ConnectorError
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings

FIRST: Final = "Milvus"
"""Root's password on every new server."""


def secure(settings: MilvusSettings) -> bool:
    """Makes the server take `settings.token`, which is `root:` and a password.

    Returns:
        Whether the password was changed; False: it was the server's already.

    Raises:
        AuthError: Root has neither this password nor the first one.
        ConfigError: The token is not root's, or is the first password itself, or the server lets in anybody.
        ConnectorError: As `connect` says.
    """
    user, _, password = settings.token.get_secret_value().partition(":") if settings.token else ("", "", "")
    if user != "root" or password in {"", FIRST}:
        raise ConfigError("MILVUS_TOKEN is not root:PASSWORD with a password of your own", hint="connector init DIR --template stack")
    first = settings.model_copy(update={"token": SecretStr(f"root:{FIRST}")})
    try:
        with connect(settings):
            pass
    except AuthError:
        return _change(first, password)
    if _opens(first):
        raise ConfigError(f"Milvus at {settings.uri} takes any password", hint="set common.security.authorizationEnabled to true")
    return False


def _change(first: MilvusSettings, password: str) -> bool:
    try:
        with connect(first) as connection:
            connection.call("change root's password", connection.client.update_password, "root", FIRST, password)
    except AuthError:
        hint = "set MILVUS_TOKEN to the password that the server has; a forgotten one is lost with its data only"
        raise AuthError(f"Milvus at {first.uri}: root has neither the password of MILVUS_TOKEN nor the first one", hint=hint) from None
    return True


def _opens(settings: MilvusSettings) -> bool:
    try:
        with connect(settings):
            return True
    except AuthError:
        return False


def main() -> int:
    """Runs `secure` on what MILVUS_URI and MILVUS_TOKEN name; returns the exit code."""
    try:
        settings = MilvusSettings.model_validate({name: os.environ.get(f"MILVUS_{name.upper()}", "") for name in ("uri", "token")})
        changed = secure(settings)
    except (ConnectorError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code if isinstance(error, ConnectorError) else ConfigError.exit_code
    sys.stdout.write("root has a password of its own now\n" if changed else "root has its own password\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
