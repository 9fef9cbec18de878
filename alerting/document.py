"""YAML with positions: plain data, and where each part of it stands in the text.

YAML 1.2 scalars: PyYAML alone reads `on` as true, 1:30 as 90 and 1e3 as text. A key that is given twice is an error.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]
DEEPEST, MOST_PARTS = 64, 100_000  # no document of ours comes near; without a limit, a few lines of aliases never end


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong at a place of a text; lines and columns count from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


class DocumentError(Exception):
    """The text cannot be used; str() is one line a mistake."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Document:
    """data: the content. spans: (first line, line after the last) and columns: first column of each part, from 0."""

    text: str
    data: Any
    spans: dict[Path, tuple[int, int]]
    columns: dict[Path, int]

    def mistake(self, path: Path, message: str) -> Mistake:
        """A mistake at the part with this path, or at the nearest part around it that exists."""
        while path not in self.spans:
            path = path[:-1]
        return Mistake(self.spans[path][0] + 1, self.columns[path] + 1, message)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # in C: four times as fast
    """Scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
     "-+.0123456789"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


def load(text: str) -> Document:
    """Parse one document. Raises DocumentError."""
    try:
        _refuse_depth(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(text, None, {(): (0, 0)}, {(): 0})
        spans: dict[Path, tuple[int, int]] = {}
        columns: dict[Path, int] = {}
        mistakes: list[Mistake] = []
        _walk(node, (), spans, columns, mistakes)
        if mistakes:
            raise DocumentError(mistakes)
        return Document(text, loader.construct_document(node), spans, columns)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise DocumentError([Mistake(line, column, f"no YAML: {error.problem or error.context}")]) from error
    except yaml.YAMLError as error:
        raise DocumentError([Mistake(1, 1, f"no YAML: {error}")]) from error
    except UnicodeEncodeError as error:
        raise DocumentError([Mistake(1, 1, f"no YAML: {error.reason}")]) from error


def dump(data: object) -> str:
    """Data as YAML, keys in their order, one to a line."""
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100))


def _refuse_depth(text: str) -> None:
    """Before nodes are made, one inside of the other: in C, too many of them end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _too_deep(event)


def _too_deep(found: yaml.Event | yaml.Node) -> DocumentError:
    line, column = (found.start_mark.line, found.start_mark.column) if found.start_mark is not None else (0, 0)
    return DocumentError([Mistake(line + 1, column + 1, f"nested more than {DEEPEST} levels")])


def _walk(
    node: yaml.Node, path: Path, spans: dict[Path, tuple[int, int]], columns: dict[Path, int], mistakes: list[Mistake]
) -> int:
    """Notes where a node and all inside of it stand; returns the line behind its last one."""
    if len(path) > DEEPEST:  # an alias that stands for itself
        raise _too_deep(node)
    if len(spans) > MOST_PARTS:
        raise DocumentError([Mistake(1, 1, f"more than {MOST_PARTS} parts, with what aliases stand for")])
    columns[path] = node.start_mark.column
    ends = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                mistakes.append(Mistake(key.start_mark.line + 1, key.start_mark.column + 1, f"{name} is given twice"))
            seen.add(name)
            ends += [_end(key), _walk(value, (*path, name), spans, columns, mistakes)]
            spans[(*path, name)] = (key.start_mark.line, ends[-1])
            columns[(*path, name)] = key.start_mark.column
    elif isinstance(node, yaml.SequenceNode):
        ends = [_walk(item, (*path, index), spans, columns, mistakes) for index, item in enumerate(node.value)]
    end = max(ends) if ends and not getattr(node, "flow_style", False) else _end(node)
    spans[path] = (node.start_mark.line, end)
    return end


def _end(node: yaml.Node) -> int:
    """By its mark: right but for a block, which PyYAML ends at the next token, beyond comments and blank lines."""
    mark = node.end_mark
    return mark.line if mark.column == 0 and mark.line > node.start_mark.line else mark.line + 1
