"""`make demo`: everything on this machine, with a simulated fleet, and the console on top."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from stack import azure_saved, operations, remote
from stack.azure import FakeAzure
from stack.broker import others_ports
from stack.local import LocalAgent, LocalStack, Tenant, fleet, short_directory
from stack.process import Child, StackError
from store.db import Db, connected
from store.target import parse_target

SPARE = Tenant("acme", ("spare-1", "probe-1"))  # devices that nobody simulates, to try things with
PROBE = f"{SPARE.slug}/{SPARE.devices[1]}"
ROWS = "select count(*) from public.telemetry where tenant_id > 0"
LETTERS = "select count(*) from iot.dead_letters where tenant_id > 0"
DUPLICATES = "select coalesce(sum(duplicates), 0)::bigint from iot.ingest_minute where tenant_id > 0"
SETTLE_SECONDS = 30.0


def main() -> int:
    options = _parser().parse_args()
    if not options.headless and not sys.stdout.isatty():
        print("demo: there is no terminal for the console; use --headless", file=sys.stderr)
        return 2
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    directory = short_directory("iot-demo")
    stack = LocalStack(directory, creds=True, confine=True)
    try:
        return asyncio.run(_demo(stack, options))
    except StackError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        stack.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make demo ARGS=...", description=__doc__)
    parser.add_argument("--devices", type=int, default=50, help="devices of the fleet (default 50)")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second of the whole fleet (default 100)")
    parser.add_argument(
        "--bad", type=float, default=0.01, help="share of messages that cannot be stored (default 0.01)"
    )
    parser.add_argument(
        "--headless", action="store_true", help="no console: print a summary, exit 1 if anything is lost"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="with --headless: how long to publish (default 20)")
    return parser


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _say(began: float, text: str) -> None:
    print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)


async def _demo(stack: LocalStack, options: argparse.Namespace) -> int:
    began, others = time.monotonic(), others_ports()
    _say(began, f"state is in {stack.state} and goes away at the end")
    await stack.cluster.start()
    _say(began, "PostgreSQL is up (Unix socket, Supabase's rules)")
    await stack.prepare([*fleet(options.devices), SPARE])
    _say(began, f"schema, logins and {options.devices} devices of two tenants are in")
    stack.broker.start()
    _say(began, f"Mosquitto listens with TLS on 127.0.0.1:{stack.broker.device_port}")
    azure = FakeAzure(stack.state / "azure", stack.authority)
    agent = stack.agent(settings=operations.agent_settings(stack) | azure.agent_settings)
    agent.environment |= azure.environment
    agent.start()
    await agent.ready()
    async with connected(parse_target(stack.owner_url), "iot-demo", 2) as db:
        simulator = _simulate(stack, options)
        await _first_row(db, agent, simulator)
        _say(began, "the agent runs, and the first rows are in public.telemetry")
        _say_how_to_try(stack, _url_file(stack))
        if options.headless:
            return await _summary(db, simulator)
    deeds = operations.deeds(stack, agent)
    async with remote.served(operations.socket_path(stack), deeds, stack.program.user):
        return await _console(stack, others)


def _profile(stack: LocalStack, others: set[int]) -> Path:
    """Of the console. others: ports that were open on this machine before, and are none of the demo's."""
    azure = {"resource_group": "rg", "vm": "vm1", "nsg": "iot-nsg", "my_ip": "203.0.113.7", "function": "none"}
    azure["saved"] = str(azure_saved.write(stack.state / "azure" / "saved"))
    ports = ",".join(map(str, sorted({22, 8883, stack.broker.device_port, *others})))
    return operations.write_profile(
        stack, "DEMO", probe=PROBE, sections={"azure": azure, "limits": {"open_ports": ports}}
    )


def _simulate(stack: LocalStack, options: argparse.Namespace) -> Child:
    arguments = [
        "--devices",
        str(options.devices),
        "--rate",
        str(options.rate),
        "--bad",
        str(options.bad),
        "--repeat",
        "0.02",
    ]
    if options.headless:
        arguments += ["--seconds", str(options.seconds)]
    return stack.simulator(stack.state / "fleet.log", *arguments)


async def _first_row(db: Db, agent: LocalAgent, simulator: Child) -> None:
    while not await db.value(ROWS):
        for child in (agent.process, simulator):
            if not child.alive:
                raise StackError(f"{child.name} ended at once; its log ends:\n{child.tail()}")
        await asyncio.sleep(0.1)


def _url_file(stack: LocalStack) -> Path:
    """Where the owner's database URL is, for iot-console."""
    path = stack.state / "console-url"
    path.touch(mode=0o600)
    path.write_text(stack.owner_url)
    return path


def _say_how_to_try(stack: LocalStack, url_file: Path) -> None:
    """The secret goes into a file that mosquitto_pub reads, so that it shows in no process list."""
    username = f"{SPARE.slug}/devices/{SPARE.devices[0]}"
    file = stack.state / "mosquitto_pub"
    file.touch(mode=0o600)
    lines = ["-h localhost", f"-p {stack.broker.device_port}", f"--cafile {stack.authority.ca_file}"]
    lines += [f"-u {username}", f"-P {stack.broker.passwords[username]}"]
    file.write_text("\n".join(lines) + "\n")
    topic = f"tenants/{username}/telemetry"
    print(
        f"""
  Publish as a device yourself (from another terminal); however often you repeat it, it is one row:
    XDG_CONFIG_HOME={stack.state} mosquitto_pub -q 1 -t {topic} -m '{{"seq": 1, "temperature": 21.5}}'
  Change its credentials, and see what the broker says to the old ones:
    .venv/bin/iot-console --url-file {url_file} device rotate {SPARE.slug}/{SPARE.devices[0]} --overlap 0
  Break something, and follow its runbook: 3 alerts, b its runbook, n follow it.
    the broker:  kill -9 {stack.broker.pid}          the database:  kill -INT {stack.cluster.pid}
""",
        flush=True,
    )


async def _summary(db: Db, simulator: Child) -> int:
    """Wait for the fleet to finish and for the rows to arrive, then count."""
    while simulator.alive:  # not in a thread: an interrupt would have to wait for it
        await asyncio.sleep(0.1)
    if simulator.wait(0):
        raise StackError(f"the fleet failed; its log ends:\n{simulator.tail()}")
    tally = simulator.report()
    ends_at = time.monotonic() + SETTLE_SECONDS
    counted = await _counted(db)
    while (counted["rows"], counted["dead letters"]) < (tally["good"], tally["bad"]) and time.monotonic() < ends_at:
        await asyncio.sleep(0.2)
        counted = await _counted(db)
    return _print_summary(tally, counted)


async def _counted(db: Db) -> dict[str, int]:
    queries = {"rows": ROWS, "duplicates": DUPLICATES, "dead letters": LETTERS}
    return {name: int(str(await db.value(query))) for name, query in queries.items()}


def _print_summary(tally: Mapping[str, int], counted: Mapping[str, int]) -> int:
    lost = tally["good"] + tally["bad"] - counted["rows"] - counted["dead letters"]
    lines = {"published": tally["published"], **counted, "lost": lost}
    print("\n".join(f"{name:<14}{value:>8}" for name, value in lines.items()))
    as_expected = (counted["rows"], counted["dead letters"]) == (tally["good"], tally["bad"])
    if not as_expected:
        print(f"expected {tally['good']} rows and {tally['bad']} dead letters", file=sys.stderr)
    return 0 if as_expected else 1


async def _console(stack: LocalStack, others: set[int]) -> int:
    """The console in this terminal, as the owner of all tenants. Its exit ends the demo."""
    config = _profile(stack, others)
    argv = [sys.executable, "-m", "tui", "--config", str(config)]
    # runs of a database that goes away must not stay behind among those of real ones
    process = await asyncio.create_subprocess_exec(*argv, env=os.environ | {"XDG_STATE_HOME": str(stack.state)})
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


if __name__ == "__main__":
    sys.exit(main())
