"""Where Milvus is and who we are there: the `milvus:` block of a job, checked before anything is imported or dialled.

Credentials are `SecretStr`, and a URI that carries them is refused: URIs appear in messages, plans and reports. This module does
not import pymilvus, so a job file can be checked in milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connector.hosts import is_local
from connector.retry import RetryPolicy


class MilvusSettings(BaseModel):
    """How to reach one Milvus database.

    Attributes:
        uri: `http://host:19530`, `https://host`, `unix:...`, or a local path ending in `.db`, which means Milvus Lite.
        token: An API key, or `user:password`.
        user: User name, together with `password`; not together with `token`.
        password: Its password.
        database: Name of the database; "" is the server's default.
        timeout: Seconds for one request.
        retry_deadline: Seconds for which a request that may pass is tried again, once the first contact was made.
        secure: TLS although the URI says `http`; None: as the URI says.
        server_pem_path: Certificate of the server, or of the authority that signed it; None: the authorities that grpc knows.
        ca_pem_path: Another name for the same.
        client_pem_path: Our certificate, for mutual TLS.
        client_key_path: Its private key, without a passphrase.
        server_name: Name in the server's certificate, where it differs from the host.
        wait_for_index: Whether a run ends only when the indexes hold all its rows, within `retry_deadline`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    uri: str
    token: SecretStr | None = None
    user: str = ""
    password: SecretStr | None = None
    database: str = ""
    timeout: float = Field(default=30.0, gt=0)
    retry_deadline: float = Field(default=300.0, ge=0)
    secure: bool | None = None
    server_pem_path: str | None = None
    ca_pem_path: str | None = None
    client_pem_path: str | None = None
    client_key_path: str | None = None
    server_name: str | None = None
    wait_for_index: bool = False

    @field_validator("token", "server_pem_path", "ca_pem_path", "client_pem_path", "client_key_path", "server_name", mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        """Nothing in its place, as an unset environment variable leaves it, means none."""
        return None if value == "" else value

    @field_validator("uri")
    @classmethod
    def _known_uri(cls, uri: str) -> str:
        if "://" not in uri and uri.endswith(".db"):
            return uri
        if uri.startswith("unix:"):
            return uri
        parts = urlsplit(uri)
        if parts.scheme not in {"http", "https", "tcp"} or not parts.hostname:
            raise ValueError("neither http://host:port, https://host:port nor a local path that ends in .db")
        if parts.username or parts.password:
            raise ValueError("holds credentials; write them as token, or as user and password")
        if uri.endswith(".db"):
            raise ValueError("a server's URI must not end in .db: give its database as `database`")
        return uri

    @model_validator(mode="after")
    def _credentials(self) -> MilvusSettings:
        if self.token is not None and (self.user or self.password is not None):
            raise ValueError("give either token, or user and password")
        if bool(self.user) != (self.password is not None):
            raise ValueError("user and password belong together")
        if (self.client_pem_path is None) != (self.client_key_path is None):
            raise ValueError("client_pem_path and client_key_path belong together")
        if self.lite and (self.token is not None or self.user or self.secure):
            raise ValueError("a Milvus Lite file has neither credentials nor TLS; remove them or give a server's URI")
        return self

    @model_validator(mode="after")
    def _certificates(self) -> MilvusSettings:
        trusted = self.server_pem_path or self.ca_pem_path
        if self.server_pem_path is not None and self.ca_pem_path is not None:
            raise ValueError("server_pem_path and ca_pem_path both say whom to trust: give one")
        if self.client_pem_path is not None and trusted is None:
            raise ValueError("a client certificate needs ca_pem_path too: pymilvus leaves it out otherwise")
        if (trusted or self.server_name) and not self.encrypted:
            raise ValueError("certificates are given, but no TLS is asked for: write https://, or secure: true")
        return self

    @property
    def encrypted(self) -> bool:
        """Whether TLS is asked for."""
        return self.uri.startswith("https:") if self.secure is None else self.secure

    @property
    def lite(self) -> bool:
        """Whether this is a Milvus Lite file."""
        return "://" not in self.uri and not self.uri.startswith("unix:")

    @property
    def path(self) -> str:
        """Absolute path of the Lite file."""
        return str(Path(self.uri).absolute())

    @property
    def exposed(self) -> bool:
        """Whether credentials would travel unencrypted to another machine."""
        if self.lite or self.uri.startswith("unix:") or self.encrypted or (self.token is None and self.password is None):
            return False
        return not is_local(urlsplit(self.uri).hostname or "")

    @property
    def policy(self) -> RetryPolicy:
        """How long a request is tried again."""
        return RetryPolicy(deadline=self.retry_deadline)

    @property
    def first_contact(self) -> RetryPolicy:
        """How long the first connection is tried: briefly, so that a wrong host is told at once."""
        return RetryPolicy(deadline=min(self.retry_deadline, 8.0), longest=2.0)
