"""Puts vectors where they belong: those of an input into every row that it stands in, and a reason where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from connector.encoding.binding import Binding
from connector.encoding.fanout import POSITION
from connector.encoding.microbatches import empty, faults
from connector.interfaces import Output
from connector.record import Window


def make_room(window: Window, bindings: Sequence[Binding]) -> None:
    """Room for the vectors of these fields, where there is none."""
    for binding in bindings:
        if binding.field.name not in window.vectors:
            spec = replace(binding.spec, kind="dense") if binding.ragged else binding.spec
            window.vectors[binding.field.name] = empty(len(window.rows), spec)


def place(window: Window, bindings: Sequence[Binding], outputs: Sequence[Output], rows_of: Sequence[list[int]]) -> set[int]:
    """Puts vector i of each field where `rows_of[i]` says, unless it must not be stored; which ones must not."""
    unfit: set[int] = set()
    for binding, output in zip(bindings, outputs, strict=True):
        if binding.ragged:
            _place_positions(window, binding, output, rows_of)
            continue
        vectors, wrong = window.vectors[binding.field.name], faults(output, binding.field.metric)
        unfit |= set(wrong)
        for index, rows in enumerate(rows_of):
            if index in wrong:
                mark(window, rows, f"field `{binding.field.name}`: {wrong[index]}")
                continue
            for row in rows:
                vectors[row] = output[index]
    return unfit


def mark(window: Window, rows: Sequence[int], reason: str) -> None:
    """Says why these rows cannot be stored, unless that is said already."""
    for index in rows:
        window.bad.setdefault(index, ("encode", reason))


def _place_positions(window: Window, binding: Binding, output: Output, rows_of: Sequence[list[int]]) -> None:
    """Puts vector p of input i into that row of `rows_of[i]` whose position is p."""
    name = binding.field.name
    for matrix, rows in zip(output, rows_of, strict=True):
        wrong = faults(matrix, binding.field.metric)
        for row in rows:
            position = window.rows[row].get(POSITION, -1)
            if not 0 <= position < len(matrix):
                mark(window, [row], f"field `{name}`: position {position}, but the encoder gave {len(matrix)} vectors")
            elif position in wrong:
                mark(window, [row], f"field `{name}`: {wrong[position]}")
            else:
                window.vectors[name][row] = matrix[position]
