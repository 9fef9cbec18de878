"""Markdown to a runbook. All mistakes are reported at once, each with its line. Pure."""

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import ValidationError

from alerting import document
from alerting.document import DocumentError
from tui.runbook.model import ACTION, Action, Front, Instruct

FENCE = "---"
HEADING = re.compile(r"(?P<title>.*?)\s*\{#(?P<id>[a-z0-9][a-z0-9-]*)\}\s*")
NUMBER = re.compile(r"^\d+\.\s+")
STEP_FENCE = "yaml step"
BLOCKS = MarkdownIt("commonmark").disable("inline")  # what stands within a line is not looked at


class RunbookError(Exception):
    """The text is no runbook; the message has a line for each mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Step:
    """A section. prose: its Markdown without the fence. line: of its heading, from 1."""

    id: str
    title: str
    prose: str
    action: Action
    line: int


@dataclass(frozen=True, slots=True)
class Runbook:
    """intro: what stands before the first step. text: all of it, as it was read."""

    front: Front
    intro: str
    steps: tuple[Step, ...]
    text: str

    def step(self, step_id: str) -> Step | None:
        return next((step for step in self.steps if step.id == step_id), None)


def parse(text: str) -> Runbook:
    """Raises RunbookError."""
    mistakes: list[str] = []
    lines = text.splitlines()
    if lines[:1] != [FENCE] or FENCE not in lines[1:]:
        raise RunbookError([f"line 1: a runbook begins with front matter between two lines of {FENCE}"])
    end = lines.index(FENCE, 1)
    front = _front("\n".join(lines[1:end]), mistakes)
    body = lines[end + 1 :]
    intro, steps = _steps(body, end + 1, mistakes)
    twice = {step.id for step in steps if sum(other.id == step.id for other in steps) > 1}
    mistakes += [f"line {step.line}: the id {step.id} is given twice" for step in steps if step.id in twice]
    if not steps and not mistakes:
        mistakes.append("there is no step: `## Title {#id}`")
    if mistakes or front is None:
        raise RunbookError(mistakes)
    return Runbook(front, intro, tuple(steps), text)


def _front(text: str, mistakes: list[str]) -> Front | None:
    try:
        found = document.load(text)
        # YAML 1.2 knows no dates; pydantic reads them from text
        return Front.model_validate(found.data)
    except DocumentError as error:
        mistakes += [f"line {mistake.line + 1}: {mistake.message}" for mistake in error.mistakes]
    except ValidationError as error:
        for item in error.errors():
            path = tuple(part for part in item["loc"])
            line = found.spans.get(path[:1], (0, 0))[0] + 2
            mistakes.append(f"line {line}: {'.'.join(map(str, path))}: {item['msg']}")
    return None


def _steps(body: list[str], offset: int, mistakes: list[str]) -> tuple[str, list[Step]]:
    """Sections from one second-level heading to the next."""
    tokens = BLOCKS.parse("\n".join(body))
    heads = [(i, token) for i, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    starts = [token.map[0] for _, token in heads if token.map is not None]
    intro = "\n".join(body[: starts[0]] if starts else body).strip()
    steps = []
    for n, (i, _) in enumerate(heads):
        start, end = starts[n], starts[n + 1] if n + 1 < len(starts) else len(body)
        line = start + offset + 1
        match = HEADING.fullmatch(tokens[i + 1].content)
        if match is None:
            mistakes.append(f"line {line}: a step is `## Title {{#id}}`, its id of a-z, 0-9 and -")
            continue
        last = heads[n + 1][0] if n + 1 < len(heads) else len(tokens)
        fences = [token for token in tokens[i:last] if token.type == "fence" and token.info.strip() == STEP_FENCE]
        prose = _prose(body, start + 1, end, fences)
        action = _action(fences, offset, line, mistakes)
        title = NUMBER.sub("", match["title"])
        steps.append(Step(match["id"], title, prose, action, line))
    return intro, steps


def _prose(body: list[str], start: int, end: int, fences: list[Token]) -> str:
    inside = {n for fence in fences if fence.map is not None for n in range(*fence.map)}
    return "\n".join(line for n, line in enumerate(body[start:end], start) if n not in inside).strip()


def _action(fences: list[Token], offset: int, line: int, mistakes: list[str]) -> Action:
    if not fences:
        return Instruct()
    if len(fences) > 1:
        mistakes.append(f"line {line}: one fence a step; make two steps of it")
    first = (fences[0].map or [line - offset - 1])[0] + offset + 2
    try:
        found = document.load(fences[0].content)
        action: Action = ACTION.validate_python(found.data if found.data is not None else {})
        return action
    except DocumentError as error:
        mistakes += [f"line {mistake.line + first - 1}: {mistake.message}" for mistake in error.mistakes]
    except ValidationError as error:
        for item in error.errors():
            path = tuple(part for part in item["loc"][1:])
            at = found.spans.get(path[:1], (0, 0))[0] + first
            mistakes.append(
                f"line {at}: {'.'.join(map(str, path)) or 'kind'}: {item['msg'].removeprefix('Value error, ')}"
            )
    return Instruct()
