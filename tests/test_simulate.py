"""What the fleet sends is what it says: good messages can be stored, bad ones cannot."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agent.ingest.decode import Limits, Refusal, decode
from agent.ingest.delivery import Delivery
from agent.ingest.topics import Route
from agent.simulate import fleet
from agent.simulate.fleet import read_logins
from agent.simulate.shapes import BAD, GOOD, Mix
from stack.broker import Broker
from store.directory import Place
from store.telemetry import Reading

ROOT = Path(__file__).parent.parent
NOW = 1_795_450_000.0
PLACE = Place(1, 1, disabled=False)


def taken(channel: str, payload: bytes, at: float = NOW) -> Reading | Refusal:
    topic = f"tenants/acme/devices/d1/{channel}"
    route = Route("acme", "d1", channel, raw=channel.startswith("raw/"))
    return decode(Delivery(topic, payload, 1, 1, 1, at, None), route, PLACE, Limits())


@pytest.mark.parametrize("name", GOOD)
def test_good_shapes_are_stored_and_all_distinct(name: str) -> None:
    messages = [GOOD[name](count, NOW + count / 10) for count in range(1, 500)]
    readings = [taken(m.channel, m.payload) for m in messages]
    assert all(isinstance(reading, Reading) for reading in readings)
    assert len({reading.msg_hash for reading in readings if isinstance(reading, Reading)}) == len(readings)


@pytest.mark.parametrize("name", [name for name in GOOD if GOOD[name](1, NOW).dated])
def test_dated_shapes_are_the_same_row_when_sent_again(name: str) -> None:
    for count in range(1, 20):
        message = GOOD[name](count, NOW)
        first, again = taken(message.channel, message.payload), taken(message.channel, message.payload, NOW + 1800)
        assert first[:3] == again[:3] if isinstance(first, Reading) and isinstance(again, Reading) else False


@pytest.mark.parametrize("name", BAD)
def test_bad_shapes_are_refused_and_all_distinct(name: str) -> None:
    payloads = [BAD[name](count) for count in range(1, 50)]
    assert all(isinstance(taken("telemetry", payload), Refusal) for payload in payloads)
    assert len(set(payloads)) == len(payloads)


def test_a_mix_is_the_same_for_the_same_seed_and_keeps_its_share() -> None:
    first, second = (Mix("d1", ("flat", "nested"), 0.2) for _ in range(2))
    messages = [first.next(NOW) for _ in range(1000)]
    assert messages == [second.next(NOW) for _ in range(1000)]
    assert 150 < sum(not message.good for message in messages) < 250


def test_a_wrong_credentials_file_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "devices.txt"
    file.write_text("acme/devices/d1:pw\n\nacme-d2:pw\n")
    with pytest.raises(ValueError, match="line 3: expected tenant/devices/device:password"):
        read_logins(file)


def demo(*arguments: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-u", "-m", "stack.demo", "--headless", *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_the_demo_ends_with_nothing_lost() -> None:
    with demo("--seconds", "4", "--devices", "20", "--rate", "200") as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    counts = {line.rsplit(maxsplit=1)[0]: int(line.rsplit(maxsplit=1)[1]) for line in output.splitlines()[-5:]}
    assert counts["lost"] == 0
    assert counts["rows"] > 300
    assert counts["published"] == counts["rows"] + counts["dead letters"] + counts["duplicates"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_leaves_nothing_running(signum: signal.Signals) -> None:
    with demo("--seconds", "60") as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().split("state is in ")[1].split()[0])
        while "first rows" not in process.stdout.readline():
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        assert {"mosquitto", "postgres"} <= {child.name() for child in children}
        os.kill(process.pid, signum)
        process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    if signum != signal.SIGKILL:
        assert process.returncode == 130
        assert not directory.exists()
    else:
        subprocess.run(["rm", "-rf", str(directory)], check=True)


async def test_a_fleet_that_is_told_to_stop_does_not_wait_for_a_dead_broker(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "GRACE_SECONDS", 0.3)
    name = "acme/devices/d1"
    options = fleet.FleetOptions(
        "127.0.0.1", broker.device_port, broker.authority.ca_file, broker.server_name, 50.0, None, tuple(GOOD)[:1]
    )
    stop, published = asyncio.Event(), asyncio.Event()
    login = fleet.DeviceLogin(name, broker.passwords[name])

    def seen(tally: fleet.Tally) -> None:
        if tally.published:
            published.set()

    running = asyncio.create_task(fleet.run([login], options, stop, seen))
    async with asyncio.timeout(60):
        await published.wait()
        broker.send(signal.SIGSTOP)
        stop.set()
        assert (await running).published > 0
