"""Prints the figures of the parity tests as a table: by family the worst of all models, heads and inputs that were compared.

CONNECTOR_PARITY=parity.jsonl pytest tests/encoders && python tests/encoders/parity_table.py parity.jsonl [--all]
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

HEAD = ("family", "compared", "1 - cosine, fp32", "relative difference, fp32", "cosine, bf16", "alone against batch, fp32")


def rows(lines: list[dict[str, Any]], *, every: bool) -> list[tuple[str, ...]]:
    """One row a family, or one a comparison."""
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[f"{line['family']}: {line['what']}" if every else line["family"]].append(line)
    return [(name, str(len(found)), *_figures(found)) for name, found in sorted(groups.items())]


def _figures(found: list[dict[str, Any]]) -> tuple[str, ...]:
    return (
        f"{max(0.0, 1 - min(one['cosine fp32'] for one in found)):.0e}",
        f"{max(one['difference fp32'] for one in found):.1e}",
        f"{min(one['cosine bf16'] for one in found):.5f}",
        f"{max(one['alone fp32'] for one in found):.1e}",
    )


def main() -> None:
    """Prints a Markdown table."""
    path, every = Path(sys.argv[1]), "--all" in sys.argv
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in (HEAD, tuple("---" for _ in HEAD), *rows(lines, every=every)):
        sys.stdout.write(f"| {' | '.join(row)} |\n")


if __name__ == "__main__":
    main()
