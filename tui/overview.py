"""The Overview: is data flowing, is anything wrong, is the machine well. Pure: View in, lines out."""

from datetime import timedelta

from store.agents import Part, PartState
from store.alert_views import EpisodeRow
from tui.chart import area, nice_top, spark
from tui.figures import PERCENT_TOP, chosen, figures
from tui.render import (
    Line,
    Span,
    age,
    beside,
    box,
    clock,
    fit,
    glyph,
    literal,
    number,
    pad,
    rule,
    size,
)  # fmt: skip
from tui.table import Table
from tui.view import Metric, PathState, Snapshot, View

WIDE = 100
TILE_ROWS = 6
STILL_WAITING_SECONDS = 3.0


def overview(view: View, firing: Table[EpisodeRow], cells: int, rows: int) -> list[Line]:
    """Exactly rows lines of exactly cells cells. firing: what fires, with its cursor."""
    if view.snapshot is None:
        lines = _starting(view)
    elif cells >= WIDE and rows >= 24:
        lines = _wide(view, view.snapshot, firing, cells, rows)
    else:
        lines = _narrow(view, view.snapshot, firing, cells, rows)
    return [_dimmed(fit(line, cells), view.stale) for line in (lines + [()] * rows)[:rows]]


def _dimmed(line: Line, stale: bool) -> Line:
    return tuple(Span(span.text, "dim") for span in line) if stale else line


def _starting(view: View) -> list[Line]:
    waited = view.now - view.path.since
    if view.path.state is PathState.LOST:
        return [
            (),
            (Span("  No data yet: the database cannot be reached.", "crit"),),
            (),
            (Span(f"  {view.path.error}"),),
        ]
    word = "still waiting for the database" if waited > STILL_WAITING_SECONDS else "loading…"
    return [(), (Span(f"  {word} {age(waited)}", "dim"),), (), (Span(f"  {view.target}", "dim"),)]


def _parts(view: View, snapshot: Snapshot) -> list[Part]:
    """The agent's own list, with our way to the database and the agent in front; old news is unknown, never ok."""
    agent = snapshot.agent
    own = agent.status.parts if agent is not None else ()
    if view.stale:
        path = Part("console", PartState.CRIT, f"no answer from the database for {age(view.data_age)}")
        return [path, Part("agent", PartState.UNKNOWN, f"last known {age(view.agent_age)} ago"), *_old(own)]
    path = Part("console", PartState.OK, f"database answers in {snapshot.round_trip_ms:.0f} ms")
    if agent is None:
        return [path, Part("agent", PartState.WARN, "none has ever reported")]
    if view.agent_silent:
        return [path, Part("agent", PartState.CRIT, f"silent for {age(view.agent_age)}"), *_old(own)]
    detail = f"{agent.agent_id} {agent.version}, {size(agent.status.agent_memory)}"
    return [path, Part("agent", PartState.OK, detail), *own]


def _old(parts: tuple[Part, ...]) -> list[Part]:
    return [Part(part.name, PartState.UNKNOWN, f"was {part.state}: {part.detail}") for part in parts]


def _part_line(part: Part, ascii_only: bool) -> Line:
    mark = f"{glyph(part.state, ascii_only)} {pad(part.state, 7)}"
    return (Span(f" {mark}", part.state), Span(f" {pad(part.name, 12)} "), Span(literal(part.detail), "dim"))


def _newest(view: View, snapshot: Snapshot, count: int) -> list[Line]:
    if not snapshot.newest:
        return [(Span(" No row within the last hour.", "dim"),)]
    return [
        (
            Span(f" {clock(row.ts, view.local_time)}  ", "dim"),
            Span(f"{pad(f'{row.tenant}/{row.device}', 18)} "),
            Span(pad(_channel(row.topic), 14), "dim"),
            Span(f" {literal(view.sent(row.payload))}"),
        )
        for row in snapshot.newest[:count]
    ]


def _channel(topic: str) -> str:
    """The end of a topic, after its first four levels, or all of a topic of another shape."""
    levels = topic.split("/")
    return literal("/".join(levels[4:]) if len(levels) > 4 else topic)


def _letters(view: View, snapshot: Snapshot, count: int) -> list[Line]:
    error = snapshot.agent.status.last_error if snapshot.agent else None
    lines: list[Line] = [(Span(" ✗ ", "crit"), Span(literal(error)))] if error else []
    lines += [
        (
            Span(f" {clock(letter.last_at, view.local_time)}  ", "dim"),
            Span(pad(letter.reason, 15), "warn"),
            Span(f" {pad('/'.join(letter.topic.split('/')[1:4:2]) or letter.topic, 18)} "),
            Span(literal(letter.detail)),
            Span(f"  x{letter.times}" if letter.times > 1 else "", "dim"),
        )
        for letter in snapshot.dead_letters
    ]
    return lines[:count] or [(Span(" None. What cannot be stored appears here with its reason.", "dim"),)]


# -- 120 columns


def _wide(view: View, snapshot: Snapshot, firing: Table[EpisodeRow], cells: int, rows: int) -> list[Line]:
    alert_rows = min(8, 3 + max(3, len(firing.shown)))
    chart_rows = max(11, rows - TILE_ROWS - alert_rows - 8)
    right = 50
    parts = [_part_line(part, view.ascii) for part in _parts(view, snapshot)]
    as_of = f"as of {age(view.data_age)}"
    middle = beside(
        _chart(view, snapshot, cells - right, chart_rows),
        box("Parts", parts, right, chart_rows, as_of, view.ascii),
    )
    title = f"Firing {len(firing.shown)}" if firing.shown else "Alerts"
    alerts = box(title, _firing(view, snapshot, firing, cells - 2, alert_rows - 2), cells, alert_rows, "", view.ascii)
    left = max(3, rows - TILE_ROWS - chart_rows - alert_rows)
    half = cells // 2
    bottom = beside(
        box("Newest rows", _newest(view, snapshot, left - 2), half, left, as_of, view.ascii),
        box("Dead letters and errors", _letters(view, snapshot, left - 2), cells - half, left, "tab: all", view.ascii),
    )
    return [*_tiles(view, snapshot, cells), *middle, *alerts, *bottom]


def _firing(view: View, snapshot: Snapshot, firing: Table[EpisodeRow], cells: int, rows: int) -> list[Line]:
    """What fires; when nothing does, what proves it."""
    if firing.shown:
        return firing.draw(cells, rows, view.now)
    evaluated = snapshot.alerting.age_seconds
    if evaluated is None:
        return [(Span(" Rules have never been evaluated: no agent with alerts.enabled has run.", "warn"),)]
    old = evaluated + (view.data_age or 0.0)
    failing = f", {snapshot.alerting.failing} of them cannot be" if snapshot.alerting.failing else ""
    return [(Span(f" No alert is firing. Rules were evaluated {age(old)} ago{failing}.", "dim"),)]


def _tiles(view: View, snapshot: Snapshot, cells: int) -> list[Line]:
    """Five boxes of six lines."""
    base, extra = divmod(cells, 5)
    blocks = []
    for i, (title, value, series, top, note) in enumerate(figures(view, snapshot)):
        width = base + (1 if i < extra else 0)
        chart = spark(series, width - 4, top, view.ascii)
        lines: list[Line] = [
            (Span(f" {value}", "strong"),),
            (Span(f" {chart}", "chart"),),
            (),
            (Span(f" {note}", "dim"),),
        ]
        blocks.append(box(title, lines, width, TILE_ROWS, "", view.ascii))
    return beside(*blocks)


def _chart(view: View, snapshot: Snapshot, cells: int, rows: int) -> list[Line]:
    series = chosen(view, snapshot)
    percent = view.metric in (Metric.CPU, Metric.MEMORY)
    top = PERCENT_TOP if percent else nice_top(max((v for v in series if v is not None), default=0))
    height, plot = rows - 4, cells - 10
    drawn = area(series, plot, height, top, view.ascii)
    labels = {0: number(top), height // 2: number(top / 2), height - 1: "0"}
    axis = Span("|" if view.ascii else "┤", "frame")
    body: list[Line] = [
        (Span(f"{labels.get(i, ''):>6} ", "dim"), axis, Span(text, "chart")) for i, text in enumerate(drawn)
    ]
    first = snapshot.server_now - timedelta(minutes=view.window_minutes)
    start, now_text = clock(first, view.local_time), "now"
    body.append((Span(f"        {start}{now_text:>{plot - len(start)}}", "dim"),))
    known = any(v is not None for v in series)
    note: Line = (Span("  gap = no data, never drawn as 0" if known else "  no data in this window", "dim"),)
    title = f"{view.metric}, {view.window_minutes} min"
    return box(title, [*body, note], cells, rows, "m: metric  [ ]: window", view.ascii)


# -- 80 columns


def _narrow(view: View, snapshot: Snapshot, firing: Table[EpisodeRow], cells: int, rows: int) -> list[Line]:
    lines: list[Line] = [rule("Now", cells, view.ascii)]
    for title, value, series, top, note in figures(view, snapshot):
        chart = spark(series, 16, top, view.ascii)
        lines.append(
            (Span(f" {pad(title, 10)}"), Span(pad(value, 14), "strong"), Span(chart, "chart"), Span(f"  {note}", "dim"))
        )
    lines.append(rule(f"Parts · as of {age(view.data_age)}", cells, view.ascii))
    lines += _parts_wrapped(view, snapshot, cells)
    shown = min(4, 1 + len(firing.shown)) if firing.shown else 1
    lines.append(rule(f"Firing {len(firing.shown)}" if firing.shown else "Alerts", cells, view.ascii))
    lines += _filled(_firing(view, snapshot, firing, cells, shown), shown)
    left = max(2, rows - len(lines) - 2)
    shown_newest = left - left // 2
    lines += [rule("Newest rows", cells, view.ascii), *_filled(_newest(view, snapshot, shown_newest), shown_newest)]
    lines += [rule("Dead letters and errors", cells, view.ascii), *_letters(view, snapshot, left // 2)]
    return lines


def _filled(lines: list[Line], count: int) -> list[Line]:
    return lines + [()] * (count - len(lines))


def _parts_wrapped(view: View, snapshot: Snapshot, cells: int) -> list[Line]:
    """What is well in few words on as few lines as it takes; what is not, a line each."""
    lines: list[Line] = []
    current: list[Span] = []
    used = 0
    for part in _parts(view, snapshot):
        if part.state in (PartState.CRIT, PartState.WARN):
            lines.append(_part_line(part, view.ascii))
            continue
        text = f" {glyph(part.state, view.ascii)} {part.name} "
        if used + len(text) > cells:
            lines.append(tuple(current))
            current, used = [], 0
        current.append(Span(text, part.state))
        used += len(text)
    return [*lines, tuple(current)]
