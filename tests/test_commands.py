"""`iot-console device`, `devices` and `credentials`, as programs."""

import asyncio
import base64
import csv
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from store import directory
from store.db import connected
from store.mosquitto import password_hash
from store.target import parse_target
from tests.servers import Database
from tui import bulk

ROOT = Path(__file__).parent.parent
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest_asyncio.fixture
async def command(embedded_database: Database, tmp_path: Path) -> AsyncIterator[Command]:
    """Runs iot-console as an owner of acme; no broker is there, so nothing comes into force."""
    async with connected(parse_target(embedded_database.owner_url), "test", 2) as db:
        for tenant in ("acme", "globex"):
            await directory.create_tenant(db, tenant, tenant)
    file = tmp_path / "url"
    file.write_text(await embedded_database.person_url("iot_u_anna", "acme"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "tui", "--url-file", str(file), *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("IOT_")}
        return subprocess.run(
            argv, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60, stdin=subprocess.DEVNULL
        )

    yield run


async def test_a_secret_is_shown_once_and_only_its_hash_is_stored(
    command: Command, embedded_database: Database, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(command, "device", "create", "acme/pump-7", "--no-wait")
    assert (done.returncode, done.stderr) == (0, "set 1 is stored\n")
    username, password = (line.split(": ")[1] for line in done.stdout.splitlines())
    assert username == "acme/devices/pump-7"
    ((stored,),) = await embedded_database.fetch("select password_hash from iot.credentials")
    assert isinstance(stored, str)
    assert stored == password_hash(password, base64.b64decode(stored.split("$")[3]))
    out = tmp_path / "secret"
    done = await asyncio.to_thread(command, "device", "rotate", "acme/pump-7", "--no-wait", "--out", str(out))
    assert (done.returncode, done.stdout) == (0, "")
    assert out.read_text().startswith("username: acme/devices/pump-7/b\npassword: ")
    assert out.stat().st_mode & 0o777 == 0o600
    again = await asyncio.to_thread(command, "device", "rotate", "acme/pump-7", "--no-wait", "--out", str(out))
    assert (again.returncode, again.stderr) == (2, f"iot-console: --out {out}: File exists\n")
    listed = json.loads((await asyncio.to_thread(command, "devices", "--not-moved", "--json")).stdout)
    assert [(d["device"], d["moving"], len(d["credentials"])) for d in listed] == [("pump-7", True, 2)]
    assert "MOVING" in (await asyncio.to_thread(command, "devices")).stdout


async def test_a_failed_command_leaves_no_empty_secret_file(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "secret"
    for where in ("globex/pump-7", "nowhere/pump-7"):
        done = await asyncio.to_thread(command, "device", "create", where, "--out", str(out))
        assert (done.returncode, "you are no owner of tenant" in done.stderr) == (1, True)
        assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("device", "create", "acme"), 2, "'acme' is not TENANT/DEVICE"),
        (("device", "create", "acme/Pump"), 2, "each of a-z, 0-9 and -"),
        (("device", "rotate", "acme/x", "--overlap", "soon"), 2, "'soon' is no duration: write 30m, 12h, 7d or 0"),
        (("device", "rotate", "acme/x"), 1, "there is no device x"),
        (("device", "revoke", "acme/x", "--reason", "r"), 2, "Say so with --yes"),
        (("device", "revoke", "acme/x", "--reason", "r", "--slot", "c"), 2, "--slot: a or b"),
        (("device", "grant", "acme/x", "all", "#"), 2, "ACCESS: read, write or readwrite"),
        (("device", "import", "none.csv", "--dry-run"), 2, "none.csv: No such file or directory"),
        (("device", "import", "none.csv"), 2, "--out: the secrets need a file"),
        (("credentials", "rollback", "acme", "7", "--yes"), 1, "there is no set 7"),
        (("credentials", "confirm", "1"), 1, "you are no owner of tenant platform"),
    ],
)
def test_mistakes_are_named_with_their_remedy(
    command: Command, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = command(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


async def test_importing_many(command: Command, embedded_database: Database, tmp_path: Path) -> None:
    fleet, out = tmp_path / "fleet.csv", tmp_path / "secrets.csv"
    fleet.write_text("\ufeffdevice, tenant, place\nd1,acme,x\nD2,acme,x\nd1,acme,y\nd3,globex,x\n")
    done = await asyncio.to_thread(command, "device", "import", str(fleet), "--out", str(out))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{fleet}:3: device 'D2': only a-z, 0-9 and -, 63 characters at most, the first no -",
        f"{fleet}:4: the same as line 2",
        f"{fleet}:5: you own no tenant globex",
        "iot-console: 3 faulty lines, 1 good ones; nothing was created",
    ]
    assert not out.exists()
    fleet.write_text("tenant,device\n" + "".join(f"acme,d{n}\n" for n in range(500)))
    dry = await asyncio.to_thread(command, "device", "import", str(fleet), "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "500 devices would be created\n")
    assert await embedded_database.fetch("select count(*) from iot.credentials") == [(0,)]
    done = await asyncio.to_thread(command, "device", "import", str(fleet), "--out", str(out), "--no-wait")
    assert (done.returncode, done.stdout) == (0, f"500 devices created, secrets in {out}\n")
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len({row["password"] for row in rows}) == 500
    assert rows[0]["username"] == "acme/devices/d0"
    assert await embedded_database.fetch("select count(*) from iot.credentials") == [(500,)]
    again = await asyncio.to_thread(command, "device", "import", str(fleet), "--dry-run", "--json")
    assert json.loads(again.stdout)["faults"][0] == {"line": 2, "fault": "acme/d0 exists already"}


async def test_history_difference_and_due_dates(command: Command) -> None:
    for arguments in (("create", "acme/d1"), ("create", "acme/d2"), ("rotate", "acme/d1", "--overlap", "0")):
        assert (await asyncio.to_thread(command, "device", *arguments, "--no-wait")).returncode == 0
    sets = json.loads((await asyncio.to_thread(command, "credentials", "sets", "--json")).stdout)
    assert [(s["generation"], s["reason"]) for s in sets] == [(3, "rotate d1"), (2, "create d2"), (1, "create d1")]
    diff = await asyncio.to_thread(command, "credentials", "diff", "--since", "1")
    assert diff.stdout.splitlines() == [
        "+ acme/devices/d2  (set 2: create d2)",
        "- acme/devices/d1  (set 3: rotate d1)",
        "+ acme/devices/d1/b  (set 3: rotate d1)",
    ]
    same = await asyncio.to_thread(command, "credentials", "diff", "--since", "3")
    assert (same.returncode, same.stdout) == (0, "no difference to set 3\n")
    due = await asyncio.to_thread(command, "credentials", "due")
    assert due.returncode == 0
    assert due.stdout.startswith("device-credential    next ")
    assert (await asyncio.to_thread(command, "credentials", "brokers")).returncode == 1, "there is none"


def test_a_csv_file_without_the_columns_says_so() -> None:
    assert bulk.read("name,owner\nx,y\n", (), ()).faults == (
        (1, "the first line must name the columns tenant and device; missing: tenant"),
    )
    assert bulk.read("", (), ()).faults[0][0] == 1
    assert bulk.read("tenant,device\nacme\n", (), ("acme",)).faults[0][1].startswith("device ''")
