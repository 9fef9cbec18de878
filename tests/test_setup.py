"""Installation, upgrade and way back: the wheel in an empty environment, files below a root, versions side by side."""

import asyncio
import json
import os
import shutil
import signal
import sys
import sysconfig
import threading
import zipfile
from collections.abc import AsyncIterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import pytest_asyncio

from agent import service
from agent.ingest.delivery import Delivery
from agent.ingest.spool import Spool
from agent.setup import plan, wellness
from agent.setup.perform import Performer, StepFailed
from agent.setup.plan import Facts
from agent.setup.steps import Command, Link, Outcome, Text
from agent.setup.wellness import Wellness
from stack import operations
from stack.broker import free_port
from stack.local import LocalStack, fleet, short_directory
from tests.consoles import run_cli

ROOT = Path(__file__).parent.parent
WHEEL = "iot_console-0.1.0-py3-none-any.whl"


async def ended(*argv: str | Path, env: dict[str, str] | None = None, cwd: Path = Path("/")) -> tuple[int, str]:
    """(exit code, what it printed), of a program that is run outside of the checkout."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "IOT_"))}
    process = await asyncio.create_subprocess_exec(
        *map(str, argv), stdout=-1, stderr=-2, cwd=cwd, env=clean | (env or {})
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


@pytest_asyncio.fixture(scope="module")
async def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    ignored = shutil.ignore_patterns(".*", "tests", "bench", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", place, source)
    code, said = await ended(*pip)
    assert code == 0, said
    return place / WHEEL


@pytest_asyncio.fixture(scope="module")
async def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new virtual environment with the locked packages and the wheel, and nothing else."""
    place = tmp_path_factory.mktemp("venv") / "v"
    code, said = await ended(sys.executable, "-m", "venv", place)
    assert code == 0, said
    pip = (place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    for more in (("--require-hashes", "-r", ROOT / "requirements-runtime.txt"), ("--no-deps", wheel)):
        code, said = await ended(*pip, *more)
        assert code == 0, said
    return place / "bin"


COMMANDS = [
    ("iot-agent", "--help"), ("iot-agent", "settings"), ("iot-agent", "rules", "check"), ("iot-agent", "rules", "metrics"),
    ("iot-agent", "install", "--dry-run"), ("iot-console", "--version"),
    ("iot-console", "keys"), ("iot-console", "runbooks", "lint"), ("iot-console", "runbooks", "show", "broker-down"),
    ("iot-console", "runbooks", "schema"), ("iot-agent", "rules", "schema"),
]  # fmt: skip


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
async def test_commands_that_need_no_server_work_from_the_wheel(installed: Path, argv: tuple[str, ...]) -> None:
    code, said = await ended(installed / argv[0], *argv[1:])
    assert (code, "Traceback" in said) == (0, False), said


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[LocalStack]:
    directory = short_directory("iot-wheel")
    found = LocalStack(directory, creds=True)
    await found.cluster.start()
    await found.prepare(fleet(2))
    found.broker.start()
    yield found
    await asyncio.to_thread(found.stop)
    shutil.rmtree(directory, ignore_errors=True)


async def test_the_wheel_in_an_empty_environment_runs_everything(installed: Path, stack: LocalStack) -> None:
    """Migration, agent, doctor, smoke and the console's twins; only the servers are of the local stack."""
    admin = {"IOT_ADMIN_DATABASE_URL": stack.cluster.owner_url(stack.database)}
    assert await ended(installed / "iot-agent", "migrate", "--check", env=admin) == (0, "up to date\n")
    agent = stack.agent(settings=operations.agent_settings(stack))
    agent.start([installed / "iot-agent", "run", "--config", agent.config_file])
    await agent.ready()
    config = operations.write_profile(stack, "TEST", probe="acme/dev-0001")
    console = (installed / "iot-console", "--config", config)
    assert "E2E-01" in (await ended(*console, "smoke"))[1]
    for argv in (("smoke",), ("doctor", "--only", "MQ,DB-0,OPS"), ("status",), ("devices",), ("rules", "list"), ("alerts", "list"),
                 ("dead-letters", "list"), ("users", "list"), ("credentials", "sets"), ("runbooks", "list")):  # fmt: skip
        code, said = await ended(*console, *argv)
        assert (code, "Traceback" in said) == (0, False), (argv, said)
    environment = dict(agent.environment)
    code, said = await ended(
        installed / "iot-agent", "doctor", "--config", agent.config_file, "--only", "DB", env=environment
    )
    assert code == 0, said
    code, said = await ended(installed / "iot-agent", "creds", "status", "--config", agent.config_file, env=environment)
    assert code == 0, said


# -- files below a root


def files() -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / "deploy").iterdir() if path.is_file()}


def test_install_can_be_repeated_and_overwrites_nobodys_settings(tmp_path: Path) -> None:
    steps = plan.install(files(), Facts("/opt/iot-agent/venv"))
    first = list(Performer(tmp_path, dry=True).run(steps))
    assert not any(tmp_path.iterdir())  # a dry run
    assert {outcome for step, outcome in first if not isinstance(step, Command)} == {Outcome.DONE}
    list(Performer(tmp_path, dry=False).run(steps))
    again = [outcome for step, outcome in Performer(tmp_path, dry=False).run(steps) if not isinstance(step, Command)]
    assert set(again) == {Outcome.SAME}
    settings = tmp_path / "etc/iot-agent/agent.toml"
    settings.write_text("# mine\n")
    unit = tmp_path / "etc/systemd/system/iot-agent.service"
    unit.write_text("[Service]\n")
    changed = {
        step.path: outcome for step, outcome in Performer(tmp_path, dry=False).run(steps) if isinstance(step, Text)
    }
    assert changed[plan.THEIRS["agent.toml"]] is Outcome.DIFFERS
    assert changed[plan.OURS["iot-agent.service"]] is Outcome.DONE
    assert settings.read_text() == "# mine\n"
    assert settings.with_name("agent.toml.new").read_text() == files()["agent.toml"]
    assert unit.read_text() == files()["iot-agent.service"]


def test_uninstall_keeps_what_is_somebodys_and_purge_does_not(tmp_path: Path) -> None:
    facts = Facts("/opt/iot-agent/venv")
    list(Performer(tmp_path, dry=False).run(plan.install(files(), facts)))
    secret = tmp_path / "etc/iot-agent/secrets/database-url"
    secret.write_text("x")
    drop_in = tmp_path / "etc/systemd/system/mosquitto.service.d/mine.conf"
    drop_in.write_text("[Service]\n")
    list(Performer(tmp_path, dry=False).run(plan.uninstall(facts, purge=False)))
    assert secret.exists()
    assert drop_in.exists()
    assert not [path for path in plan.OURS.values() if (tmp_path / path.lstrip("/")).exists()]
    list(Performer(tmp_path, dry=False).run(plan.uninstall(facts, purge=True)))
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["etc/systemd/system/mosquitto.service.d/mine.conf"]


def test_the_broker_is_installed_with_the_plugin_of_this_architecture() -> None:
    facts = Facts("/opt/iot-agent/venv", plugin="/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so")
    texts = {step.path: step.text for step in plan.install(files(), facts) if isinstance(step, Text)}
    assert f"plugin {facts.plugin}\n" in texts["/etc/mosquitto/conf.d/iot.conf"]


def test_what_is_there_is_not_done_again() -> None:
    there = Facts("/opt/iot-agent/venv", has_user=True, has_identity=True, diverted=plan.LOGROTATE_ASIDE, systemd=False)
    assert not [step for step in plan.install(files(), there) if isinstance(step, Command) and step.needed]


async def test_messages_that_exist_nowhere_else_are_not_purged(tmp_path: Path) -> None:
    state = tmp_path / "var/lib/iot-agent"
    state.mkdir(parents=True)
    spool = Spool(state / "spool.sqlite", 2**20)
    await spool.append([Delivery("tenants/a/devices/b/c", b"{}", 1, None, 0, 0.0, None)])
    spool.close()
    size = spool.path.stat().st_size
    argv = (sys.executable, "-m", "agent", "uninstall", "--purge", "--root", str(tmp_path))
    code, said = await ended(*argv, cwd=ROOT)
    assert (code, "1 messages wait in" in said, spool.path.stat().st_size) == (1, True, size)
    spool.path.rename(state / "spool.sqlite.damaged-1")
    code, said = await ended(*argv, "--dry-run", cwd=ROOT)
    assert (code, "of a spool that was damaged" in said) == (1, True)
    (state / "spool.sqlite").write_bytes(b"no database")
    code, said = await ended(*argv, cwd=ROOT)
    assert (code, {path.name for path in state.iterdir()} >= {"spool.sqlite", "spool.sqlite.damaged-1"}) == (1, True)
    code, said = await ended(*argv, "--force", cwd=ROOT)
    assert (code, state.exists()) == (0, False), said


def test_a_step_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"^false --now failed \(1\): no reason given$"):
        list(Performer(Path("/"), dry=False).run([Command(("false", "--now"))]))
    (tmp_path / "etc").touch()
    with pytest.raises(StepFailed, match=r"file /etc/x \(644\)"):
        list(Performer(tmp_path, dry=False).run([Text("/etc/x", "")]))


# -- another version


def version_of(wheel: Path, version: str, **changed: str) -> Path:
    """The same program as another version; its packages are those of this environment. changed: other texts of files."""
    target = wheel.with_name(WHEEL.replace("0.1.0", version))
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith("RECORD"):
                text = b""
            if name.endswith("METADATA"):
                lines = [line for line in text.decode().splitlines() if not line.startswith("Requires-Dist")]
                text = "\n".join(lines).replace("Version: 0.1.0", f"Version: {version}").encode()
            text = changed.get(name, text.decode("latin-1")).encode("latin-1") if name in changed else text
            new.writestr(name.replace("iot_console-0.1.0", f"iot_console-{version}"), text)
        for name in changed.keys() - set(old.namelist()):
            new.writestr(name, changed[name])
        new.writestr("packages.pth", f"{sysconfig.get_path('purelib')}\n")
    return target


def restarter(stack: LocalStack, base: Path) -> str:
    """A stand-in for systemctl: it ends the agent, and begins what is current."""
    script, pid = stack.state / "restart", stack.state / "pid"
    script.write_text(
        f"#!/bin/sh\n[ -e {pid} ] && kill $(cat {pid}) && while kill -0 $(cat {pid}) 2>/dev/null; do sleep 0.1; done\n"
        f"setsid {base}/current/bin/iot-agent run --config {stack.state}/agent-1.toml > {stack.state}/agent-1.log 2>&1 &\n"
        f"echo $! > {pid}\n"
    )
    script.chmod(0o755)
    return str(script)


async def test_an_upgrade_is_tried_first_and_taken_back_when_it_does_not_get_well(
    wheel: Path, installed: Path, stack: LocalStack, tmp_path: Path
) -> None:
    base = tmp_path / "opt"
    base.mkdir()
    (base / "current").symlink_to(installed.parent)
    agent, restart = stack.agent(), restarter(stack, base)
    where = ("--base", base, "--config", agent.config_file, "--restart", restart, "--within")
    secrets = tmp_path / "secrets"  # as systemd gives them to the service
    secrets.mkdir(mode=0o700)
    (secrets / "database-url").write_text(agent.environment["DATABASE_URL"])
    env = {"CREDENTIALS_DIRECTORY": str(secrets), "PIP_NO_INDEX": "1"}

    async def upgrade(version: str, within: int, **changed: str) -> tuple[int, str]:
        argv = (base / "current/bin/iot-agent", "upgrade", version_of(wheel, version, **changed), *where, str(within))
        return await ended(*argv, env=env)

    try:
        assert (await ended(restart, env=env))[0] == 0
        await _version(stack, "0.1.0")
        code, said = await upgrade("0.1.1", 4, **{"agent/web.py": "raise RuntimeError('broken by design')\n"})
        assert (code, "venv-0.1.1 does not get well, v runs again" in said) == (1, True), said
        await _version(stack, "0.1.0")
        code, said = await upgrade("0.1.2", 4, **{"sql/0008_more.sql": "create table iot.more ();\n"})
        assert (code, "is not at the schema of the new version, nothing was switched" in said) == (1, True), said
        code, said = await upgrade("0.1.3", 60)
        assert (code, "0.1.3 runs" in said) == (0, True), said
        await _version(stack, "0.1.3")
        assert [path.name for path in base.glob("venv*")] == ["venv-0.1.3"]  # what never ran is gone
        code, said = await ended(base / "current/bin/iot-agent", "rollback", *where, "60", env=env)
        assert (code, said) == (0, "v runs again\n")
        await _version(stack, "0.1.0")
        assert (base / "previous").readlink() == base / "venv-0.1.3"
        agent.config_file.write_text(agent.config_file.read_text().replace(f"port = {agent.port}", "port = 1"))
        code, said = await ended(base / "current/bin/iot-agent", "rollback", *where, "3", env=env)
        assert (code, "venv-0.1.3 is back, and: " in said) == (1, True), said  # it stays where one wanted it
        assert (base / "current").readlink() == base / "venv-0.1.3"
    finally:
        pid = stack.state / "pid"
        if pid.exists():
            with suppress(ProcessLookupError):  # who may not take port 1 has ended by itself
                os.kill(int(pid.read_text()), signal.SIGTERM)


async def _version(stack: LocalStack, version: str) -> None:
    """What the agent says of itself."""
    config = operations.write_profile(stack, "TEST")
    async with asyncio.timeout(30):
        while True:
            done = await asyncio.to_thread(run_cli, "--config", str(config), "doctor", "--live")
            if f"agent-1 {version}:" in done.stdout:
                return
            await asyncio.sleep(0.3)


def test_an_installation_leaves_the_version_that_runs() -> None:
    facts = Facts("/opt/iot-agent/venv", current="/opt/iot-agent/venv-0.2.0")
    assert Link(plan.PROGRAM, "/opt/iot-agent/venv-0.2.0") in plan.install(files(), facts)


def test_the_distributions_log_rotation_goes_where_nobody_reads_it() -> None:
    wrong = Facts("/opt/iot-agent/venv", diverted="/etc/logrotate.d/mosquitto.distrib")
    argvs = [step.argv for step in plan.install(files(), wrong) if isinstance(step, Command) and step.needed]
    removed, added = [argv for argv in argvs if argv[0] == "dpkg-divert"]
    assert "--remove" in removed
    assert added[added.index("--divert") + 1].endswith(".dpkg-dist")  # of logrotate's list of names to pass over


def test_root_has_the_secrets_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(service, "SECRETS", tmp_path)
    (tmp_path / "database-url").write_text("postgresql://a:b@db.example.net/d")
    settings = service.settings(ROOT / "deploy" / "agent.toml")
    assert settings.target.host == "db.example.net"
    monkeypatch.setattr(service, "SECRETS", tmp_path / "none")
    assert service.environment() == {}


HEALTHY: dict[str, object] = {"version": "2", "parts": {"canary": {"state": "ok"}, "database": {"state": "ok"}}}


def answering(*bodies: dict[str, object]) -> int:
    """A port on which each answer comes once, and the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = queue.pop(0) if len(queue) > 1 else queue[0]
            self.send_response(200 if "crit" not in str(body) else 503)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    queue = list(bodies)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_port)


def with_state(part: str, state: str) -> dict[str, object]:
    return HEALTHY | {"parts": {"canary": {"state": "ok"}, "database": {"state": "ok"}, part: {"state": state}}}


def test_well_is_as_well_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wellness, "AGAIN_SECONDS", 0.01)
    first = with_state("canary", "unknown")
    wellness.wait(Wellness(answering(first, first, HEALTHY)), "2", 5)
    wellness.wait(Wellness(answering(with_state("disk", "crit")), critical=frozenset({"disk"})), "2", 5)
    for body, why in ((with_state("database", "crit"), "critical: database"), (first, "no message has come through"),
                      (HEALTHY | {"version": "1"}, "version 1 answers")):  # fmt: skip
        with pytest.raises(StepFailed, match=why):
            wellness.wait(Wellness(answering(body)), "2", 0.2)
    assert wellness.look(answering(with_state("disk", "crit"))).critical == {"disk"}
    with pytest.raises(StepFailed, match="does not answer"):
        wellness.wait(Wellness(free_port()), "2", 0.1)
