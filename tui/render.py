"""Values to words, glyphs and styled lines. Pure. Colour is never alone: glyph, word, colour."""

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from store.agents import PartState


class Span(NamedTuple):
    """A piece of text and the name of its style (a key of tui.style.STYLES); "" is plain."""

    text: str
    style: str = ""


Line = tuple[Span, ...]

GLYPHS = {
    PartState.OK: "●",
    PartState.WARN: "▲",
    PartState.CRIT: "✗",
    PartState.OFF: "○",
    PartState.UNKNOWN: "?",
}
ASCII_GLYPHS = {
    PartState.OK: "+",
    PartState.WARN: "!",
    PartState.CRIT: "X",
    PartState.OFF: "o",
    PartState.UNKNOWN: "?",
}
FRAME = ("┌", "─", "┐", "│", "└", "┘")
ASCII_FRAME = ("+", "-", "+", "|", "+", "+")
TO_ASCII = str.maketrans(
    {
        "●": "+",
        "▲": "!",
        "✗": "X",
        "○": "o",
        "◌": "~",
        "·": "-",
        "▸": ">",
        "…": ".",
        "─": "-",
        "»": ">",
        "↑": "^",
        "↓": "v",
        "✓": "*",
        "«": '"',
        "␛": "?",
    }
)


def glyph(state: PartState, ascii_only: bool) -> str:
    return (ASCII_GLYPHS if ascii_only else GLYPHS)[state]


def age(seconds: float | None) -> str:
    """Such as 0.4s, 12s, 4m12s, 3h07m, 2d03h."""
    if seconds is None:
        return "never"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def number(value: float) -> str:
    """Four significant places at most: 0.2, 12.3, 412, 10 214, 1.2 M."""
    if value >= 999_500:
        return f"{value / 1e6:.1f} M"
    if value >= 99.5:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if value % 1 else f"{value:.0f}"


def size(count: float) -> str:
    """Bytes in binary units."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def clock(at: datetime | float, local: bool) -> str:
    """HH:MM:SS, with a Z when it is UTC."""
    moment = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return f"{moment.astimezone():%H:%M:%S}" if local else f"{moment.astimezone(UTC):%H:%M:%S}Z"


def when(at: datetime, now: float, local: bool) -> str:
    """The time of day; with its date when that is not today or nearly so."""
    if abs(at.timestamp() - now) < 12 * 3600:
        return clock(at, local)
    return f"{at.astimezone():%Y-%m-%d %H:%M}" if local else f"{at.astimezone(UTC):%Y-%m-%d %H:%MZ}"


def literal(text: str) -> str:
    """Text from the network on one line: control characters and line breaks become visible."""
    return "".join(
        "␛" if c == "\x1b" else "·" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") else c for c in text
    )


def width(text: str) -> int:
    """Terminal cells, for the characters we may show: wide ones count two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clip(text: str, cells: int) -> str:
    """At most so many cells; a cut is marked by an ellipsis."""
    if width(text) <= cells:
        return text
    out, used = [], 0
    for c in text:
        wide = width(c)
        if used + wide > cells - 1:
            break
        out.append(c)
        used += wide
    return "".join(out) + "…" if cells > 0 else ""


def pad(text: str, cells: int) -> str:
    """Exactly so many cells, left aligned."""
    cut = clip(text, cells)
    return cut + " " * (cells - width(cut))


def line_width(line: Line) -> int:
    return sum(width(span.text) for span in line)


def wrapped(text: str, cells: int) -> list[str]:
    """Text in lines of at most so many characters, broken at blanks where there are some."""
    cells = max(1, cells)
    lines: list[str] = []
    for given in text.splitlines() or [""]:
        rest = given
        while len(rest) > cells:
            cut = rest.rfind(" ", cells // 2, cells + 1)
            cut = cells if cut < 0 else cut
            lines.append(rest[:cut])
            rest = rest[cut:].lstrip(" ")
        lines.append(rest)
    return lines


def fit(line: Line, cells: int) -> Line:
    """Exactly so many cells: clipped, or filled with blanks."""
    out: list[Span] = []
    left = cells
    for span in line:
        if width(span.text) >= left:
            out.append(Span(clip(span.text, left), span.style))
            left -= width(out[-1].text)
            break
        out.append(span)
        left -= width(span.text)
    if left > 0:
        out.append(Span(" " * left))
    return tuple(out)


def sides(left: Line, right: Line, cells: int) -> Line:
    """left and right text on one line; the left one is clipped first."""
    right = right if line_width(right) <= cells else ()
    return (*fit(left, cells - line_width(right)), *right)


def box(
    title: str, lines: Sequence[Line], cells: int, rows: int, right: str = "", ascii_only: bool = False
) -> list[Line]:
    """A frame of exactly cells x rows with a title at the left of its top edge and a note at the right."""
    corner_a, edge, corner_b, side, corner_c, corner_d = ASCII_FRAME if ascii_only else FRAME
    head = f"{edge} {clip(title, cells - 6)} "
    note = f" {right} {edge}" if right and len(right) + len(head) + 6 < cells else ""
    fill = cells - 2 - width(head) - width(note)
    top: Line = (
        Span(corner_a, "frame"), Span(head[0], "frame"), Span(head[1:], "title"), Span(edge * fill, "frame"),
        Span(note, "dim"), Span(corner_b, "frame"),
    )  # fmt: skip
    body = [lines[i] if i < len(lines) else () for i in range(rows - 2)]
    middle = [(Span(side, "frame"), *fit(line, cells - 2), Span(side, "frame")) for line in body]
    return [top, *middle, (Span(corner_c + edge * (cells - 2) + corner_d, "frame"),)]


def rule(title: str, cells: int, ascii_only: bool = False) -> Line:
    """A heading that costs one line: ─ Title ─────."""
    edge = "-" if ascii_only else "─"
    head = f" {title} "
    return (Span(edge, "frame"), Span(head, "title"), Span(edge * max(0, cells - 1 - width(head)), "frame"))


def beside(*blocks: Sequence[Line]) -> list[Line]:
    """Blocks of equal height next to each other."""
    return [tuple(span for block in blocks for span in block[row]) for row in range(len(blocks[0]))]


def plain(lines: Sequence[Line]) -> str:
    """The text of lines without style, as it stands on the screen."""
    return "\n".join("".join(span.text for span in line) for line in lines)


def to_ascii(line: Line) -> Line:
    """For terminals without our glyphs."""
    return tuple(Span(span.text.translate(TO_ASCII), span.style) for span in line)
