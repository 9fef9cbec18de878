"""The fixed lines around a pane: status, tabs, banner, footer; and the help page. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from store.agents import PartState
from store.members import LOGIN_PREFIX
from tui.actions import ACTIONS, OF_LISTS, OF_PLACES, TITLES, Action
from tui.keymap import Keymap, key_name, keys
from tui.render import Line, Span, age, clock, fit, glyph, pad, sides
from tui.view import LATE_SECONDS, PathState, View

Allowed = Callable[[Action], bool]
PARAGRAPHS = {
    "overview": "Whether data flows, what fires, and how the machine is. tab: what could not be stored.",
    "devices": "A device is silent when nothing came for 10 minutes. CREDENTIAL: `pending` is stored and not yet in "
    "force at the broker; `moving` has a new one and still logs in with the old. tab: numbered sets, and brokers.",
    "alerts": "The gravest first. Acknowledge what you take care of: others see it, reminders stop, its end is still "
    "told. tab: what ended, silences, notifications.",
    "runbooks": "What to do, for each kind of alert. b on an alert comes here.",
    "rules": "Rules of alerts.yaml are changed in that file; a tenant's own are changed here and see that tenant only.",
    "users": "A viewer looks, an operator takes care of alerts, an owner changes devices, rules and users. The "
    "database enforces it, whatever this console says.",
    "doctor": "Worst first. What cannot be known now is `unknown`, never `ok`.",
}


class Entry(NamedTuple):
    """A word of a line that can be clicked: its cells, from and up to, and the action."""

    start: int
    end: int
    action: str


def status_line(view: View, cells: int) -> Line:
    """Environment, path, data age, alerts, agent, who, time: always the same places."""
    wide = cells >= 100
    left: list[Span] = [
        Span(" iot-console  " if wide else " "),
        Span(f" {view.environment} ", "environment"),
        Span(" "),
    ]
    if wide:
        left.append(Span(f" {view.target}  ", "dim"))
    left += [*_path(view), Span("  "), *_alerts(view, wide), Span("  "), *_agent(view)]
    who = view.me.login.removeprefix(LOGIN_PREFIX)
    role = f"·{view.me.role}" if view.me.role else ""
    right = (Span(f"{who}{role}  " if wide else f"{who}{role} ", "dim"), Span(f"{clock(view.now, view.local_time)} "))
    return sides(tuple(left), right, cells)


def tabs_line(view: View, cells: int) -> Line:
    left = tuple(Span(text, "title" if name == view.pane else "dim") for name, text in _tabs(view, cells))
    right = ": commands  / filter  ? help " if cells >= 100 else ": cmd  ? help "
    return sides(left, (Span(right, "dim"),), cells)


def tab_entries(view: View, cells: int) -> list[Entry]:
    entries, at = [], 0
    for name, text in _tabs(view, cells):
        entries.append(Entry(at, at + len(text), name))
        at += len(text)
    return entries


def _tabs(view: View, cells: int) -> list[tuple[str, str]]:
    firing = len(view.snapshot.firing) if view.snapshot else 0
    tabs = []
    for number, (name, (long, short)) in enumerate(TITLES.items(), 1):
        count = f"·{firing}" if name == "alerts" and firing else ""
        title = f"{number} {long}{count}" if cells >= 100 else f"{number}{short}{count}"
        tabs.append((name, f"[{title}]" if name == view.pane else f" {title} "))
    return [("overview", " "), *tabs]


def banner_line(view: View, cells: int) -> Line | None:
    """What must not be overlooked: a lost database or a held picture."""
    if view.path.state is PathState.LOST:
        again = max(0.0, view.path.next_try - view.now)
        what = "shown data is old, changes are off" if view.snapshot else "no data yet"
        left = Span(f" ◌ database lost {age(view.now - view.path.since)} ago · {what} · {view.path.error}", "crit")
        return sides((left,), (Span(f" again in {again:.0f} s · r: now ", "crit"),), cells)
    if view.frozen_at is not None:
        return fit((Span(f" frozen {age(view.now - view.frozen_at)} · p: go on", "warn"),), cells)
    return None


def footer_line(place: str, keymap: Keymap, allowed: Allowed, cells: int) -> Line:
    """Keys of here, the pane's own first; what the role may not do is grey. Dropped from the right."""
    spans: list[Span] = []
    for _, action in _footer(place, keymap, cells):
        may = allowed(action)
        spans += [
            Span(f" {key_name(keys(action, keymap)[0])}", "key" if may else "off"),
            Span(f" {action.short} ", "" if may else "off"),
        ]
    return fit(tuple(spans), cells)


def footer_entries(place: str, keymap: Keymap, cells: int) -> list[Entry]:
    return [
        Entry(start, start + len(_word(action, keymap)), action.id) for start, action in _footer(place, keymap, cells)
    ]


def _footer(place: str, keymap: Keymap, cells: int) -> list[tuple[int, Action]]:
    found, at = [], 0
    here = [action for action in ACTIONS if action.short and action.here(place) and keys(action, keymap)]
    always = [action for action in here if action.id in ("help", "quit")]
    reserved = sum(len(_word(action, keymap)) for action in always)
    for action in [a for a in here if a not in always]:
        length = len(_word(action, keymap))
        if at + length + reserved <= cells:
            found.append((at, action))
            at += length
    for action in always:
        found.append((at, action))
        at += len(_word(action, keymap))
    return found


def _word(action: Action, keymap: Keymap) -> str:
    return f" {key_name(keys(action, keymap)[0])} {action.short} "


def refusal(action: Action, who: str) -> str:
    """Why an action is greyed, and who may. who: names, or nothing when none is known."""
    of = f" Ask: {who}." if who else ""
    return f"Not allowed: {action.word} needs the role {action.role}.{of}"


def help_lines(place: str, keymap: Keymap, allowed: Allowed, cells: int) -> list[Line]:
    """Every key of here, made from the table of actions, and a paragraph on what one looks at."""
    lines: list[Line] = [()]
    text = PARAGRAPHS[place.partition("/")[0]]
    while text:
        cut = len(text) if len(text) <= cells - 4 else text.rfind(" ", 0, cells - 4)
        lines.append((Span(f"  {text[:cut]}"),))
        text = text[cut:].strip()
    for title, group in (
        ("Here", OF_PLACES),
        ("Lists", OF_LISTS),
        ("Everywhere", ACTIONS[len(OF_PLACES) + len(OF_LISTS) :]),
    ):
        shown = [action for action in group if action.here(place)]
        if shown:
            lines += [(), (Span(f"  {title}", "title"),)]
            lines += [_help_line(action, keymap, allowed(action), cells >= 100) for action in shown]
    lines += [
        (),
        (Span("  Signs", "title"),),
        (Span("  ● ok   ▲ warning   ✗ critical   ○ off   ? unknown   ◌ silent, old or lost"),),
        (Span("  Three ages: the path to the database, the agent's heartbeat, the newest data.", "dim"),),
        (Span("  Select text with the mouse while holding shift. In a script: iot-console --help", "dim"),),
    ]
    return lines


def _help_line(action: Action, keymap: Keymap, may: bool, wide: bool) -> Line:
    names = " ".join(key_name(key) for key in keys(action, keymap)) or f":{action.word}"
    word = pad(f":{action.word}", 16) if wide else ""
    style = "" if may else "off"
    needs = "" if may else f"  needs {action.role}"
    return (
        Span(f"  {pad(names, 16)}", style or "key"),
        Span(word, "dim"),
        Span(action.help, style),
        Span(needs, "warn"),
    )


def _path(view: View) -> tuple[Span, ...]:
    data_age = view.data_age
    match view.path.state:
        case PathState.CONNECTING:
            return (Span(f"◌ connecting {age(view.now - view.path.since)}", "warn"),)
        case PathState.LOST:
            return (Span(f"◌ DB LOST {age(view.now - view.path.since)}", "crit"),)
        case PathState.LIVE if data_age is not None and data_age > LATE_SECONDS:
            return (Span(f"▲ LATE {age(data_age)}", "warn"),)
        case _:
            return (Span(f"● LIVE {age(data_age)}", "ok"),)


def _alerts(view: View, wide: bool) -> tuple[Span, ...]:
    if view.snapshot is None:
        return ()
    firing = view.snapshot.firing
    if view.stale:
        return (Span(f"? {len(firing)} firing", "dim"),)
    if not firing:
        return (Span("● 0 firing" if wide else "● 0", "ok"),)
    new = sum(not alert.acked and not alert.silenced for alert in firing)
    grave = any(alert.severity == "critical" for alert in firing)
    text = f"{'✗' if grave else '▲'} {len(firing)} firing" + (f" · {new} new" if new else "")
    return (Span(text, "crit" if grave else "warn"),)


def _agent(view: View) -> tuple[Span, ...]:
    if view.snapshot is None:
        return (Span("agent ?", "dim"),)
    if view.snapshot.agent is None:
        return (Span("agent never seen", "warn"),)
    if view.stale:
        return (Span(f"agent ? {age(view.agent_age)} ago", "dim"),)
    state = PartState.CRIT if view.agent_silent else PartState.OK
    word = "silent " if view.agent_silent else ""
    return (Span(f"agent {glyph(state, False)} {word}{age(view.agent_age)}", state),)
