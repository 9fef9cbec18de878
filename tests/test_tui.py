"""The pure parts of the console: words, charts, actions, keys, filters, lists, files, rules put together."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.screens import LIVE, Still
from tui import keymap, library
from tui.actions import ACTIONS, PANES, by_word, find
from tui.chart import area, nice_top, resample, spark
from tui.clipboard import copy, sequence
from tui.doing import completed
from tui.export import harmless, redacted
from tui.feed import RateMeter
from tui.frame import footer_entries, footer_line, status_line, tab_entries, tabs_line
from tui.render import Span, age, clip, fit, line_width, literal, number, pad, plain, width
from tui.rule_form import body_of, fields, merged, ordered
from tui.style import STYLES, THEMES
from tui.table import Column, Table

PLACES = (*dict.fromkeys(place for action in ACTIONS for place in action.places), "doctor/checks")


def test_words_for_values() -> None:
    assert [age(s) for s in (None, 0.4, 9.94, 12, 252, 11_220, 183_600)] == [
        "never",
        "0.4s",
        "9.9s",
        "12s",
        "4m12s",
        "3h07m",
        "2d03h",
    ]
    assert [number(n) for n in (0, 0.2, 12.34, 99.4, 412.3, 10_214, 1_234_567)] == [
        "0",
        "0.2",
        "12.3",
        "99.4",
        "412",
        "10 214",
        "1.2 M",
    ]
    assert literal("a\x1b[31m\nb\u202e") == "a␛[31m·b·"
    assert (width("日本"), clip("日本語", 5), pad("é", 3), clip("abc", 0)) == (4, "日本…", "é  ", "")
    assert line_width(fit(status_line(LIVE, 120), 7)) == 7


def test_charts_leave_gaps_and_never_invent_zero() -> None:
    assert spark([None, 0, 5, 10], 6) == "   ▁▄█"
    assert spark([1, 2], 2, ascii_only=True) == "=@"
    assert resample([1, None, 3, 5], 2) == [1, 4]
    assert resample([], 3) == [None] * 3
    assert area([None, None], 4, 2, 1.0) == ["    ", "    "]
    assert [nice_top(v) for v in (0, 0.7, 1, 412, 999, 1001)] == [1, 0.8, 1, 500, 1000, 1500]


def test_a_rate_needs_two_readings_and_survives_midnight() -> None:
    meter = RateMeter(window=5)
    assert meter.add(0, 100) is None
    assert meter.add(1, 150) == 50
    assert meter.add(2, 150) == 25
    assert meter.add(3, 10) is None
    assert meter.add(4, 20) == 10


# -- with a real database


def test_no_style_has_a_colour_and_dim() -> None:
    """Textual blends such a style with the background; that of a plain terminal has no colour, and the console ended."""
    assert not [name for name, style in STYLES.items() if style.color is not None and style.dim]


def test_every_theme_has_every_style() -> None:
    for name, theme in THEMES.items():
        assert theme.styles().keys() == STYLES.keys(), name


# -- actions


def test_an_action_has_a_word_a_help_and_a_place_of_its_own() -> None:
    for place in PLACES:
        here = [action for action in ACTIONS if action.here(place)]
        ids = [action.id for action in here]
        assert len(ids) == len(set(ids)), place
        assert all(action.help and action.word == action.word.lower() for action in here)
        assert {action.id for action in here if action.short} <= {action.id for action in here if action.keys}
    assert keymap.clashes({}) == []


def test_capitals_change_the_world_and_nothing_else_does_without_a_question() -> None:
    harmless = {"bottom", "copy_all"}
    for action in ACTIONS:
        for key in action.keys:
            if len(key) == 1 and key.isupper() and action.id not in harmless:
                assert action.role is not None, f"{key} {action.id}"


def test_every_action_is_done_by_somebody() -> None:
    app = Still()
    for place in PLACES:
        pane_name, _, view = place.partition("/")
        pane = app.panes[pane_name]
        pane.view = view
        for action in ACTIONS:
            if action.here(place) and action.id not in PANES:
                ours = hasattr(app.general, f"do_{action.id}")
                assert ours or hasattr(pane, f"do_{action.id}") or action.id == "undo", f"{action.id} in {place}"


def test_words_are_found_by_their_beginning() -> None:
    assert by_word("rotate", "devices/devices") == by_word("rot", "devices/devices")
    assert by_word("re", "devices/devices") is None, "refresh, remove, report"
    assert by_word("acknowledge", "devices/devices") is None
    assert completed("the", ("theme", "text")) == "theme "
    assert completed("dev", ("devices", "device-x")) == "device"
    assert completed("sort s", ("status", "seen", "set")) == "sort s"


def test_a_keymap_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('acknowledge = "K"\nhelp = ["?", "h"]\nhistory = "H"\n')
    found = keymap.load(file)
    assert found == {"acknowledge": ("K",), "help": ("question_mark", "h"), "history": ("H",)}
    assert "K ack" in plain([footer_line("alerts/firing", found, lambda _: True, 120)])
    file.write_text('acknowledge = "c"\nfly = "f"\nup = 3\n')
    with pytest.raises(ValueError, match="fly: there is no such action") as caught:
        keymap.load(file)
    assert "up: a key" in str(caught.value)
    assert "c is both acknowledge and comment in alerts/firing" in str(caught.value)


@pytest.mark.parametrize("cells", range(10, 130, 7))
def test_the_footer_fits_and_is_clicked_where_it_is_drawn(cells: int) -> None:
    for place in PLACES:
        text = plain([footer_line(place, {}, lambda _: True, cells)])
        assert len(text) == cells
        for entry in footer_entries(place, {}, cells):
            action = find(entry.action, place)
            assert action is not None
            if entry.end <= cells:
                assert action.short in text[entry.start : entry.end]
    for entry in tab_entries(LIVE, 120)[1:]:
        assert entry.action[:4].lower() in plain([tabs_line(LIVE, 120)])[entry.start : entry.end].lower()


# -- filters and lists


@dataclass(frozen=True)
class Thing:
    name: str
    seen: float | None
    state: str


THINGS = [Thing("pump-1", 5, "online"), Thing("pump-2", 4000, "silent"), Thing("fan", None, "never")]
COLUMNS = (
    Column[Thing]("name", "NAME", 0, lambda t, _: Span(t.name), lambda t, _: t.name),
    Column[Thing]("seen", "SEEN", 6, lambda t, _: Span(str(t.seen)), lambda t, _: t.seen),
    Column[Thing]("state", "STATE", 8, lambda t, _: Span(t.state), lambda t, _: t.state, 1),
)


def table() -> Table[Thing]:
    made = Table(COLUMNS, lambda thing: thing.name)
    made.put(THINGS, 0.0)
    return made


@pytest.mark.parametrize(
    ("text", "names", "problems"),
    [
        ("", ["pump-1", "pump-2", "fan"], 0),
        ("PUMP", ["pump-1", "pump-2"], 0),
        ("pump !silent", ["pump-1"], 0),
        ("state:si", ["pump-2"], 0),
        ("state=silen", [], 0),
        ("seen>1h", ["pump-2"], 0),
        ("seen<=5", ["pump-1"], 0),
        ("!seen>0", ["fan"], 0),
        ('"pump-1"', ["pump-1"], 0),
        ('name:"pump-2', ["pump-2"], 0),
        ("colour:red pump-1", ["pump-1"], 1),
        ("seen>soon", ["pump-1", "pump-2", "fan"], 1),
        ("state:", ["pump-1", "pump-2", "fan"], 1),
        ("!", ["pump-1", "pump-2", "fan"], 1),
        ("a:b:c (", ["pump-1", "pump-2", "fan"], 1),
    ],
)
def test_a_filter_takes_what_it_understands(text: str, names: list[str], problems: int) -> None:
    made = table()
    made.set_filter(text)
    if text == "a:b:c (":
        assert made.shown == []
    else:
        assert [thing.name for thing in made.shown] == names
    assert len(made.filter.problems) == problems


def test_the_cursor_belongs_to_a_row() -> None:
    made = table()
    made.move(1)
    assert made.put([Thing("new", 1, "online"), *THINGS], 0.0)
    assert made.current == THINGS[1], "rows that come in above do not move it"
    made.sort("seen", descending=True)
    assert made.current == THINGS[1]
    assert not made.put([THINGS[0], THINGS[2]], 0.0), "it is gone"
    assert made.current is not None
    made.select("later")
    made.put([*THINGS, Thing("later", 2, "online")], 0.0)
    assert made.current == Thing("later", 2, "online"), "a row that was just made"


def test_marks_follow_rows_and_end_with_them() -> None:
    made = table()
    made.mark()
    made.mark()
    assert [thing.name for thing in made.chosen] == ["pump-1", "pump-2"]
    made.set_filter("fan")
    assert made.count("things") == "1 of 3 things · 2 marked, 2 not shown"
    made.put(THINGS[1:], 0.0)
    assert made.marked == {"pump-2"}
    made.marked.clear()
    assert [thing.name for thing in made.chosen] == ["fan"]


def test_unknown_values_are_last_in_both_orders() -> None:
    made = table()
    for descending in (False, True):
        made.sort("seen", descending)
        assert made.shown[-1].name == "fan"


@pytest.mark.parametrize("cells", [8, 20, 30, 44, 80])
def test_a_list_is_drawn_exactly_and_around_its_cursor(cells: int) -> None:
    made = Table(COLUMNS, lambda thing: thing.name)
    made.put([Thing(f"n{n}", n, "x" * 20) for n in range(1000)], 0.0)
    for step in (0, 999, -500, 3):
        made.move(step)
        lines = made.draw(cells, 12, 0.0)
        assert [line_width(line) for line in lines] == [cells] * 12
        assert sum("▸" in plain([line]) for line in lines) == 1
    assert made.click(1)
    assert not made.click(0), "the heading"
    assert not made.click(40)
    assert table().draw(40, 1, 0.0)[0]


# -- files, copies


def test_what_looks_like_a_secret_is_hidden() -> None:
    text = """postgresql://anna:hunter2@db/x password=hunter2 "token": "hunter2" Authorization: hunter2
    SCRAM-SHA-256$4096:hunter2$x:y $7$1$hunter2 secret hunter2 api_key=hunter2"""
    assert "hunter2" not in redacted(text)
    assert "postgresql://[hidden]@db/x" in redacted(text)
    assert redacted("nothing to hide: 12 devices") == "nothing to hide: 12 devices"


def test_a_spreadsheet_takes_nothing_for_a_formula() -> None:
    assert [harmless(v) for v in ("=1+1", "-2", "ok", 3.0, None)] == ["'=1+1", "'-2", "ok", 3.0, None]


def test_a_copy_goes_through_tmux_and_has_a_limit() -> None:
    assert sequence("hi", {}) == "\x1b]52;c;aGk=\x07"
    assert sequence("hi", {"TMUX": "x"}) == "\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\"
    assert sequence("hi", {"TERM": "screen"}) == "\x1bP\x1b]52;c;aGk=\x07\x1b\\"
    assert sequence("x" * 60_000, {}) is None


def test_a_long_copy_is_a_file_for_its_owner(tmp_path: Path) -> None:
    said = copy("x" * 60_000, lambda text: None, tmp_path / "new")
    file = tmp_path / "new" / "copied.txt"
    assert str(file) in said
    assert file.stat().st_mode & 0o077 == 0


# -- rules of two people


def test_two_changes_of_a_rule_are_put_together() -> None:
    base = {"id": "r", "expr": "a > 1", "for": "1m", "alert": "R"}
    mine = {"id": "r", "expr": "a > 2", "for": "1m", "alert": "R", "limit": 3}
    theirs = {"id": "r", "expr": "a > 1", "for": "5m"}
    assert merged(base, mine, theirs) == ({"id": "r", "expr": "a > 2", "for": "5m", "limit": 3}, {})
    both = merged(base, mine, theirs | {"expr": "a > 9"})
    assert both[1] == {"expr": ("a > 2", "a > 9")}
    assert both[0]["expr"] == "a > 2"
    assert merged(base, base, base) == (base, {})


def test_a_form_keeps_what_it_does_not_show() -> None:
    body = {"id": "r", "alert": "R", "expr": "x", "runbook": "b", "labels": {"severity": "info", "team": "a"},
            "annotations": {"summary": "s", "more": "m"}, "params": {"limit": {"default": 4}}}  # fmt: skip
    values = {field.name: field.value for field in fields(body, ("b",), locked_id=True)}
    assert body_of(values, body) == body
    assert body_of(values | {"for": "3m", "summary": ""}, body) == {
        **body, "for": "3m", "annotations": {"more": "m"}
    }  # fmt: skip
    assert list(ordered(body))[:3] == ["id", "alert", "expr"]


def test_the_shipped_runbooks_can_be_read() -> None:
    found = library.runbooks(library.directory())
    assert len(found) > 5
    assert [runbook.error for runbook in found if runbook.error] == []
