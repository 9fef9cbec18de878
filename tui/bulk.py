"""Devices to import from a CSV file: what is wrong with which line. Pure."""

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass

from tui.command import NAME

COLUMNS = ("tenant", "device")


@dataclass(frozen=True, slots=True)
class Import:
    """devices: (tenant, device) in the order of the file; faults: (line number, what is wrong)."""

    devices: tuple[tuple[str, str], ...]
    faults: tuple[tuple[int, str], ...]


def read(text: str, existing: Collection[tuple[str, str]], tenants: Collection[str]) -> Import:
    """Every good line and every fault of a CSV text with the columns tenant and device (others are passed over).

    existing: devices that are there; tenants: those that this login owns.
    """
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), skipinitialspace=True)
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        return Import((), ((1, f"the first line must name the columns tenant and device; missing: {missing[0]}"),))
    devices: dict[tuple[str, str], int] = {}
    faults: list[tuple[int, str]] = []
    for row in rows:
        key = ((row["tenant"] or "").strip(), (row["device"] or "").strip())
        fault = _fault(key, existing, tenants) or (key in devices and f"the same as line {devices[key]}")
        if fault:
            faults.append((rows.line_num, fault))
        else:
            devices[key] = rows.line_num
    return Import(tuple(devices), tuple(faults))


def _fault(key: tuple[str, str], existing: Collection[tuple[str, str]], tenants: Collection[str]) -> str | None:
    tenant, device = key
    for what, name in (("tenant", tenant), ("device", device)):
        if not NAME.fullmatch(name):
            return f"{what} {name!r}: only a-z, 0-9 and -, 63 characters at most, the first no -"
    if tenant not in tenants:
        return f"you own no tenant {tenant}"
    return f"{tenant}/{device} exists already" if key in existing else None
