"""The filter language of lists: words, `column:text`, `column<30m`, `!` before what must not be. Pure.

A part that is no part of the language is passed over and named, the rest applies.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from alerting import durations

TERM = re.compile(r'(?P<no>!?)(?:(?P<column>[a-z_]+)(?P<op><=|>=|[:=<>]))?(?P<text>"[^"]*"?|\S*)')
NUMBER = re.compile(r"-?\d+(\.\d+)?")
Value = float | str | None


@dataclass(frozen=True, slots=True)
class Term:
    """column "": any of them. op: `:` contains, `=` is, `<` `<=` `>` `>=` compare. text is in lower case."""

    negated: bool
    column: str
    op: str
    text: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms that must all hold; problems: parts that were passed over, and why."""

    text: str = ""
    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)


def parse(text: str, columns: Collection[str]) -> Filter:
    """columns: the names that may stand before an operator."""
    terms: list[Term] = []
    problems: list[str] = []
    for match in TERM.finditer(text):
        written = match[0]
        if not written:
            continue
        column, op, wanted = match["column"] or "", match["op"] or ":", match["text"].strip('"').lower()
        if column and column not in columns:
            problems.append(f"there is no column {column}: {', '.join(columns)}")
        elif not wanted:
            problems.append(f"{written} names nothing")
        elif op in ("<", "<=", ">", ">=") and number(wanted) is None:
            problems.append(f"{wanted} is no number and no duration such as 30m")
        else:
            terms.append(Term(bool(match["no"]), column, op, wanted))
    return Filter(text, tuple(terms), tuple(problems))


def number(text: str) -> float | None:
    """A number, or the seconds of a duration such as 30m."""
    if NUMBER.fullmatch(text):
        return float(text)
    try:
        return durations.seconds(text)
    except ValueError:
        return None


def matches(found: Filter, value: Callable[[str], Value], words: Callable[[], str]) -> bool:
    """value: of a column by its name; words: everything that is shown of the row, in lower case."""
    return all(_holds(term, value, words) is not term.negated for term in found.terms)


def _holds(term: Term, value: Callable[[str], Value], words: Callable[[], str]) -> bool:
    if not term.column:
        return term.text in words()
    found = value(term.column)
    if term.op in (":", "="):
        text = "" if found is None else f"{found:g}" if isinstance(found, float) else found.lower()
        return text == term.text if term.op == "=" else term.text in text
    wanted = number(term.text)
    if found is None or wanted is None or isinstance(found, str):
        return False
    return _compared(found, term.op, wanted)


def _compared(found: float, op: str, wanted: float) -> bool:
    match op:
        case "<":
            return found < wanted
        case "<=":
            return found <= wanted
        case ">":
            return found > wanted
        case _:
            return found >= wanted
