"""The documents say what was measured: each number of their tables is one that `make bench` saved."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import budgets

ROOT = Path(__file__).parent.parent
README, PERFORMANCE = (ROOT / name for name in ("README.md", "docs/performance.md"))


def saved(name: str) -> Any:
    return json.loads((budgets.RESULTS / f"{name}.json").read_text())[name]


def row(rows: list[Any], what: str) -> Any:
    return next(row for row in rows if row["what"].startswith(what))


def spaced(number: float) -> str:
    return f"{number:,}".replace(",", " ")


def ingest_in_short() -> list[str]:
    found = saved("ingest")
    ours, floor, usual = (row(found["throughput"], what) for what in ("agent, TLS, batch 2000", "mosq", "aiomqtt"))
    cpu, other = ours["cpu_us_per_message"], usual["cpu_us_per_message"]
    memory = ", ".join(str(row(found["memory"], what)["rss_mb"]) for what in ("idle", "at", "database"))
    return [
        f"| broker to committed row | {ours['rows_per_second']:,} messages a second |",
        f"| CPU of the agent, socket to row to acknowledgement | {cpu} us a message, "
        f"{cpu / floor['cpu_us_per_message']:.1f} times that of `mosquitto_sub`, which stores nothing |",
        f"| the same with aiomqtt, receiving only | {other} us a message, {other / cpu:.0f} times the agent's |",
        f"| memory: idle, at 10 000 msg/s, with the database away | {memory} MB resident |",
    ]


def scale_in_short() -> list[str]:
    fleet, spool = saved("broker")["fleets"][-1], saved("spool")
    return [
        f"| storing with 50 million rows in the table, against none | {budgets.storing(saved('scale'))} of the rate",
        f"| {fleet['broker_rss_mb']:.0f} MB, {fleet['broker_cpu_percent']} % of a core at 500 msg/s",
        f"| {spaced(int(spool['appended_a_second']))} a second in, {spaced(int(spool['drained_a_second']))} out, "
        f"{spool['memory_more_mb']} MB of memory",
    ]


def creds() -> list[str]:
    return [
        f"| {spaced(r['devices']) if r['devices'] >= budgets.DEVICES else r['devices']} | {r['created_ms']:.0f} ms | "
        f"{r['revoked_ms']} ms | {r['stall_ms']:.0f} ms | {r['agent_rss_mb']} MB |"
        for r in saved("creds")
    ]


def console() -> list[str]:
    found = saved("console")
    key, page, pane = (found[name] for name in ("key_ms", "page_ms", "switch_ms"))
    return [
        f"| first picture, best of five | {found['first_paint_ms']} ms |",
        f"| cursor in the list, p50 / p95; page down | {key['p50']} / {key['p95']} ms; {page['p50']} / {page['p95']} ms |",
        f"| another pane, p50 / p95 | {pane['p50']} / {pane['p95']} ms, {found['switch_bytes']:,} bytes |",
        f"| CPU, memory with all devices | {found['overview']['cpu_percent']} % of a core, {found['rss_mb']} MB |",
    ]


def floors() -> list[str]:
    rows = saved("ingest")["throughput"]
    floor = row(rows, "mosquitto_sub")["cpu_us_per_message"]
    return [
        f"| {spaced(r['rows_per_second'])} | {r['cpu_us_per_message']}{' together' * ('of a group' in r['what'])} | "
        f"{r['cpu_us_per_message'] / floor:.1f} |"
        for r in rows
    ]


def stages() -> list[str]:
    rows = saved("ingest")["stages"]
    codec, deliveries, hashing, decoding, storing, acknowledging = (r["cpu_us_per_message"] for r in rows[:6])
    return [
        f"| bytes to packets (the codec, Rust) | {codec:.1f} |",
        f"| packets to deliveries: objects, accounting of bytes | {deliveries - codec:.1f} |",
        f"| validate JSON, read its time, hash, key: deliveries to rows | {decoding:.1f} |",
        f"| of which the hash (blake2b over topic and payload) | {hashing:.1f} |",
        f"| rows into columns, to the database, and its answer | {storing:.1f} |",
        f"| acknowledgement | {acknowledging:.1f} |",
    ]


def memory() -> list[str]:
    fleets = {r["devices"]: r for r in saved("broker")["fleets"]}
    soak, spool = saved("soak")["rss_mb"], saved("spool")
    largest = fleets[budgets.DEVICES]
    return [
        f"| the broker without devices; with 1 000; with 10 000, each over TLS | "
        f"{saved('broker')['broker_rss_mb_without_devices']:.0f}; {fleets[1000]['broker_rss_mb']:.0f}; "
        f"{largest['broker_rss_mb']:.0f} ({largest['kb_a_device']} kB each) |",
        f"| the agent with those 10 000 and their credentials, 500 msg/s | {largest['agent_rss_mb']:.0f} |",
        f"| {' | '.join(str(value) for value in soak['agent']['windows'])} |",
        f"| {' | '.join(str(value) for value in soak['broker']['windows'])} |",
        f"{spool['million_messages']} million messages",
        f"{spaced(int(spool['appended_a_second']))} a second",
        f"{spaced(int(spool['drained_a_second']))} a second",
        f"{spool['memory_more_mb']} MB",
    ]


@pytest.mark.parametrize(
    ("document", "lines"),
    [
        (README, ingest_in_short), (README, scale_in_short), (README, creds), (README, console), (PERFORMANCE, floors), (PERFORMANCE, stages),
        (PERFORMANCE, memory), (PERFORMANCE, lambda: budgets.table().splitlines()),
    ],
)  # fmt: skip
def test_what_is_said_was_measured(document: Path, lines: Any) -> None:
    text = document.read_text()
    missing = [line for line in lines() if line not in text]
    assert not missing, "\n".join(missing)


def test_each_budget_was_measured() -> None:
    assert "not measured" not in budgets.table()
