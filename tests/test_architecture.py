"""The shape of the code: who may import whom, how deep, how large, and that everything public says what it promises."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import connector

ROOT = Path(connector.__file__).parent
PLUGINS = ("sources", "parsers", "splitters", "encoders", "milvus", "testing")
COMPOSERS = tuple(f"connector.{name}" for name in ("api", "cli", "commands", "job.json_schema", "serve"))
"""The top of the graph: these may know plugins by name. Everything else meets them through entry points."""
ONLY_IN = {
    "pymilvus": ("connector.milvus", "connector.testing"),
    "milvus_lite": ("connector.milvus", "connector.testing"),
    "pyarrow": ("connector.sources",),
    "grpc": ("connector.milvus", "connector.testing"),
    "torch": ("connector.encoders",),
    "timm": ("connector.encoders",),
    "PIL": ("connector.encoders", "connector.files.pictures"),
    "soundfile": ("connector.encoders", "connector.files.recordings"),
    "soxr": ("connector.encoders",),
    "torchvision": ("connector.encoders",),
    "transformers": ("connector.encoders",),
    "tenacity": ("connector.retry",),
    "yaml": ("connector.job",),
    "apscheduler": ("connector.job.schedule", "connector.serve"),
    "typer": ("connector.cli",),
    "rich": ("connector.cli",),
    "prometheus_client": ("connector.observe",),
    "opentelemetry": ("connector.observe.traces",),
}
MAX_DEPTH, MAX_LINES = 7, 300
LARGE: dict[str, str] = {}
"""Modules that may be larger, each with its reason."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed, by its dotted name."""
    paths = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in ROOT.rglob("*.py")}
    return {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in paths.items()}


@cache
def imports(name: str) -> frozenset[str]:
    """What a module imports at run time, anywhere in it: modules of ours by full name, others by their first part."""
    tree, found = modules()[name], set()
    typing_only = {id(inner) for node in ast.walk(tree) if _for_type_checkers(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            targets = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {target if target in modules() else str(node.module) for target in targets}
    return frozenset(one if one.startswith("connector.") else one.partition(".")[0] for one in found)


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def part(module: str) -> str:
    """The part of the system that a module belongs to: a package below `connector` is one part.

    The connection settings are a part of their own: they are plain data that a job file holds, and know no client.
    """
    return module if module == "connector.milvus.settings" else ".".join(module.split(".")[:2])


@cache
def graph() -> dict[str, frozenset[str]]:
    """Part to the parts that it imports."""
    found: dict[str, set[str]] = {part(name): set() for name in modules()}
    for name in modules():
        found[part(name)] |= {part(one) for one in imports(name) if one.startswith("connector.")} - {part(name)}
    return {name: frozenset(targets) for name, targets in found.items()}


def longest(node: str, edges: dict[str, frozenset[str]], above: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The longest chain of imports that begins here; fails at a cycle."""
    assert node not in above, f"imports in a circle: {' -> '.join((*above, node))}"
    chains = [longest(below, edges, (*above, node)) for below in sorted(edges[node])]
    return (node, *max(chains, key=len, default=()))


def test_no_cycles() -> None:
    """No module needs itself, not even through an import inside a function."""
    edges = {name: frozenset(one for one in imports(name) if one in modules()) for name in modules()}
    for name in modules():
        longest(name, edges)


def test_depth() -> None:
    """From the command line to the errors it is a short way: a reader holds the chain in mind."""
    chains = [longest(name, graph()) for name in graph()]
    deepest = max(chains, key=len)
    assert len(deepest) <= MAX_DEPTH, " -> ".join(deepest)


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_one_home(library: str) -> None:
    """What wraps a library is the only place to change when it does; and it is used at all there."""
    users = {name for name in modules() if library in imports(name)}
    strangers = sorted(name for name in users if not name.startswith(ONLY_IN[library]))
    assert strangers == []


def test_the_core_knows_no_plugin() -> None:
    """Sources, parsers, splitters, encoders and the sink are met by contract; only the modules that compose a job name any."""
    packages = tuple(f"connector.{name}" for name in PLUGINS)
    core = [name for name in modules() if not name.startswith(packages) and not name.startswith(COMPOSERS)]
    known = {name: sorted(one for one in imports(name) if one.startswith(packages)) for name in core}
    assert {name: found for name, found in known.items() if found} == {"connector.job": ["connector.milvus.settings"]}


@pytest.mark.parametrize("package", [name for name in PLUGINS if name not in {"milvus", "testing"}])
def test_plugins_know_only_the_contracts(package: str) -> None:
    """Ours live on what a third party's may use: the contracts, the records, the errors, and their own package."""
    known = ("interfaces", "record", "errors", "schema", "retry", "files", "hosts", "usercode")
    allowed = {f"connector.{name}" for name in known}
    for name in modules():
        if name.startswith(f"connector.{package}"):
            ours = {part(one) for one in imports(name) if one.startswith("connector.")}
            assert ours <= {*allowed, f"connector.{package}"}, name


def test_foundations_stand_on_nothing() -> None:
    """The nouns and the errors import nothing of ours; the contracts at most these two."""
    for name in ("connector.record", "connector.errors", "connector.flow", "connector.faults"):
        assert graph()[name] == frozenset()
    assert graph()["connector.interfaces"] <= {"connector.record", "connector.errors"}


def test_nobody_imports_users_schemas() -> None:
    """Collections are loaded by path, as any user's are."""
    assert [name for name in modules() if "schemas" in imports(name)] == []


def test_everything_public_says_what_it_promises() -> None:
    """Every module, and every class, function and method without a leading underscore, has a docstring."""
    silent = []
    for name, tree in modules().items():
        silent += [f"{name}: {where}" for where, node in [("the module", tree), *_public(tree, "")] if not ast.get_docstring(node)]
    assert silent == []


def _public(node: ast.Module | ast.ClassDef, above: str) -> list[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    found: list[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]] = []
    for inner in node.body:
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
            found.append((f"{above}{inner.name}", inner))
            found += _public(inner, f"{above}{inner.name}.") if isinstance(inner, ast.ClassDef) else []
    return found


def test_modules_are_small() -> None:
    """A module is read in one sitting. An exception is listed with its reason, and goes when it is not needed any more."""
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MAX_LINES and name not in LARGE} == {}
    assert [name for name in LARGE if lines[name] <= MAX_LINES] == []
