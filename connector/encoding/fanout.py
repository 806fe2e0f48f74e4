"""Fans a row out: one row a position, where a vector field holds one vector a token or a patch.

How many positions an input has must be known before it is encoded, because rows are numbered when they are made. So the input is prepared
once here, which for text is tokenising it; the encoder tells the number from that. ENCODE encodes the input once for all of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.errors import RowError, SchemaError
from connector.record import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connector.encoding.binding import Binding
    from connector.interfaces import Prepared

POSITION = "position"
"""The field that is offered to a schema: 0 for the first token or patch of an input."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A large input that several rows hold.

    Attributes:
        value: The input.
        nbytes: Each row's share of its bytes.
    """

    value: Any
    nbytes: int


@dataclass(frozen=True, slots=True)
class FanOut:
    """The step; call it with a finished row.

    Attributes:
        source: The row's field that is encoded.
        prepare: Prepares an input.
        positions: How many vectors a prepared input gets.
    """

    source: str
    prepare: Callable[[Any], Prepared]
    positions: Callable[[Prepared], int]

    def __call__(self, row: Row) -> list[Row]:
        """One row a position; a row whose input is missing or cannot be prepared stays one, and is refused when it is encoded."""
        value = row.get(self.source)
        try:
            count = 0 if value is None else self.positions(self.prepare(value))
        except RowError:
            return [row]
        if isinstance(value, bytes) and count:
            value = Shared(value, len(value) // count)
        return [{**row, self.source: value, POSITION: place} for place in range(count)] or [row]


def fan_out(bindings: Sequence[Binding]) -> FanOut | None:
    """The step that a collection needs; None if every field holds one vector an input.

    Raises:
        SchemaError: Two fields would fan out differently.
    """
    ragged = [binding for binding in bindings if binding.ragged]
    if not ragged:
        return None
    first = ragged[0]
    for other in ragged[1:]:
        if (other.encoder, other.source) != (first.encoder, first.source):
            problem = f"`{first.field.name}` and `{other.field.name}` have one vector a position of different inputs"
            raise SchemaError(problem, hint="keep one of them; another collection can have the other")
    encoder: Any = first.encoder
    return FanOut(first.source, encoder.preparer("document", first.modality), lambda prepared: int(encoder.positions(first.head, prepared)))
