"""The timeline of a run: for the screen, and as Markdown for those who write the post-mortem. Pure."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any

from tui.runbook.run import Event, Kind, Run

Body = Mapping[str, Any]
NOISE = {Kind.WENT, Kind.LEFT, Kind.BEGUN}
ANSWERED = (Kind.ANSWERED, Kind.HANDED)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line. evidence: lines to read below it."""

    at: datetime
    actor: str
    step: str
    words: str
    evidence: str = ""
    corrected: bool = False
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. to_first: until the first step was settled. slowest: the step that took the longest."""

    to_first: float | None
    total: float
    slowest: str
    slowest_seconds: float
    skipped: int


def entries(run: Run, noise: bool = False) -> list[Entry]:
    """In the order of their times; a correction takes the place of what it supersedes."""
    wrong = {event.supersedes: event for event in run.events if event.supersedes}
    found = []
    for event in run.events:
        if event.kind is Kind.CORRECTED or (event.kind in NOISE and not noise):
            continue
        entry = Entry(event.at, event.actor, event.step, words(event), _evidence(event), event_id=event.event_id)
        mended = wrong.get(event.event_id)
        while mended is not None:
            at = mended.body.get("at")
            text = str(mended.body.get("text", entry.words))
            entry = replace(entry, at=datetime.fromisoformat(at) if at else entry.at, words=text, corrected=True)
            mended = wrong.get(mended.event_id)
        found.append(entry)
    return sorted(found, key=lambda entry: entry.at)


def words(event: Event) -> str:
    """What happened, in a line."""
    return WORDS[event.kind](event.body) if event.kind in WORDS else event.kind.value


def _checked(body: Body) -> str:
    parts = [f"{name}: {one['found']}" for name, one in body.get("results", {}).items()]
    return f"{str(body.get('state', '?')).upper()} {'; '.join(parts)}"


def _said(body: Body) -> str:
    return "; ".join(f"{question}: {answer}" for question, answer in body.get("answers", {}).items())


WORDS: dict[Kind, Callable[[Body], str]] = {
    Kind.STARTED: lambda body: f"started{' for alert ' + str(body['alert']) if body.get('alert') else ''}",
    Kind.CHECKED: _checked,
    Kind.BEGUN: lambda body: f"began: {body.get('what', '')}",
    Kind.DID: lambda body: f"{str(body.get('state', '?')).upper()} {body.get('what', '')}: {body.get('found', '')}",
    Kind.DONE: lambda body: f"done{' ' + str(body['found']) if body.get('found') else ''}",
    Kind.SKIPPED: lambda body: f"skipped: {body.get('reason', '')}",
    Kind.DECIDED: lambda body: (
        f"decided: {body.get('label', '')}{'' if body.get('suggested') else ', against the advice'}"
    ),
    Kind.ANSWERED: _said,
    Kind.HANDED: lambda body: f"handed over. {_said(body)}",
    Kind.ACCEPTED: lambda _: "accepted it",
    Kind.NOTED: lambda body: f"note: {body.get('text', '')}",
    Kind.TAKEN: lambda body: f"took it over: {body.get('why', '')}",
    Kind.WENT: lambda body: f"to {body.get('next') or 'the end'}",
    Kind.ENDED: lambda body: f"ended, {body.get('state', '')}: {body.get('outcome', '')}",
}


def _evidence(event: Event) -> str:
    results = event.body.get("results", {})
    parts = [one["evidence"] for one in results.values() if one.get("evidence")]
    return "\n".join([*parts, *([str(event.body["evidence"])] if event.body.get("evidence") else [])])


def pace(run: Run, now: datetime) -> Pace:
    settled = sorted((mark.at, step) for step, mark in run.marks.items() if mark.state != "running")
    slowest = max(run.marks.items(), key=lambda item: item[1].seconds, default=None)
    ended = next((event.at for event in run.events if event.kind is Kind.ENDED), now)
    return Pace(
        (settled[0][0] - run.facts.started_at).total_seconds() if settled else None,
        (ended - run.facts.started_at).total_seconds(),
        slowest[0] if slowest else "",
        slowest[1].seconds if slowest else 0.0,
        sum(mark.state == "skipped" for mark in run.marks.values()),
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Of all runs of a runbook. Seconds are medians; slowest and skipped: the step that is so most often."""

    runbook: str
    runs: int
    mended: int
    to_first: float | None
    total: float
    slowest: str
    skipped: str


def summaries(runs: Sequence[Run], now: datetime) -> list[Summary]:
    """By runbook, in order."""
    found = []
    for name in sorted({run.facts.runbook for run in runs}):
        mine = [run for run in runs if run.facts.runbook == name]
        paces = [pace(run, now) for run in mine]
        firsts = [one.to_first for one in paces if one.to_first is not None]
        skipped = Counter(step for run in mine for step, mark in run.marks.items() if mark.state == "skipped")
        slowest = Counter(one.slowest for one in paces if one.slowest)
        found.append(Summary(
            name, len(mine), sum(run.outcome == "mended" for run in mine), median(firsts) if firsts else None,
            median([one.total for one in paces]), _most(slowest), _most(skipped),
        ))  # fmt: skip
    return found


def _most(counted: Counter[str]) -> str:
    return counted.most_common(1)[0][0] if counted else ""


def markdown(run: Run, now: datetime, noise: bool = False) -> str:
    """The whole run. Times are UTC."""
    return "\n".join([*_head(run, now), *_answers(run), *_table(run, noise), *_skipped(run), *_evidences(run)]) + "\n"


def _head(run: Run, now: datetime) -> Iterator[str]:
    facts, measured = run.facts, pace(run, now)
    people = sorted({event.actor for event in run.events} | {facts.started_by})
    sha = hashlib.sha256(run.book.text.encode()).hexdigest()[:12]
    yield f"# {run.book.front.title}"
    yield ""
    yield f"- run: {facts.run_id}"
    yield f"- runbook: {facts.runbook}@{sha}, {facts.mode}"
    yield f"- tenant: {facts.tenant}{f', alert {facts.alert_id}' if facts.alert_id else ''}"
    yield f"- people: {', '.join(people)}"
    yield f"- started: {_time(facts.started_at)}, {run.state} after {_span(measured.total)}"
    if run.outcome:
        yield f"- outcome: {run.outcome}"
    if measured.to_first is not None:
        yield f"- first step settled after {_span(measured.to_first)}, slowest: {measured.slowest}, " \
              f"{_span(measured.slowest_seconds)}"  # fmt: skip


def _answers(run: Run) -> Iterator[str]:
    found = [event for event in run.events if event.kind in ANSWERED]
    if found:
        yield ""
        yield "## Answers"
        for event in found:
            for question, answer in event.body.get("answers", {}).items():
                yield f"- **{question}** {answer} ({event.actor})"


def _table(run: Run, noise: bool) -> Iterator[str]:
    yield ""
    yield "## Timeline (UTC)"
    yield ""
    yield "| time | who | step | what |"
    yield "| --- | --- | --- | --- |"
    for entry in entries(run, noise):
        mark = " *(corrected)*" if entry.corrected else ""
        yield f"| {_time(entry.at)} | {_cell(entry.actor)} | {entry.step} | {_cell(entry.words)}{mark} |"


def _skipped(run: Run) -> Iterator[str]:
    found = [event for event in run.events if event.kind is Kind.SKIPPED]
    if found:
        yield ""
        yield "## Skipped"
        yield from (f"- {event.step}: {event.body.get('reason', '')}" for event in found)


def _evidences(run: Run) -> Iterator[str]:
    found = [entry for entry in entries(run) if entry.evidence]
    if found:
        yield ""
        yield "## Evidence"
    for entry in found:
        yield ""
        yield f"{_time(entry.at)} {entry.step}"
        yield ""
        yield from (f"    {line}" for line in entry.evidence.splitlines())


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
