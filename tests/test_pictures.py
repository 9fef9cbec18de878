"""Pictures of every pane, state and size, as text. Reviewed by eye; IOT_PICTURES=write makes them anew."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from textual.pilot import Pilot

from probes.finding import Finding, Outcome
from probes.hardening import Waiver, judged
from probes.hardening_items import ITEMS
from store.agents import Part, PartState
from store.alert_views import AlertingHealth
from store.db import Db
from store.members import Role
from store.rates import Totals
from tests.screens import (
    DEEDS,
    FIRING,
    LETTERS,
    LIVE,
    LOST,
    NAMES,
    PARTS,
    RUNBOOKS,
    SNAPSHOT,
    STATUS,
    STORY,
    Still,
    T,
    holding,
    text_of,
)  # fmt: skip
from tui.bar import Flash
from tui.effects import Done, Say, Secret, Write
from tui.options import Options
from tui.panes import alerts, devices, doctor, overview, users
from tui.render import width
from tui.view import Metric, PathState, View
from tui.view import Path as Way

PICTURES = Path(__file__).parent / "pictures"
SIZES = [(120, 36), (80, 24)]
Steps = Callable[[Still, "Pilot[str]"], Awaitable[None]]
EMPTY = replace(SNAPSHOT, minutes=(), samples=(), newest=(), dead_letters=(), agents=(), rate=None, today=Totals(),
                alerting=AlertingHealth(None, 0))  # fmt: skip
BROKER_DOWN = replace(
    SNAPSHOT.agents[0],
    status=replace(
        STATUS, errors=7, last_error="cannot connect to 127.0.0.1:8884: Connection refused",
        parts=(Part("broker", PartState.CRIT, "cannot connect to 127.0.0.1:8884: Connection refused"), *PARTS[1:]),
    ),
)  # fmt: skip
SILENT = replace(SNAPSHOT, agents=(replace(SNAPSHOT.agents[0], age_seconds=192.0),))
OLD = replace(SNAPSHOT, at=T - 42)

OVERVIEWS: dict[str, View] = {
    "live": LIVE,
    "firing": replace(LIVE, snapshot=replace(SNAPSHOT, alerts=FIRING)),
    "starting": replace(LIVE, snapshot=None, path=Way(PathState.CONNECTING, T - 0.8)),
    "waiting": replace(LIVE, snapshot=None, path=Way(PathState.CONNECTING, T - 4)),
    "unreachable": replace(LIVE, snapshot=None, path=LOST),
    "empty": replace(LIVE, snapshot=EMPTY),
    "lost": replace(LIVE, snapshot=OLD, path=LOST),
    "late": replace(LIVE, snapshot=replace(SNAPSHOT, at=T - 4)),
    "silent": replace(LIVE, snapshot=SILENT),
    "broker-down": replace(LIVE, snapshot=replace(SNAPSHOT, rate=0.0, agents=(BROKER_DOWN,))),
    "frozen": replace(LIVE, frozen_at=T - 12),
    "memory": replace(LIVE, metric=Metric.MEMORY, window_minutes=60),
}


def pressing(*keys: str) -> Steps:
    async def steps(app: Still, pilot: "Pilot[str]") -> None:
        await pilot.press(*keys)

    return steps


def typing(pane: str, key: str, text: str) -> Steps:
    async def steps(app: Still, pilot: "Pilot[str]") -> None:
        await pilot.press(pane, key, *("space" if c == " " else c for c in text))

    return steps


def seen_by(role: Role, *keys: str) -> Steps:
    async def steps(app: Still, pilot: "Pilot[str]") -> None:
        app.view = replace(app.view, snapshot=holding(("acme", role)))
        await pilot.press(*keys)

    return steps


def emptied(pane: str, found: object) -> Steps:
    async def steps(app: Still, pilot: "Pilot[str]") -> None:
        app.pane.take((), T)
        await pilot.press(pane)
        app.pane.take(found, T)
        app.draw()

    return steps


async def letters(app: Still, pilot: "Pilot[str]") -> None:
    await pilot.press("tab")
    pane = app.panes["overview"]
    assert isinstance(pane, overview.Overview)
    pane.take(LETTERS, T)
    pane.know(1, b'{"temperature": 21.')
    app.draw()


async def with_story(app: Still, pilot: "Pilot[str]") -> None:
    app.view = replace(app.view, snapshot=replace(SNAPSHOT, alerts=FIRING))
    pane = app.panes["alerts"]
    assert isinstance(pane, alerts.Alerts)
    pane.know(FIRING[0].event_id, STORY)
    await pilot.press("3")


async def with_deeds(app: Still, pilot: "Pilot[str]") -> None:
    pane = app.panes["users"]
    assert isinstance(pane, users.Users)
    pane.know("iot_u_anna", DEEDS)
    await pilot.press("6")


async def secret(app: Still, pilot: "Pilot[str]") -> None:
    await pilot.press("2")
    app.bar.secrets = (Secret("acme/devices/dev-0001/b", "R7L4eCS40wJAQjPXxEnZYK19cUH9fZzaL4rKN6NkDx4"),)
    app.draw()


async def undo(app: Still, pilot: "Pilot[str]") -> None:
    async def nothing(db: Db) -> Done:
        return Done("")

    await with_story(app, pilot)
    app.bar.flash = Flash("BrokerDown: yours until it ends, reminders stop", "ok", T, Write("x", nothing))
    app.draw()


async def lost_devices(app: Still, pilot: "Pilot[str]") -> None:
    app.view = replace(app.view, snapshot=OLD, path=LOST)
    await pilot.press("2", "R")


async def stale_devices(app: Still, pilot: "Pilot[str]") -> None:
    await pilot.press("2")
    app.panes["devices"].at = T - 42
    app.draw()


async def broken(app: Still, pilot: "Pilot[str]") -> None:
    await pilot.press("2")
    app.panes["devices"].error = "permission denied for function device_list; ask an owner, or use another login"
    app.draw()


async def hardened(app: Still, pilot: "Pilot[str]") -> None:
    """After a look: one thing is open, one could not be asked, one is known."""
    pane = app.panes["doctor"]
    assert isinstance(pane, doctor.Doctor)
    await pressing("7", "tab")(app, pilot)
    for item in ITEMS:
        finding = Finding(Outcome.PASS, "as it should be")
        if item.id == "NET-01":
            finding = Finding(Outcome.FAIL, "8.8.8.8 to 22: iot-nsg: allow by rule default-allow-ssh")
        if item.id == "TLS-07":
            finding = Finding(Outcome.UNKNOWN, "actions.renewal_command: systemctl: No such file or directory")
        if item.id == "AZ-05":
            finding = Finding(Outcome.FAIL, "no snapshot")
        waivers = [Waiver("AZ-05", "snapshots begin with the new disk", date(2026, 12, 31))]
        pane._found(judged(item, finding, waivers, date(2026, 11, 23)))
    app.draw()
    await pilot.press("home")


async def lost_doctor(app: Still, pilot: "Pilot[str]") -> None:
    app.view = replace(app.view, snapshot=OLD, path=LOST)
    await pilot.press("7")


async def crashed(app: Still, pilot: "Pilot[str]") -> None:
    await pilot.press("2")
    pane = app.panes["devices"]
    pane.draw = None  # type: ignore[method-assign, assignment]
    app.draw()


async def said(app: Still, pilot: "Pilot[str]") -> None:
    for text in ("dev-0001: a new credential, hand it over", "silence 7 for 2h: it stays visible"):
        app.effect(Say(text, "ok"))
    await pilot.press("colon", *"messages", "enter")


STATES: dict[str, Steps] = {
    "overview-letters": letters,
    "devices": pressing("2"),
    "devices-opened": pressing("2", "enter"),
    "devices-filter": typing("2", "slash", "acme seen>20m"),
    "devices-nothing-fits": typing("2", "slash", "nowhere fw<3"),
    "devices-marked": pressing("2", "space", "space", "D"),
    "devices-rotate": pressing("2", "R"),
    "devices-revoke": typing("2", "X", "dev-0002"),
    "devices-secret": secret,
    "devices-new": typing("2", "n", "acme/Pump"),
    "devices-none": emptied("2", devices.Found((), (), ())),
    "devices-generations": pressing("2", "tab"),
    "devices-brokers": pressing("2", "tab", "tab"),
    "devices-lost": lost_devices,
    "devices-stale": stale_devices,
    "devices-viewer": seen_by(Role.VIEWER, "2", "R"),
    "devices-error": broken,
    "devices-crash": crashed,
    "alerts": with_story,
    "alerts-undo": undo,
    "alerts-none": emptied("3", alerts.Found((), (), (), 0, AlertingHealth(3.0, 0))),
    "alerts-ended": pressing("3", "tab"),
    "alerts-silences": pressing("3", "tab", "tab"),
    "alerts-messages": pressing("3", "tab", "tab", "tab"),
    "alerts-silence": pressing("3", "s"),
    "alerts-long-silence": pressing("3", "s", "ctrl+u", *"8h", "space", *"rebuilding", "enter"),
    "runbooks": pressing("4"),
    "runbooks-opened": pressing("4", "enter"),
    "rules": pressing("5"),
    "rules-form": pressing("5", "e"),
    "rules-new": pressing("5", "n"),
    "rules-text": pressing("5", "v"),
    "rules-file": pressing("5", "down", "e"),
    "users": with_deeds,
    "users-viewer": seen_by(Role.OPERATOR, "6", "D"),
    "users-new": pressing("6", "n"),
    "users-role": pressing("6", "down", "e"),
    "users-disable": typing("6", "D", "ann"),
    "doctor": pressing("7"),
    "doctor-lost": lost_doctor,
    "doctor-hardening": hardened,
    "doctor-untried": pressing("7", "tab"),
    "help": pressing("2", "question_mark"),
    "messages": said,
    "command": typing("2", "colon", "rot"),
}


async def drawn(app: Still, size: tuple[int, int], steps: Steps | None) -> str:
    async with app.run_test(size=size) as pilot:
        app.fill()
        if steps is not None:
            await steps(app, pilot)
        await pilot.pause()
        await pilot.pause()
        app.draw()
        await pilot.pause()
        return text_of(app)


def check(name: str, size: tuple[int, int], text: str) -> None:
    assert len(text.splitlines()) == size[1]
    assert max(width(line) for line in text.splitlines()) <= size[0]
    file = PICTURES / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("IOT_PICTURES") == "write":
        file.write_text(text)
    assert text == file.read_text()


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is shown of this machine is the same everywhere."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("tui.doing.history", History())


class History:
    """No file."""

    def read(self, directory: Path) -> list[str]:
        return []

    def add(self, directory: Path, text: str) -> None:
        pass


@pytest.mark.parametrize("size", SIZES, ids=["120x36", "80x24"])
@pytest.mark.parametrize("state", OVERVIEWS)
async def test_overview(state: str, size: tuple[int, int]) -> None:
    app = Still()
    app.view = app._shown = OVERVIEWS[state]
    check(f"overview-{state}", size, await drawn(app, size, None))


@pytest.mark.parametrize("size", SIZES, ids=["120x36", "80x24"])
@pytest.mark.parametrize("state", STATES)
async def test_pane(state: str, size: tuple[int, int]) -> None:
    check(state, size, await drawn(Still(), size, STATES[state]))


@pytest.mark.parametrize("size", SIZES, ids=["120x36", "80x24"])
@pytest.mark.parametrize("key", ["1", "2", "3", "4", "5", "6", "7"])
async def test_ascii(key: str, size: tuple[int, int]) -> None:
    app = Still(Options(ascii_only=True, runbooks=lambda: list(RUNBOOKS), runbook_names=NAMES))
    app.view = replace(LIVE, ascii=True)
    text = await drawn(app, size, pressing(key))
    data = text.replace("München", "").replace("␛", "")
    assert data.isascii(), sorted({c for c in data if not c.isascii()})


@pytest.mark.parametrize("size", [(60, 15), (30, 8), (200, 60), (99, 40), (20, 4)])
async def test_any_size_is_drawn(size: tuple[int, int]) -> None:
    for key in "1234567":
        text = await drawn(Still(), size, pressing(key, "question_mark", "question_mark", "enter"))
        assert max(width(line) for line in text.splitlines()) <= size[0]


def test_the_readme_shows_what_is_drawn() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for name in ("overview-firing-80x24", "devices-rotate-80x24"):
        assert (PICTURES / f"{name}.txt").read_text().rstrip("\n") in readme, name
