"""YAML with positions: plain data, and where each part of it stands in the text.

YAML 1.2 scalars: PyYAML alone reads `on` as true, 1:30 as 90 and 1e3 as text. A key that is given twice is an error.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]


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


class _Loader(yaml.SafeLoader):
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
    loader = _Loader(text)
    try:
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
    finally:
        loader.dispose()


def dump(data: object) -> str:
    """Data as YAML, keys in their order, one to a line."""
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100))


def _walk(
    node: yaml.Node, path: Path, spans: dict[Path, tuple[int, int]], columns: dict[Path, int], mistakes: list[Mistake]
) -> None:
    spans[path] = (node.start_mark.line, _end(node))
    columns[path] = node.start_mark.column
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                mistakes.append(Mistake(key.start_mark.line + 1, key.start_mark.column + 1, f"{name} is given twice"))
            seen.add(name)
            _walk(value, (*path, name), spans, columns, mistakes)
            spans[(*path, name)] = (key.start_mark.line, _end(value))
            columns[(*path, name)] = key.start_mark.column
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), spans, columns, mistakes)


def _end(node: yaml.Node) -> int:
    """The line behind a node's last one; PyYAML ends a block at the next token, beyond comments and blank lines."""
    children = [child for pair in node.value for child in (pair if isinstance(pair, tuple) else (pair,))] if isinstance(
        node, yaml.CollectionNode
    ) else []  # fmt: skip
    if children and not getattr(node, "flow_style", False):
        return max(_end(child) for child in children)
    mark = node.end_mark
    return mark.line if mark.column == 0 and mark.line > node.start_mark.line else mark.line + 1
