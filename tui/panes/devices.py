"""Devices: which are heard, where their credentials stand; for owners, to change them. Also sets and brokers."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from alerting import durations
from store import brokers, credentials, fleet, members
from store.brokers import BrokerRow
from store.credentials import CredentialSet
from store.db import Db
from store.errors import Denied
from store.fleet import DeviceReading, DeviceRow, Heard
from store.members import Deed, Role
from tui.effects import Effect
from tui.panes import device_deeds as deeds
from tui.panes.device_columns import BROKERS, DEVICES, GENERATIONS, Listed, rate, seen, short
from tui.panes.pane import NOTHING, Pane, facts, heading
from tui.render import Line, Span, age, clock, literal, when
from tui.table import Table
from tui.view import View

FIRST_DAYS, NEXT_DAYS = 8, 1
SETS = 200
READINGS, DEEDS = 6, 4


@dataclass(frozen=True, slots=True)
class Found:
    """What one look brought."""

    devices: tuple[Listed, ...]
    sets: tuple[CredentialSet, ...]
    brokers: tuple[BrokerRow, ...]


@dataclass(frozen=True, slots=True)
class About:
    """What belongs to one device."""

    device: str
    readings: tuple[DeviceReading, ...] = ()
    deeds: tuple[Deed, ...] = ()


class Devices(Pane):
    """The fleet."""

    name = "devices"
    noun = "devices"
    views = ("devices", "generations", "brokers")
    seconds: ClassVar[float] = 3.0

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, Table[Any]] = {
            "devices": Table(DEVICES, lambda row: row.device.name, "device"),
            "generations": Table(GENERATIONS, lambda row: str(row.generation)),
            "brokers": Table(BROKERS, lambda row: row.broker.broker_id),
        }
        self._heard: dict[int, Heard] = {}
        self._looked = False
        self._found = Found((), (), ())
        self._about_one = About("")
        self._fresh = False  # what is known of one device is as new as the list

    @property
    def table(self) -> Table[Any]:
        return self._tables[self.view]

    async def load(self, db: Db) -> Found:
        known = await fleet.devices(db)
        self._heard |= await fleet.heard(db, NEXT_DAYS if self._looked else FIRST_DAYS)
        self._looked = True
        in_force = await fleet.generation_in_force(db)
        listed = tuple(Listed(device, self._heard.get(device.device_id), in_force) for device in known)
        found = Found(listed, (), tuple(await brokers.all_brokers(db)))
        with suppress(Denied):  # for owners only; the rest of the pane is for everybody
            found = replace(found, sets=tuple(await credentials.sets(db, None, SETS)))
        return found

    def lacks(self) -> bool:
        row = self._tables["devices"].current
        known = self._fresh and row is not None and row.device.name == self._about_one.device
        return self.view == "devices" and row is not None and not known

    async def inspect(self, db: Db) -> None:
        row = self._tables["devices"].current
        if row is None:
            return
        device: DeviceRow = row.device
        readings = await fleet.readings(db, device.tenant_id, device.device_id, READINGS)
        about = About(device.name, tuple(readings))
        with suppress(Denied):
            about = replace(about, deeds=tuple(await members.history(db, device.device, DEEDS)))
        self.know(about)

    def know(self, about: About) -> None:
        """Take what belongs to one device."""
        self._about_one, self._fresh = about, True

    def put(self, found: Found, now: float) -> None:
        self._found = found
        self._fresh = False
        self._tables["devices"].put(found.devices, now)
        self._tables["generations"].put(found.sets, now)
        self._tables["brokers"].put(found.brokers, now)

    # -- drawing

    def summary(self, view: View) -> str:
        if self.view != "devices":
            return self.table.count(self.view)
        silent = sum(row.state(view.now)[0] == "◌ silent" for row in self._found.devices)
        return f"{self.table.count('devices')} · {silent} silent" if silent else self.table.count("devices")

    def empty(self, view: View) -> str:
        if self.view == "devices":
            return "No devices yet.\n\nn: register the first one"
        if self.view == "generations":
            return (
                "Sets of credentials are shown to owners of a tenant." if not view.me.may(Role.OWNER) else "No set yet."
            )
        return "No broker has reported. An agent with creds.enabled on the broker's machine does."

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        row = self.table.current
        if row is None:
            return "", []
        if self.view == "devices":
            return row.device.name, self._about(row, view, cells)
        if self.view == "generations":
            pairs = [
                ("set", str(row.generation)),
                ("tenant", row.tenant),
                ("made", when(row.created_at, view.now, view.local_time)),
                ("by", short(row.created_by)),
                ("reason", row.reason),
                ("approved", row.confirmed_by or NOTHING),
            ]
            return f"set {row.generation}", facts(pairs, cells)
        broker = row.broker
        pairs = [
            ("state", broker.state),
            ("set", str(broker.generation)),
            ("entries", str(broker.entries)),
            ("version", broker.version or NOTHING),
            ("detail", broker.detail),
            ("TLS until", f"{broker.certificate_until:%Y-%m-%d}" if broker.certificate_until else NOTHING),
        ]
        return broker.broker_id, facts(pairs, cells)

    def _about(self, row: Listed, view: View, cells: int) -> list[Line]:
        device, quiet = row.device, seen(row, view.now)
        rotated = NOTHING if device.issued_at is None else f"{age(view.now - device.issued_at.timestamp())} ago"
        moved = "not yet with the new one" if device.moving else _ago(device.last_login_at, view.now)
        lines = facts(
            [
                ("tenant", device.tenant),
                ("status", row.state(view.now)[0]),
                ("last seen", "never" if not isinstance(quiet, float) else f"{age(quiet)} ago"),
                ("rate", f"{rate(row, view.now):.1f}/s in the last minute"),
                ("credential", row.credential(view.now)[0]),
                ("rotated", rotated),
                ("last login", moved),
                *([("old until", when(device.old_ends_at, view.now, view.local_time))] if device.old_ends_at else []),
            ],
            cells,
        )
        found = self._about_one if self._about_one.device == device.name else About("")
        lines += [(), heading("Last readings")]
        lines += [
            (Span(f" {clock(r.ts, view.local_time)} ", "dim"), Span(literal(view.sent(r.payload))))
            for r in found.readings
        ] or [(Span(" none within 8 days" if found.device else " …", "dim"),)]
        lines += [(), heading("Alerts")]
        lines += [
            (Span(f" ▲ {alert.alert} ", "warn"), Span(age(view.now - alert.fired_at.timestamp()), "dim"))
            for alert in (view.snapshot.firing if view.snapshot else [])
            if (alert.labels.get("tenant"), alert.labels.get("device")) == (device.tenant, device.device)
        ] or [(Span(" none", "dim"),)]
        if found.deeds:
            lines += [(), heading("History")]
            lines += [
                (Span(f" {age(view.now - d.at.timestamp())} ago ", "dim"), Span(f"{d.action} by {short(d.actor)}"))
                for d in found.deeds
            ]
        return lines

    # -- what keys do

    def tenants(self) -> tuple[str, ...]:
        if self.view == "devices":
            return tuple(dict.fromkeys(row.device.tenant for row in self.table.chosen))
        return tuple(dict.fromkeys(row.tenant for row in self.table.chosen)) if self.view == "generations" else ()

    def _chosen(self) -> list[DeviceRow]:
        return [row.device for row in self._tables["devices"].chosen]

    def do_moving(self, argument: str, view: View) -> Effect:
        table = self._tables["devices"]
        table.set_filter("" if table.filter.text == "credential:moving" else "credential:moving")
        return None

    def do_new(self, argument: str, view: View) -> Effect:
        row = self._tables["devices"].current
        return deeds.new(view.me, argument, row.device.tenant if row else "")

    def do_rotate(self, argument: str, view: View) -> Effect:
        return deeds.rotate(self._chosen(), durations.seconds(argument) if argument else None, view.environment)

    def do_disable(self, argument: str, view: View) -> Effect:
        return deeds.disable(self._chosen())

    def do_enable(self, argument: str, view: View) -> Effect:
        return deeds.enable(self._chosen())

    def do_remove(self, argument: str, view: View) -> Effect:
        return deeds.revoke(self._chosen(), view.environment)

    def do_rollback(self, argument: str, view: View) -> Effect:
        return deeds.rollback(self.one("set"))

    def do_approve(self, argument: str, view: View) -> Effect:
        return deeds.approve(self.one("set"))


def _ago(at: Any, now: float) -> str:
    return "never" if at is None else f"{age(now - at.timestamp())} ago"
