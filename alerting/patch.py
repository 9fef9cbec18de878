"""Changes of one rule in the text of alerts.yaml: lines are replaced, every other line and comment stays as it is.

Comment lines directly above a rule belong to it. After an edit the text is read again, and only that rule may differ.
"""

from dataclasses import dataclass
from typing import Any

from alerting import document
from alerting.document import Document, Path


class PatchError(Exception):
    """The edit cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one rule with the comments above it, from 0; end is the line behind. indent: of its dash."""

    path: Path
    start: int
    end: int
    indent: int

    def of(self, text: str) -> str:
        return "".join(text.splitlines(keepends=True)[self.start : self.end])


def find(text: str, rule_id: str) -> Block:
    """Where a rule stands. Raises PatchError, document.DocumentError."""
    found = document.load(text)
    for path, rule in _rules(found):
        if rule.get("id") == rule_id:
            return _block(found, path)
    raise PatchError(f"there is no rule {rule_id} in the file")


def rule_text(text: str, rule_id: str) -> str:
    """The rule as it is written, without its dash and indentation: what an editor shows."""
    block = find(text, rule_id)
    lines = block.of(text).splitlines()
    body = [line for line in lines if not line.strip().startswith("#") or line.startswith(" " * (block.indent + 2))]
    first = next(number for number, line in enumerate(body) if line.lstrip().startswith("- "))
    body[first] = body[first].replace("- ", "  ", 1)
    return "\n".join(line[block.indent + 2 :] for line in body[first:]).rstrip() + "\n"


def replace(text: str, rule_id: str, rule: str) -> str:
    """The text with another body for the rule; comments above it stay. rule: as rule_text() gives it."""
    block = find(text, rule_id)
    lines = text.splitlines(keepends=True)
    head = [line for line in lines[block.start : block.end] if line.strip().startswith("#")]
    kept = head[: _leading(lines[block.start : block.end])]
    new = [*lines[: block.start], *kept, *_written(rule, block.indent), *lines[block.end :]]
    return _checked(text, "".join(new), rule_id, {rule_id, _id(rule)})


def remove(text: str, rule_id: str) -> str:
    """The text without the rule and the comments directly above it."""
    block = find(text, rule_id)
    lines = text.splitlines(keepends=True)
    end = block.end
    while end < len(lines) and not lines[end].strip() and block.start and not lines[block.start - 1].strip():
        end += 1  # one blank line between the neighbours, not two
    return _checked(text, "".join([*lines[: block.start], *lines[end:]]), rule_id, {rule_id})


def add(text: str, group: str, rule: str) -> str:
    """The text with one more rule at the end of a group."""
    found = document.load(text)
    groups = found.data.get("groups", []) if isinstance(found.data, dict) else []
    number = next((n for n, known in enumerate(groups) if known.get("name") == group), None)
    if number is None or not groups[number].get("rules"):
        raise PatchError(f"there is no group {group} with rules in the file")
    last = _block(found, ("groups", number, "rules", len(groups[number]["rules"]) - 1))
    lines = text.splitlines(keepends=True)
    if not lines[last.end - 1].endswith("\n"):
        lines[last.end - 1] += "\n"
    new = [*lines[: last.end], "\n", *_written(rule, last.indent), *lines[last.end :]]
    return _checked(text, "".join(new), None, {_id(rule)})


def _rules(found: Document) -> list[tuple[Path, dict[str, Any]]]:
    groups = found.data.get("groups", []) if isinstance(found.data, dict) else []
    return [
        (("groups", g, "rules", r), rule)
        for g, group in enumerate(groups)
        for r, rule in enumerate(group.get("rules") or ())
        if isinstance(rule, dict)
    ]


def _block(found: Document, path: Path) -> Block:
    start, end = found.spans[path]
    lines = found.text.splitlines()
    if not lines[start].lstrip().startswith("- "):
        raise PatchError(f"line {start + 1}: the rule does not begin on a line of its own: edit the file yourself")
    indent = len(lines[start]) - len(lines[start].lstrip())
    while start > 0 and lines[start - 1].strip().startswith("#"):
        start -= 1
    return Block(path, start, end, indent)


def _leading(lines: list[str]) -> int:
    """How many comment lines stand above the rule itself."""
    return next((number for number, line in enumerate(lines) if not line.strip().startswith("#")), 0)


def _written(rule: str, indent: int) -> list[str]:
    lines = rule.rstrip().splitlines()
    if not lines:
        raise PatchError("the rule is empty")
    marked = [f"{' ' * indent}- {lines[0]}", *(f"{' ' * (indent + 2)}{line}".rstrip() for line in lines[1:])]
    return [f"{line}\n" for line in marked]


def _id(rule: str) -> str:
    found = document.load(rule).data
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise PatchError("a rule begins with id:")
    return str(found["id"])


def _checked(before: str, after: str, rule_id: str | None, touched: set[str]) -> str:
    """The new text, if nothing but the touched rules differs."""
    old, new = _index(document.load(before)), _index(document.load(after))
    others = {key for key in old.keys() | new.keys() if key not in touched}
    taken = (touched - {rule_id}) & old.keys()
    if taken or any(old.get(key) != new.get(key) for key in others):
        raise PatchError("the edit would change more than this rule: edit the file yourself")
    return after


def _index(found: Document) -> dict[str, Any]:
    """Rules by id, and everything else of the file under its own keys."""
    index: dict[str, Any] = {str(rule.get("id")): rule for _, rule in _rules(found)}
    if isinstance(found.data, dict):
        index |= {f"/{key}": value for key, value in found.data.items() if key != "groups"}
        index |= {
            f"/groups/{group.get('name')}": {k: v for k, v in group.items() if k != "rules"}
            for group in found.data.get("groups", [])
        }
    return index
