"""Ingest end to end: rows a second, CPU a message, memory; against mosquitto_sub and aiomqtt alone."""

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil

from bench.rig import Rig, database, inserted, rig, until, usage
from bench.stages import stages
from stack.broker import INGEST_USER
from stack.local import LocalAgent
from stack.process import Child

Row = dict[str, object]
MESSAGES = 200_000
PRELOAD = """
insert into public.telemetry (tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload)
select 1, to_timestamp(floor(extract(epoch from t) / 10) * 10), n * 7919::bigint, t, 1 + n % 1000,
       'tenants/acme/devices/dev-' || n % 1000 || '/telemetry', 1,
       '{"ts": 1795450173151, "seq": 23, "rssi": -66, "battery": 4.098, "temperature": 21.5}'
from (select n, now() - interval '5 days' + n * interval '80 milliseconds' as t
      from generate_series($1::int, $2::int) n) s
on conflict do nothing"""


async def end_to_end(on: Rig, name: str, *, batch: int = 2000, tls: bool = True, messages: int = MESSAGES) -> Row:
    """Publisher, broker, agent and PostgreSQL side by side on this machine."""
    agent = on.start_agent(slug(name), tls, {"ingest__batch_rows": batch, "canary__interval_seconds": 3600.0})
    await agent.ready()
    return await _measured(on, name, [agent], messages)


async def _measured(on: Rig, name: str, agents: list[LocalAgent], messages: int) -> Row:
    """From the first row that is seen to the last one; ends the agents. CPU is that of all, memory of the largest."""
    async with database(on.stack) as db:
        before_rows = await inserted(db)
        before = [usage(agent.process.pid) for agent in agents]
        publisher = on.start_publisher(messages)
        began = await until(db, before_rows + 1)  # not counting the publisher's own start
        first = await inserted(db) - before_rows
        ended = await until(db, before_rows + messages)
        after = [usage(agent.process.pid) for agent in agents]
        publisher.wait(60)
    for agent in agents:
        await on.forget(agent)
    spent = sum(b.cpu - a.cpu for a, b in zip(before, after, strict=True))
    return {
        "what": name,
        "rows_per_second": round((messages - first) / (ended - began)),
        "cpu_us_per_message": round(spent / messages * 1e6, 1),
        "rss_mb": round(max(one.rss for one in after) / 1e6),
    }


def middle(name: str, rows: list[Row]) -> Row:
    """The middle one, by CPU: machines that are shared swing by a quarter."""
    return sorted(rows, key=lambda row: float(str(row["cpu_us_per_message"])))[len(rows) // 2] | {"what": name}


async def median(on: Rig, name: str, runs: int = 3) -> Row:
    return middle(name, [await end_to_end(on, f"{name} {n + 1}") for n in range(runs)])


async def against_floor(on: Rig, name: str, turns: int = 5) -> list[Row]:
    """The agent and mosquitto_sub in turns, so that both have the same good and bad minutes of a shared machine."""
    ours, floor = [], []
    for turn in range(turns):
        ours.append(await end_to_end(on, f"{name} {turn + 1}"))
        floor.append(await mosquitto_sub(on))
    return [middle(name, ours), middle("mosquitto_sub", floor)]


async def yardstick(on: Rig, name: str, argv: list[str | Path], env: dict[str, str], messages: int) -> Row:
    """A process that receives the same messages and stores none; argv ends by itself after that many."""
    receiver = on.stack.keep(Child(name, argv, on.stack.state / f"{name}.log", env=env))
    await asyncio.sleep(2)  # it says nothing when it is subscribed
    began, before = time.time(), usage(receiver.pid)
    publisher = on.start_publisher(messages)
    last, most = before, before.rss
    with suppress(psutil.Error):  # it ends between two looks
        while receiver.alive:
            last = usage(receiver.pid)
            most = max(most, last.rss)
            await asyncio.sleep(0.005)
    seconds = time.time() - began
    publisher.wait(120)
    return {
        "what": name,
        "rows_per_second": round(messages / seconds),
        "cpu_us_per_message": round((last.cpu - before.cpu) / messages * 1e6, 1),
        "rss_mb": round(most / 1e6),
    }


async def mosquitto_sub(on: Rig) -> Row:
    """The floor: receives over TLS and stores nothing, in C."""
    broker = on.stack.broker
    options = on.stack.state / "mosquitto_sub"
    options.touch(mode=0o600)
    lines = ["-h localhost", f"-p {broker.service_port}", f"--cafile {broker.authority.ca_file}", "-V 5"]
    lines += [f"-u {INGEST_USER}", f"-P {broker.passwords[INGEST_USER]}"]
    options.write_text("\n".join(lines) + "\n")
    topic = "tenants/+/devices/+/#"
    sub: list[str | Path] = ["mosquitto_sub", "-t", topic, "-q", "1", "-C", str(MESSAGES), "-N", "-i", "yardstick"]
    return await yardstick(on, "mosquitto_sub", sub, {"XDG_CONFIG_HOME": str(on.stack.state)}, MESSAGES)


async def aiomqtt_alone(on: Rig) -> Row:
    """The usual library, receiving over TLS and storing nothing."""
    broker = on.stack.broker
    env = {
        "PORT": str(broker.service_port), "CA_FILE": str(broker.authority.ca_file), "TLS_NAME": broker.server_name,
        "MQTT_USER": INGEST_USER, "MQTT_PASSWORD": broker.passwords[INGEST_USER],
    }  # fmt: skip
    count = MESSAGES // 5
    argv: list[str | Path] = [sys.executable, "-m", "bench.receivers", str(count)]
    return await yardstick(on, "aiomqtt alone", argv, env, count)


async def memory(on: Rig) -> list[Row]:
    """Resident memory idle, at 10 000 messages a second, and with the database away."""
    agent = on.start_agent("memory", True, {})
    await agent.ready()
    await asyncio.sleep(5)
    found: list[Row] = [{"what": "idle", "rss_mb": round(usage(agent.process.pid).rss / 1e6)}]
    publisher = on.start_publisher(150_000, rate=10_000)
    peak = 0
    while publisher.alive:
        peak = max(peak, usage(agent.process.pid).rss)
        await asyncio.sleep(0.1)
    found.append({"what": "at 10 000 msg/s", "rss_mb": round(peak / 1e6)})
    agent.stop()
    agent.start()
    await agent.ready()
    await asyncio.to_thread(on.stack.cluster.stop)
    publisher = on.start_publisher(150_000, rate=5_000)
    peak = 0
    while publisher.alive:
        peak = max(peak, usage(agent.process.pid).rss)
        await asyncio.sleep(0.1)
    found.append({"what": "database away, 5 000 msg/s into the spool", "rss_mb": round(peak / 1e6)})
    await on.stack.cluster.start()
    await on.forget(agent)
    return found


async def preload(on: Rig, rows: int) -> None:
    """Rows of the last five days, by the server itself."""
    connection = await asyncpg.connect(on.stack.cluster.superuser_url(on.stack.database))
    for first in range(0, rows, 250_000):
        await connection.execute(PRELOAD, first, first + 249_999, timeout=600)
    for tidy in ("vacuum (analyze) public.telemetry", "checkpoint"):  # or both happen during the measurement
        await connection.execute(tidy, timeout=600)
    await connection.close()


async def shared(on: Rig, count: int, messages: int = MESSAGES) -> Row:
    """Agents of one group, each its own process, all on this machine beside broker and database."""
    name = f"{count} agents of a group"
    agents = []
    for n in range(count):
        settings: dict[str, object] = {"mqtt__share_group": slug(name), "canary__interval_seconds": 3600.0}
        agent = on.stack.agent(f"{slug(name)}-{n}", settings)
        agent.environment["DATABASE_URL"] = await on.login(f"iot_agent_{n}")
        agent.start()
        await agent.ready()
        agents.append(agent)
    return await _measured(on, name, agents, messages)


async def run(quick: bool) -> dict[str, object]:
    async with rig() as on:
        results = await against_floor(on, "agent, TLS, batch 2000")
        results.append(await end_to_end(on, "agent, TLS, batch 500", batch=500))
        results.append(await end_to_end(on, "agent, no TLS, batch 2000", tls=False))
        results.append(await aiomqtt_alone(on))
        results += [await shared(on, count) for count in (2, 4)]
        parts = await stages(on)
        held = await memory(on)
        growth = [await median(on, "few rows in the table")]
        if not quick:
            await preload(on, 5_000_000)
            growth.append(await median(on, "5 M rows in the table"))
    return {"throughput": results, "stages": parts, "memory": held, "growth": growth}


def slug(name: str) -> str:
    """A measurement's name as an agent id."""
    return "".join(c if c.isalnum() else "-" for c in name)


def table(found: dict[str, object]) -> str:
    """One line a measurement; the last column is the ratio of CPU to mosquitto_sub, which stores nothing."""
    throughput = found["throughput"]
    assert isinstance(throughput, list)
    floor = next(row["cpu_us_per_message"] for row in throughput if row["what"] == "mosquitto_sub")
    lines = [f"{'':42}{'msg/s':>9}{'CPU us/msg':>12}{'RSS MB':>8}{'CPU / mosquitto_sub':>21}"]
    for row in [*throughput, *found["growth"]]:  # type: ignore[misc]
        ratio = row["cpu_us_per_message"] / floor if floor else 0.0
        lines.append(
            f"{row['what']:42}{row['rows_per_second']:>9}{row['cpu_us_per_message']:>12}{row['rss_mb']:>8}{ratio:>20.1f}x"
        )
    lines += [f"{row['what']:42}{'':>9}{'':>12}{row['rss_mb']:>8}" for row in found["memory"]]  # type: ignore[attr-defined]
    lines += ["", "by stage, in one process"]
    lines += [
        f"{row['what']:51}{row.get('rows_per_second', ''):>9}{row['cpu_us_per_message']:>12}"
        for row in found["stages"]  # type: ignore[attr-defined]
    ]
    growth = found["growth"]
    assert isinstance(growth, list)
    if len(growth) == 2:
        lines.append(
            f"rate with 5 M rows / rate with few: {growth[1]['rows_per_second'] / growth[0]['rows_per_second']:.2f}"
        )
    return "\n".join(lines)
