"""Joins tiles into passages: as long as fits, ending at the best place in the second half of what fits.

Arithmetic over running sums, so a passage costs a few binary searches. Only the second half is looked at: a passage is never shorter than
half of what would fit, and within that it ends at a heading, a paragraph, a line, a sentence or a word, in this order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from connector.splitters.tiles import Tile


@dataclass(frozen=True, slots=True)
class Scale:
    """One thing that is limited: how much of it the text holds up to where each tile starts and ends.

    Attributes:
        starts: Running sum at each tile's start.
        ends: Running sum at each tile's end.
        limit: Most of it in a passage.
    """

    starts: list[int]
    ends: list[int]
    limit: int

    @classmethod
    def of_tokens(cls, tokens: list[int], limit: int) -> Scale:
        """Tokens of the tiles, taken as if there were none between them."""
        sums = [0, *accumulate(tokens)]
        return cls(sums[:-1], sums[1:], limit)

    @classmethod
    def of_bytes(cls, text: str, tiles: list[Tile], limit: int) -> Scale:
        """UTF-8 bytes, with those between tiles."""
        edges = [0, *(offset for tile in tiles for offset in (tile.start, tile.end))]
        sums = list(accumulate(len(text[a:b].encode()) for a, b in pairwise(edges)))
        return cls(sums[0::2], sums[1::2], limit)

    def furthest(self, start: int) -> int:
        """Index after the last tile that a passage from tile `start` may hold."""
        return bisect_right(self.ends, self.starts[start] + self.limit)


@dataclass(frozen=True, slots=True)
class Joiner:
    """One text's tiles on their way to passages.

    Attributes:
        tiles: In order; each fits by itself.
        tokens: The scale of tokens.
        others: Further scales.
        overlap: Most tokens that a passage repeats of the one before it.
        recount: Tokens of the tiles from i to before j as one text.
        additive: Whether sums over tiles that stand apart need no recount.
    """

    tiles: list[Tile]
    tokens: Scale
    others: Sequence[Scale]
    overlap: int
    recount: Callable[[int, int], int]
    additive: bool

    def passages(self) -> Iterator[tuple[int, int]]:
        """Character offsets of each passage; every one ends further on than the one before it."""
        start = reached = 0
        while reached < len(self.tiles):
            start, reached = self._next(start, reached)
            yield self.tiles[start].start, self.tiles[reached - 1].end
            start = self._repeat(start, reached)

    def _next(self, start: int, reached: int) -> tuple[int, int]:
        """The passage from tile `start`, or a later one where the repeated tiles leave no room for a new one."""
        while (stop := self._stop(start)) <= reached:
            start += 1
        end = self._best(start, reached, stop)
        while (over := self._over(start, end)) > 0:
            if end > reached + 1:
                most = bisect_right(self.tokens.ends, self.tokens.ends[end - 1] - over)
                end = self._best(start, reached, max(reached + 1, min(end - 1, most)))
            else:
                start += 1
        return start, end

    def _stop(self, start: int) -> int:
        """Index after the last tile that fits by the sums; at least one does."""
        return max(start + 1, min(scale.furthest(start) for scale in (self.tokens, *self.others)))

    def _best(self, start: int, reached: int, stop: int) -> int:
        """Where to end between the middle and `stop`, after `reached`: at the best cut, the last of several."""
        if stop == len(self.tiles):
            return stop
        middle = (self.tokens.starts[start] + self.tokens.ends[stop - 1]) // 2
        first = max(reached + 1, start + 1, min(stop, bisect_left(self.tokens.ends, middle) + 1))
        return max(range(first, stop + 1), key=lambda end: (self.tiles[end - 1].cut, end))

    def _over(self, start: int, end: int) -> int:
        """Tokens over the limit; not asked where the sum is sure to be right."""
        if end - start == 1 or (self.additive and all(tile.apart for tile in self.tiles[start : end - 1])):
            return 0
        return self.recount(start, end) - self.tokens.limit

    def _repeat(self, start: int, reached: int) -> int:
        """The tile that the next passage begins with."""
        if self.overlap == 0:
            return reached
        return bisect_left(self.tokens.starts, self.tokens.ends[reached - 1] - self.overlap, start + 1, reached)
