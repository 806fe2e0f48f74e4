"""The `metrics:` and `notify:` blocks of a job, checked before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from connector.hosts import is_local

Event = Literal["failure", "rejects", "recovery"]
"""What people are told of."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class MetricsSettings(_Block):
    """Where the metrics of a run are left when it ends, for jobs that no server keeps running.

    Attributes:
        textfile: A folder that node-exporter's textfile collector reads; the file there is `connector_<job>.prom`.
        pushgateway: URL of a Prometheus Pushgateway.
    """

    textfile: Path | None = None
    pushgateway: str | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> MetricsSettings:
        if self.textfile is None and self.pushgateway is None:
            raise ValueError("give textfile, a folder, or pushgateway, a URL")
        if self.pushgateway is not None:
            parts = urlsplit(self.pushgateway)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("pushgateway is no URL such as http://pushgateway:9091")
            if parts.username or parts.password:
                raise ValueError("pushgateway holds credentials, which are not supported")
        return self


class NotifySettings(_Block):
    """Who is told how a run ended.

    Attributes:
        webhook: URL that takes a POST of JSON as Slack's incoming webhooks do; a secret, since it holds a token.
        on: failure (it did not come to its end), rejects (exit code 3), recovery (the first good run after one of these).
        allow_http: Whether the webhook may be plain http on another machine.
    """

    webhook: SecretStr
    on: Annotated[list[Event], Field(min_length=1)] = ["failure", "rejects", "recovery"]
    allow_http: bool = False

    @model_validator(mode="after")
    def _encrypted(self) -> NotifySettings:
        parts = urlsplit(self.webhook.get_secret_value())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("webhook is no URL that begins with https://")
        if parts.username or parts.password:
            raise ValueError("webhook holds credentials before its host, which are not supported")
        if parts.scheme == "http" and not is_local(parts.hostname) and not self.allow_http:
            raise ValueError("webhook would be sent unencrypted to another machine: write https://, or set allow_http")
        return self
