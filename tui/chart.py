"""Series to characters. Pure. A gap (None) stays a gap: no data is never drawn as zero."""

import math
from collections.abc import Sequence

Series = Sequence[float | None]

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*#@"
DOTS = ((0x40, 0x80), (0x04, 0x20), (0x02, 0x10), (0x01, 0x08))  # braille dots of a cell, bottom row first


def spark(values: Series, cells: int, top: float | None = None, ascii_only: bool = False) -> str:
    """The last `cells` values in one line. top: the value of a full block; without it, the largest one."""
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    shown = list(values)[-cells:]
    highest = top if top is not None else max((v for v in shown if v is not None), default=0.0)
    out = []
    for value in shown:
        if value is None:
            out.append(" ")
        else:
            share = value / highest if highest > 0 else 0.0
            out.append(blocks[min(len(blocks) - 1, max(0, math.ceil(share * len(blocks)) - 1))])
    return "".join(out).rjust(cells)


def nice_top(highest: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 times a power of ten: a scale one can read."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= highest * (1 - 1e-9))


def resample(values: Series, count: int) -> list[float | None]:
    """Exactly so many values: means where there are more, repeats where there are fewer."""
    if not values:
        return [None] * count
    out: list[float | None] = []
    for i in range(count):
        first = i * len(values) // count
        last = max(first + 1, (i + 1) * len(values) // count)
        known = [v for v in values[first:last] if v is not None]
        out.append(sum(known) / len(known) if known else None)
    return out


def area(values: Series, cells: int, rows: int, top: float, ascii_only: bool = False) -> list[str]:
    """A line chart of cells x rows characters, the first row on top. Braille: 2 x 4 dots a cell."""
    if ascii_only:
        return _ascii_area(resample(values, cells), rows, top)
    points = resample(values, cells * 2)
    grid = [[0] * cells for _ in range(rows)]
    for x, value in enumerate(points):
        if value is None:
            continue
        before = points[x - 1] if x and points[x - 1] is not None else value
        assert before is not None
        low, high = sorted((_level(before, rows * 4, top), _level(value, rows * 4, top)))
        for level in range(low, high + 1):
            grid[rows - 1 - level // 4][x // 2] |= DOTS[level % 4][x % 2]
    return ["".join(chr(0x2800 + dots) if dots else " " for dots in row) for row in grid]


def _ascii_area(points: list[float | None], rows: int, top: float) -> list[str]:
    levels = [None if value is None else _level(value, rows, top) for value in points]
    return ["".join("*" if level == row else " " for level in levels) for row in range(rows - 1, -1, -1)]


def _level(value: float, levels: int, top: float) -> int:
    share = value / top if top > 0 else 0.0
    return min(levels - 1, max(0, round(share * (levels - 1))))
