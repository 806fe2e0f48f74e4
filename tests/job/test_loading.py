"""Users' code: schema files and transforms, and what is said when they are wrong."""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigError, SchemaError
from connector.job.loading import load_collection, load_transform
from connector.schema import Collection, Field, Vector, VectorField, spec_of

SCHEMA = '''
from connector.schema import Collection, Field, Vector, VectorField

class Base(Collection, abstract=True):
    """A mixin."""

class Products(Base):
    """Products."""
    id: str = Field(primary_key=True, max_length=8)
    vector: Vector = VectorField(dim=2, source="v")
'''


class Local(Collection):
    """A class that is passed as it is."""

    id: str = Field(primary_key=True, max_length=8)
    vector: Vector = VectorField(dim=2, source="v")


def write(name: str, text: str) -> str:
    """Writes a file below the test's own folder; returns its name."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def test_by_path() -> None:
    """`file:Class`, relative to the working directory or absolute; nothing has to be installed."""
    write("schemas/products.py", SCHEMA)
    assert load_collection("schemas/products.py:Products").name == "products"
    assert load_collection(f"{Path.cwd()}/schemas/products.py:Products").name == "products"


def test_class_and_specification_stand_for_themselves() -> None:
    """The SDK passes classes."""
    assert load_collection(Local) is spec_of(Local)
    assert load_collection(spec_of(Local)) is spec_of(Local)


def test_two_files_of_one_name_do_not_mix() -> None:
    """Files are told apart by their path, not by their name."""
    write("a/s.py", SCHEMA)
    write("b/s.py", SCHEMA.replace("dim=2", "dim=3"))
    assert [load_collection(f"{folder}/s.py:Products").vectors[0].dim for folder in "ab"] == [2, 3]


def test_a_changed_file_is_read_again() -> None:
    """A long-running process and a test see what the file says now."""
    write("s.py", SCHEMA)
    assert load_collection("s.py:Products").vectors[0].dim == 2
    write("s.py", SCHEMA.replace("dim=2", "dim=33"))
    assert load_collection("s.py:Products").vectors[0].dim == 33


def test_a_schema_may_import_from_the_working_directory() -> None:
    """Collections share columns through a module beside them; the search path is as before afterwards."""
    write("shared_columns.py", "SIZE = 5\n")
    write("schemas/s.py", SCHEMA.replace("dim=2", "dim=SIZE").replace("\nfrom", "\nfrom shared_columns import SIZE\nfrom", 1))
    before = list(sys.path)
    assert load_collection("schemas/s.py:Products").vectors[0].dim == 5
    assert sys.path == before


@pytest.mark.parametrize(
    ("reference", "said", "hint"),
    [
        ("Products", "`Products` names no collection", "schemas/products.py:Products"),
        ("s.py", "`s.py` names no collection", "schemas/products.py:Products"),
        ("s.py:", "`s.py:` names no collection", "schemas/products.py:Products"),
        ("shop.products:Products", "names no collection", "schemas/products.py:Products"),
        ("gone.py:Products", "gone.py: no such file (looked from ", "relative to the working directory"),
        ("s.py:Product", "s.py: no collection `Product`", "did you mean `Products`? valid: Products"),
        ("s.py:Base", "s.py: no collection `Base`", "valid: Products"),
        ("s.py:Field", "s.py: no collection `Field`", "valid: Products"),
        (5, "5 is no collection", "inherits from"),
    ],
)
def test_wrong_references(reference: Any, said: str, hint: str) -> None:
    """The file, the name, and the nearest that exists; a mixin is none."""
    write("s.py", SCHEMA)
    with pytest.raises(SchemaError) as caught:
        load_collection(reference)
    assert said in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("folder", ["", "absolute"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = (", ", line 5: SyntaxError: '(' was never closed"),
        ("1 / 0", ", line 5: ZeroDivisionError: division by zero"),
        ("import no_such_module_at_all", ", line 5: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit(3)", ", line 5: SystemExit: 3"),
        ("def f():\n    g()\ndef g():\n    1 / 0\nf()", ", line 8: ZeroDivisionError: division by zero"),
        ("from connector.schema import HNSW; HNSW(M=1)", ", line 5: index HNSW: `M`: Input should be greater than or equal to 2"),
        ("import json; json.loads('{')", ", line 5: JSONDecodeError: "),
    ],
)
def test_a_schema_file_that_fails(line: str, said: str, folder: str) -> None:
    """Its own error, with the line in the user's file, however deep it was raised; the half-loaded module is forgotten."""
    reference = write(f"{Path.cwd()}/s.py" if folder else "s.py", f"# 1\n# 2\n# 3\n# 4\n{line}\n")
    before = set(sys.modules)
    with pytest.raises(SchemaError) as caught:
        load_collection(f"{reference}:Products")
    assert caught.value.message.startswith(f"{reference}{said}")
    assert not [name for name in set(sys.modules) - before if name.startswith("connector_schema")]


def test_an_error_in_another_file_is_not_given_our_line() -> None:
    """A line number belongs to its file: here it is that of the import."""
    write("broken_helper.py", "\n\n\n\n\n\nx = (\n")
    write("s.py", "# 1\nimport broken_helper\n")
    with pytest.raises(SchemaError, match=re.escape("s.py, line 2: SyntaxError: ")):
        load_collection("s.py:Products")


def test_a_wrong_declaration_keeps_its_own_message() -> None:
    """It names file, class and field already."""
    write("s.py", SCHEMA.replace("dim=2", "dim=0"))
    with pytest.raises(SchemaError, match=r"s\.py: Products\.vector: dim 0") as caught:
        load_collection("s.py:Products")
    assert caught.value.message.count("s.py") == 1


TRANSFORM = "def clean(row):\n    return {**row, 'clean': True}\nNUMBER = 5\n"


def test_transform_by_name() -> None:
    """`module:function` is found in the working directory; the search path is as before afterwards."""
    write("shop_transform.py", TRANSFORM)
    before = list(sys.path)
    function, mark = load_transform("shop_transform:clean", "job.yaml")
    assert function({"a": 1}) == {"a": 1, "clean": True}
    assert re.fullmatch(r"clean:[0-9a-f]{16}", mark)
    assert sys.path == before


def test_the_mark_changes_with_the_file() -> None:
    """The function's source file enters the fingerprint: an edited transform makes every row again, an untouched one none."""
    write("marked_one.py", TRANSFORM)
    first = load_transform("marked_one:clean", "job")[1]
    assert load_transform("marked_one:clean", "job")[1] == first
    write("marked_one.py", TRANSFORM + "# edited\n")
    assert load_transform("marked_one:clean", "job")[1] != first


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("wrong_transform", "job.yaml: transform `wrong_transform` names no function"),
        ("wrong_transform:", "names no function"),
        (":clean", "names no function"),
        (5, "job.yaml: transform `5` names no function"),
        ("no_such_module_at_all:clean", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("wrong_transform:NUMBER", "wrong_transform has no such function  hint: valid: clean"),
        ("wrong_transform:clear", "wrong_transform has no such function  hint: did you mean `clean`? valid: clean"),
        ("failing_transform:clean", "ZeroDivisionError"),
        ("unparsable_transform:clean", "SyntaxError"),
    ],
)
def test_wrong_transforms(reference: Any, said: str) -> None:
    """Whatever is wrong with the reference or in the module is a configuration error that names both."""
    write("wrong_transform.py", TRANSFORM)
    write("failing_transform.py", "1 / 0\n")
    write("unparsable_transform.py", "def (\n")
    with pytest.raises(ConfigError) as caught:
        load_transform(reference, "job.yaml")
    assert said in str(caught.value)


class Callable:
    """An object that can be called."""

    def __call__(self, row: Any) -> Any:
        """The row itself."""
        return row


def add(row: Any, name: str = "", value: int = 0) -> Any:
    """A transform with arguments of its own."""
    return {**row, name: value}


def decorated(function: Any) -> Any:
    """A transform wrapped as libraries do it."""

    @functools.wraps(function)
    def wrapper(row: Any) -> Any:
        return function(row)

    return wrapper


def test_marks_of_objects_are_the_same_in_every_run() -> None:
    """No address of an object enters the fingerprint, or every run would make every row again."""
    assert load_transform(Callable(), "w")[1] == load_transform(Callable(), "w")[1]
    one, other = (load_transform(functools.partial(add, name="a", value=1), "w")[1] for _ in range(2))
    assert one == other
    assert load_transform(functools.partial(add, name="a", value=2), "w")[1] != one
    assert load_transform(lambda row: row, "w")[1] == load_transform(lambda row: row, "w")[1]


def test_mark_of_a_decorated_function_is_that_of_its_own_file() -> None:
    """An edit of the function counts, not one of the decorator's library."""
    write("in_a_file.py", TRANSFORM)
    inner = load_transform("in_a_file:clean", "w")
    assert load_transform(decorated(inner[0]), "w")[1] == inner[1]


def typed_in(body: str, file: str) -> Any:
    """A function as typed in at a prompt: it has no source file."""
    space: dict[str, Any] = {}
    exec(compile(f"def clean(row):\n    return {body}\n", file, "exec"), space)  # noqa: S102 - the point of the test
    return space["clean"]


def test_mark_of_a_function_without_a_file() -> None:
    """What is typed in at a prompt or in a notebook counts by its code: constants and nested functions too, not the cell's number."""
    bodies = ["row", "{**row, 'a': 1}", "{**row, 'a': 2}", "[{**row, 'n': n} for n in range(2)]", "[{**row, 'n': n} for n in range(3)]"]
    marks = [load_transform(typed_in(body, "<cell 1>"), "w")[1] for body in bodies]
    assert len(set(marks)) == len(bodies)
    assert [load_transform(typed_in(body, "<cell 2>"), "w")[1] for body in bodies] == marks


def test_a_quick_edit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two schemas of one length, written within one second: what Python compiled of the first is not taken for the second."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    file = tmp_path / "schema.py"
    found = []
    for length in (16, 32):
        file.write_text(
            "from connector.schema import Collection, Field, Vector, VectorField\n\n\nclass Notes(Collection):\n"
            f"    id: str = Field(primary_key=True, max_length={length})\n    vector: Vector = VectorField(dim=4, source='v')\n"
        )
        os.utime(file, (1_700_000_000, 1_700_000_000))
        found.append(load_collection(f"{file}:Notes").primary.max_length)
    assert found == [16, 32]
    assert not (tmp_path / "__pycache__").exists()
