"""A run of a runbook on the screen: steps, what to do now, what happened. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from tui.panes.pane import facts, paragraph
from tui.render import Line, Span, age, box, clip, fit, literal, rule
from tui.runbook import timeline
from tui.runbook.conduct import Conductor
from tui.runbook.fill import shown
from tui.runbook.model import Check, Command, Decide, Handoff, Note, Wait
from tui.runbook.parse import Step
from tui.runbook.run import Mark
from tui.view import View

WIDE = 100
STEPS_CELLS = 42
LEAST_PROSE = 3
KINDS = {Check: "check, reads only", Decide: "decision", Wait: "wait", Handoff: "hand over", Note: "write down"}
SYMBOLS = {"pass": "✓", "done": "✓", "fail": "✗", "unknown": "?", "skipped": "»", "running": "◌"}
STYLES = {"pass": "ok", "done": "ok", "fail": "crit", "unknown": "warn", "skipped": "dim", "running": "warn"}
FOUND = {"✔": "ok", "✘": "crit", "?": "warn"}


def head(conductor: Conductor, view: View, progress: str) -> Line:
    """Which run this is, whose, and whether it is safe."""
    run, facts_of = conductor.run, conductor.run.facts
    saved = Span("saved ●", "ok") if conductor.saved else Span(f"local only ◌ {conductor.sync_error}", "warn")
    elapsed = timeline.pace(run, _moment(view)).total
    words = f" Run {facts_of.run_id[:8]}  {facts_of.runbook} {facts_of.mode}  {run.owner.removeprefix('iot_u_')}  "
    state = f"{age(max(0.0, elapsed))}  " if run.open else f"{run.state}: {run.outcome}  "
    said = progress or conductor.notice
    now = (Span(f"  {said}", "warn"),) if said else ()
    return (Span(words, "title"), Span(state, "" if run.open else "ok"), saved, *now)


def drawn(
    conductor: Conductor, view: View, offers: Sequence[Line], progress: str, cells: int, rows: int
) -> tuple[list[Line], int]:
    """(lines, the line of the first offer)."""
    top = [head(conductor, view, progress)]
    if cells < WIDE:
        lines, first = _narrow(conductor, view, offers, cells, rows - 1)
        return top + lines, first + 1
    journal = max(6, (rows - 1) // 3)
    step_rows = rows - 1 - journal
    right = cells - STEPS_CELLS
    title, kind, prose, facts_of = step_lines(conductor, right - 2)
    room = step_rows - 2 - len(offers) - 1
    inner = [*_fitted(prose, facts_of, room), (), *offers]
    upper = box(title, inner, right, step_rows, kind, view.ascii)
    lower = box("Timeline", _journal(conductor, right - 2, journal - 2), right, journal, "Y: as Markdown", view.ascii)
    left = box(
        "Steps", _steps(conductor, STEPS_CELLS - 2, rows - 3), STEPS_CELLS, rows - 1, _count(conductor), view.ascii
    )
    both = [(*a, *b) for a, b in zip(left, [*upper, *lower], strict=True)]
    return top + both, 2 + room + 1


def _narrow(conductor: Conductor, view: View, offers: Sequence[Line], cells: int, rows: int) -> tuple[list[Line], int]:
    title, kind, prose, facts_of = step_lines(conductor, cells)
    journal = 4 if rows >= 18 else 0
    room = rows - len(offers) - 3 - (journal + 1 if journal else 0)
    lines = [rule(f"{title} · {kind}" if kind else title, cells, view.ascii), *_fitted(prose, facts_of, room)]
    lines += [_bar(conductor)]
    first = len(lines)
    lines += offers
    if journal:
        lines += [rule("Timeline", cells, view.ascii), *_journal(conductor, cells, journal)]
    return [*lines, *[()] * rows][:rows], first


def step_lines(conductor: Conductor, cells: int, excerpt: bool = True) -> tuple[str, str, list[Line], list[Line]]:
    """(title, kind, what the step says, what would be done exactly and what was found)."""
    run, step = conductor.run, conductor.run.step
    if step is None:
        return "Behind the last step", "", _end(conductor, cells), []
    number = [one.id for one in run.book.steps].index(step.id) + 1
    mark = run.mark(step.id)
    found = [(), *_found(mark, cells, excerpt)] if mark is not None else []
    kind = "CHANGES THE WORLD" if isinstance(step.action, Command) else KINDS.get(type(step.action), "read")
    prose = _prose(shown(step.prose, run.facts.vars), cells)
    return f"{number}  {literal(step.title)}", kind, prose, [*_exact(conductor, step, cells), *found]


def _exact(conductor: Conductor, step: Step, cells: int) -> list[Line]:
    match step.action:
        case Command(confirm=confirm) as command:
            exact = paragraph(f"  {conductor.exact(command)}", cells, "key")
            return [(), *paragraph(shown(confirm, conductor.run.facts.vars), cells), *exact]
        case Check(where=where) as check:
            names = ", ".join(probe.check for probe in check.probes)
            return [(), *facts([("asks", f"{names} ({'from here' if where == 'console' else where})")], cells, 6)]
        case Wait(until=until, timeout=limit):
            return [(), *facts([("until", f"{until.check}, {limit} at most")], cells, 6)]
        case Decide(question=question):
            return [(), *paragraph(question, cells, "title")]
        case Note(ask=ask) | Handoff(ask=ask):
            return [(), *facts([("asks", "; ".join(ask))], cells, 6)]
        case _:
            return []


def _found(mark: Mark, cells: int, excerpt: bool) -> list[Line]:
    lines: list[Line] = []
    for text in mark.found:
        lines += paragraph(literal(text), cells, FOUND.get(text[:1], ""))
    if mark.evidence and excerpt:
        last = mark.evidence.splitlines()[-3:]
        lines += [(Span(clip(f"   {literal(line)}", cells), "dim"),) for line in last]
        lines.append((Span("   v: all of it", "dim"),))
    return lines


def _end(conductor: Conductor, cells: int) -> list[Line]:
    run = conductor.run
    if not run.open:
        lines = paragraph(f"This run is {run.state}: {run.outcome}", cells, "ok" if run.state == "done" else "warn")
        return [*lines, (), *paragraph("x exports its timeline, Y copies it, esc goes back to the list.", cells)]
    if run.onward:
        return paragraph(f"The evidence points to another runbook: {run.onward}.", cells)
    unproved = run.unproved()
    if unproved:
        return paragraph(f"It is not proved yet that it is mended: {', '.join(unproved)}.", cells, "warn")
    return paragraph("All is proved.", cells, "ok")


def everything(conductor: Conductor, cells: int) -> list[Line]:
    """The step with all of its evidence, and the whole timeline with numbers for corrections."""
    _, _, prose, found = step_lines(conductor, cells, excerpt=False)
    lines = [*prose, *found]
    here = conductor.run.here
    mark = conductor.run.mark(here) if here else None
    if mark is not None and mark.evidence:
        lines += [(), (Span(" Evidence", "title"),)]
        lines += [(Span(clip(f" {literal(line)}", cells)),) for line in mark.evidence.splitlines()]
    lines += [(), (Span(" Timeline", "title"),)]
    return lines + _entries(conductor, cells, numbered=True)


def _steps(conductor: Conductor, cells: int, rows: int) -> list[Line]:
    run = conductor.run
    lines: list[Line] = []
    here = 0
    for n, step in enumerate(run.book.steps, 1):
        mark = run.mark(step.id)
        at = step.id == run.here
        symbol = (
            "▸" if at else SYMBOLS.get(mark.state, "·") if mark else "◇" if isinstance(step.action, Decide) else "·"
        )
        style = "selected" if at else STYLES.get(mark.state, "") if mark else "dim"
        here = len(lines) if at else here
        lines.append(fit((Span(clip(f" {symbol} {n:>2} {literal(step.title)}", cells), style),), cells))
    start = max(0, min(here - rows // 2, len(lines) - rows))
    return lines[start : start + rows]


def _bar(conductor: Conductor) -> Line:
    """`✓✓▸······ 3/9`."""
    run = conductor.run
    symbols = []
    for step in run.book.steps:
        mark = run.mark(step.id)
        symbols.append("▸" if step.id == run.here else SYMBOLS.get(mark.state, "·") if mark else "·")
    return (Span(f" {''.join(symbols)} {_count(conductor)}", "dim"),)


def _count(conductor: Conductor) -> str:
    run = conductor.run
    ids = [step.id for step in run.book.steps]
    return f"{ids.index(run.here) + 1 if run.here in ids else len(ids)} of {len(ids)}"


def _journal(conductor: Conductor, cells: int, rows: int) -> list[Line]:
    return _entries(conductor, cells)[-rows:]


def _entries(conductor: Conductor, cells: int, numbered: bool = False) -> list[Line]:
    """One line each when there is no number; whole otherwise."""
    lines: list[Line] = []
    for n, entry in enumerate(timeline.entries(conductor.run), 1):
        who = entry.actor.removeprefix("iot_u_")
        corrected = " (corrected)" if entry.corrected else ""
        text = f"{entry.at:%H:%M:%S}Z {who:<8} {entry.step}: {entry.words}{corrected}"
        if numbered:
            lines += paragraph(literal(f"{n:>3} {text}"), cells)
        else:
            lines.append((Span(clip(f" {literal(text)}", cells)),))
    return lines


def _prose(text: str, cells: int) -> list[Line]:
    """Markdown; what is indented is for copying, and stays as it is."""
    lines: list[Line] = []
    for line in text.splitlines():
        if line.startswith("    "):
            lines.append((Span(clip(f"   {literal(line.strip())}", cells), "key"),))
        else:
            lines += paragraph(literal(line.replace("**", "").replace("`", "")), cells) if line else [()]
    return lines


def _fitted(prose: list[Line], rest: list[Line], room: int) -> list[Line]:
    """Exactly room lines: all of it, or of the prose the beginning; what was found counts more."""
    if len(prose) + len(rest) > room:
        least = min(len(prose), LEAST_PROSE)
        rest = rest[: max(0, room - least)]
        said = max(0, room - len(rest))
        prose = prose if len(prose) <= said else [*prose[: said - 1], (Span(" … v: all of it", "dim"),)]
    return [*prose, *rest, *[()] * max(0, room)][: max(0, room)]


def _moment(view: View) -> datetime:
    return datetime.fromtimestamp(view.now, UTC)
