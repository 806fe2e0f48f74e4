"""Python core metadata."""

from __future__ import annotations

from importlib.metadata import distribution

import pytest

from connector.errors import DocumentError
from connector.parsers.metadata import CoreMetadataParser
from connector.record import Payload, Row

HEAD = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nSummary: Does é\n"


def parse(text: str) -> list[Row]:
    """Rows of a metadata file."""
    return CoreMetadataParser().parse(Payload({}, text.encode()))


def test_description_in_the_body() -> None:
    """The body is the text; name, version and summary are fields of their own."""
    assert parse(f"{HEAD}\n# Demo\n\nWörds: x\n") == [
        {"text": "# Demo\n\nWörds: x", "title": "demo", "package": "demo", "package_version": "1.0", "summary": "Does é"}
    ]


@pytest.mark.parametrize("indent", ["        ", "       |", "\t"])
def test_description_in_a_header(indent: str) -> None:
    """Older versions keep the description in a header with indented lines; the indentation goes, the text's own stays."""
    (row,) = parse(f"{HEAD}Description: One\n{indent}\n{indent}    two\nPlatform: any\n")
    assert row["text"] == "One\n\n    two"


@pytest.mark.parametrize("tail", ["", "\n", "Description: UNKNOWN\n", "\nUNKNOWN\n"])
def test_no_description_gives_no_row(tail: str) -> None:
    """A package without a description is empty, not rejected."""
    assert parse(HEAD + tail) == []


@pytest.mark.parametrize("text", ["words\n", "", "Version: 1\n\nbody"])
def test_without_a_name_it_is_something_else(text: str) -> None:
    """A file that only bears the name METADATA is rejected with the reason."""
    with pytest.raises(DocumentError, match="no `Name` header"):
        parse(text)


def test_real_metadata() -> None:
    """The metadata of an installed package is read."""
    metadata = distribution("pytest").read_text("METADATA")
    assert metadata is not None
    (row,) = parse(metadata)
    assert row["package"] == "pytest"
    assert len(row["text"]) > 1000
