"""The fixed lines around a pane: status, tabs, banner, footer; and the help page. Pure."""

from store.agents import PartState
from tui.actions import footer, help_lines
from tui.render import Line, Span, age, clock, fit, glyph, pad, sides
from tui.view import LATE_SECONDS, PathState, View


def status_line(view: View, cells: int) -> Line:
    """Environment, path, data age, agent, who, time: always the same places."""
    wide = cells >= 100
    left: list[Span] = [
        Span(" iot-console  " if wide else " "),
        Span(f" {view.environment} ", "environment"),
        Span(" "),
    ]
    if wide:
        left.append(Span(f" {view.target}  ", "dim"))
    left += [*_path(view), Span("  "), *_agent(view)]
    login = view.snapshot.login if view.snapshot else ""
    right = (Span(f"{login}  " if wide else f"{login} ", "dim"), Span(f"{clock(view.now, view.local_time)} "))
    return sides(tuple(left), right, cells)


def tabs_line(view: View, cells: int) -> Line:
    return sides((Span(" [1 Overview]", "title"),), (Span("? help ", "dim"),), cells)


def banner_line(view: View, cells: int) -> Line | None:
    """What must not be overlooked: a lost database or a held picture."""
    if view.path.state is PathState.LOST:
        again = max(0.0, view.path.next_try - view.now)
        what = "shown data is old" if view.snapshot else "no data yet"
        left = Span(f" ◌ database lost {age(view.now - view.path.since)} ago · {what} · {view.path.error}", "crit")
        return sides((left,), (Span(f" again in {again:.0f} s · r: now ", "crit"),), cells)
    if view.frozen_at is not None:
        return fit((Span(f" frozen {age(view.now - view.frozen_at)} · p: go on", "warn"),), cells)
    return None


def footer_line(cells: int) -> Line:
    return fit((Span(footer(cells), "dim"),), cells)


def help_page(cells: int, rows: int) -> list[Line]:
    """Every key, from the table of actions."""
    lines: list[Line] = [(), (Span("  Keys", "title"),), ()]
    lines += [(Span(f"  {pad(keys, 16)}", "key"), Span(what)) for keys, what in help_lines()]
    lines += [
        (),
        (Span("  Signs", "title"),),
        (),
        (Span("  ● ok   ▲ warning   ✗ critical   ○ off   ? unknown   ◌ old or lost"),),
        (Span("  Three ages: the path to the database, the agent's heartbeat, the newest data.", "dim"),),
        (Span("  The same in a script: iot-console status --json", "dim"),),
    ]
    return [fit(line, cells) for line in (lines + [()] * rows)[:rows]]


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


def _agent(view: View) -> tuple[Span, ...]:
    if view.snapshot is None:
        return (Span("agent ?", "dim"),)
    if view.snapshot.agent is None:
        return (Span("agent never seen", "warn"),)
    if view.stale:
        return (Span(f"agent ? last known {age(view.agent_age)} ago", "dim"),)
    state = PartState.CRIT if view.agent_silent else PartState.OK
    word = "silent " if view.agent_silent else ""
    return (Span(f"agent {glyph(state, False)} {word}{age(view.agent_age)}", state),)
