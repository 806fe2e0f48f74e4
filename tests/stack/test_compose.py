"""The compose file as Docker's own compose reads it: closed to other machines, pinned, and the same for everybody who starts it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from connector.cli import app
from connector.commands.scaffold import stack_secrets

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker" / "compose.yaml"
EXAMPLE = ROOT / "docker" / ".env.example"
COMPOSE = Path(sys.executable).with_name("docker-compose")
ALWAYS = {"milvus"}
PROFILES = {
    "cpu": {"connector", "password"},
    "gpu": {"connector-gpu", "password-gpu"},
    "monitoring": {"prometheus", "grafana"},
    "attu": {"attu"},
    "external-storage": {"etcd", "s3"},
}
WRITES_ITS_ROOT = {"milvus", "attu", "etcd", "s3"}
"""Of others, never run by us with a read-only root."""


def composed(*profiles: str, env: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    """What compose makes of the file; nothing of this machine's environment gets in."""
    options = [f"--profile={profile}" for profile in profiles]
    command = [str(COMPOSE), f"--file={FILE}", f"--env-file={env}", *options, "config", "--format=json"]
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=inherited)


@cache
def services(*profiles: str) -> dict[str, dict[str, Any]]:
    """The services, everything in them filled in."""
    done = composed(*profiles)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return found


EVERY = sorted(ALWAYS.union(*PROFILES.values()))


def test_every_profile_has_its_services() -> None:
    """A profile starts what the documentation says, and no other; together they are all there is."""
    assert set(services("*")) == set(EVERY)
    assert set(services()) == ALWAYS | PROFILES["cpu"], "what .env names is the default"
    for profile, members in PROFILES.items():
        assert set(services(profile)) == ALWAYS | members, profile


@pytest.mark.parametrize("name", EVERY)
def test_a_service_is_closed(name: str) -> None:
    """No capability, no way to gain one, no privilege, a bound on memory and logs, a name for its version, ports on loopback only."""
    service = services("*")[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert service["logging"]["options"]["max-size"]
    assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}
    assert service.get("read_only", False) == (name not in WRITES_ITS_ROOT)
    if not name.startswith("password"):
        assert service["deploy"]["resources"]["limits"]["memory"]
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", EVERY)
def test_an_image_is_pinned(name: str) -> None:
    """Ours is built from this checkout; every other one is a full version, which does not become another one over night."""
    service = services("*")[name]
    if "build" in service:
        assert service["image"] in {"connector:cpu", "connector:gpu"}
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])


def test_milvus_is_new_enough() -> None:
    """At least 2.6.16, which has the fixes for what is known to open earlier ones."""
    version = tuple(map(int, services()["milvus"]["image"].rpartition(":v")[2].split(".")))
    assert version >= (2, 6, 16)


def test_milvus_lets_nobody_in() -> None:
    """Authorization is on, its password is the one that connector logs in with, and its page of metrics and settings is not published."""
    milvus, ours = services()["milvus"], services()["connector"]["environment"]
    assert milvus["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true"
    assert ours["MILVUS_TOKEN"] == f"root:{milvus['environment']['COMMON_SECURITY_DEFAULTROOTPASSWORD']}"
    assert [port["target"] for port in milvus["ports"]] == [19530]


def test_connector_waits_for_milvus_and_its_password() -> None:
    """It starts when Milvus is healthy and root's password is set, on a processor as on a GPU; only the latter asks for one."""
    for name, password in (("connector", "password"), ("connector-gpu", "password-gpu")):
        service = services("*")[name]
        conditions = {one: how["condition"] for one, how in service["depends_on"].items()}
        assert conditions == {"milvus": "service_healthy", password: "service_completed_successfully"}
        assert services("*")[password]["image"] == service["image"]
        assert ("reservations" in service["deploy"]["resources"]) == (name == "connector-gpu")
    assert services("*")["connector-gpu"]["networks"]["default"]["aliases"] == ["connector"], "Prometheus finds it by the same name"


def test_the_command_is_one_that_we_have() -> None:
    """What connector is started with, it understands; as a parser sees it, without running it."""
    words = [word for word in services()["connector"]["command"] if word.startswith("-")]
    known = get_command(app).commands  # type: ignore[attr-defined]  # a group
    assert set(words) <= {name for parameter in known["serve"].params for name in parameter.opts}
    assert words == ["--listen", "--expose"]


def test_the_documentation_names_every_profile() -> None:
    """What can be switched on is in the table of its page, with every variable that has something to do with it."""
    page = (ROOT / "docs" / "stack.md").read_text()
    assert [profile for profile in PROFILES if f"\n| `{profile}` |" not in page] == []
    assert [name for name in re.findall(r"^(\w+)=", EXAMPLE.read_text(), flags=re.MULTILINE) if name not in page and "S3" not in name] == []


def test_what_runs_beside_milvus_is_optional() -> None:
    """Its etcd and object store are waited for where their profile runs them, and not missed where it does not."""
    waits = services("*")["milvus"]["depends_on"]
    assert {name: how["required"] for name, how in waits.items()} == {"etcd": False, "s3": False}


def test_what_is_mounted_exists() -> None:
    """Docker makes an empty folder, owned by root, where a mounted one is missing: then nothing says why there are no jobs."""
    mounts = {Path(one["source"]) for service in services("*").values() for one in service.get("volumes", []) if one["type"] == "bind"}
    assert [path for path in mounts if not path.exists()] == []
    assert len(mounts) > len(PROFILES)


def test_every_variable_is_in_the_example() -> None:
    """What the file takes from outside is in .env.example or has a default; what is in there is taken."""
    text = FILE.read_text()
    taken = dict(re.findall(r"\$\{(\w+)([^}]*)\}", text))
    offered = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE.read_text(), flags=re.MULTILINE))
    assert {name for name, rest in taken.items() if not rest.startswith(":-")} <= set(offered)
    assert set(offered) - set(taken) == {"COMPOSE_PROFILES"}
    assert "Milvus" not in offered.values()


@pytest.mark.parametrize("name", ["MILVUS_ROOT_PASSWORD", "GRAFANA_PASSWORD"])
def test_a_missing_secret_stops_everything(name: str, tmp_path: Path) -> None:
    """Without its passwords nothing starts, and the command that makes them is said."""
    (tmp_path / "env").write_text(re.sub(rf"^{name}=.*$", f"{name}=", EXAMPLE.read_text(), flags=re.MULTILINE))
    done = composed("*", env=tmp_path / "env")
    assert done.returncode != 0
    assert f"{name} is missing a value: is empty; run connector init docker --template stack" in done.stderr


def test_made_secrets_are_taken(tmp_path: Path) -> None:
    """The .env that init writes is all that compose wants, and no character in a secret means anything to it."""
    (tmp_path / ".env.example").write_text(EXAMPLE.read_text())
    secret = dict(re.findall(r"^(\w+)=(.*)$", stack_secrets(tmp_path).read_text(), flags=re.MULTILINE))["MILVUS_ROOT_PASSWORD"]
    done = composed(env=tmp_path / ".env")
    assert json.loads(done.stdout)["services"]["connector"]["environment"]["MILVUS_TOKEN"] == f"root:{secret}"
