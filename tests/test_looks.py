"""What an agent reads of its machine: configuration of the broker, secrets in the open, answers of systemd, sshd, apt."""

import asyncio
import os
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from agent import broker_files, machine, secrecy
from agent.action_settings import ActionSettings
from probes.finding import Finding, Outcome
from probes.mosquitto_conf import Configuration, parsed
from stack.operations import units

PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN
ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "deploy" / "mosquitto.conf"
SECRET = "a-secret-of-the-agent"


def configuration(text: str) -> Configuration:
    return parsed("x", lambda _: text, lambda _: [])


def test_a_configuration_with_what_it_includes(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "b.conf").write_text("listener 8884 127.0.0.1\nmax_connections 5\n")
    (tmp_path / "conf.d" / "a.conf").write_text("# nothing\n\npersistence true\nlistener 8883\n")
    (tmp_path / "conf.d" / "left.out").write_text("listener 1883\n")
    main = tmp_path / "mosquitto.conf"
    main.write_text(f"max_keepalive 60\ninclude_dir {tmp_path}/conf.d\n")
    found = broker_files.configuration(main)
    assert [(one.port, one.address, one.local) for one in found.listeners] == [
        (8883, "", False),
        (8884, "127.0.0.1", True),
    ]
    assert (found.general, found.listeners[1].options) == (
        {"max_keepalive": "60", "persistence": "true"}, {"max_connections": "5"},
    )  # fmt: skip
    with pytest.raises(ValueError, match="a port was expected"):
        configuration("listener x")
    with pytest.raises(ValueError, match="too many files"):
        parsed("x", lambda _: "include_dir x", lambda _: ["x"])


def test_what_we_ship_is_well_and_each_thing_less_is_not() -> None:
    text = SHIPPED.read_text()
    good = configuration(text)
    for judge in (broker_files.limits, broker_files.persistent):
        assert judge(good).outcome is PASS
    assert broker_files.reload_safe(good, "2.0.11").outcome is PASS
    for line in (
        "max_queued_messages 200000",
        "max_packet_size 1048576",
        "max_keepalive 3600",
        "max_connections 20000",
    ):
        found = broker_files.limits(configuration(text.replace(line, "")))
        assert (found.outcome, line.split()[0] in found.found) == (FAIL, True)
    assert broker_files.persistent(configuration(text.replace("persistence true", ""))).outcome is FAIL
    assert broker_files.persistent(configuration(text.replace("autosave_interval 30", ""))).outcome is FAIL
    bare = configuration("\n".join(line for line in text.splitlines() if not line.startswith("plugin ")))
    outcomes = [broker_files.reload_safe(bare, version).outcome for version in ("2.0.11", "2.0.22", "2.1.0", "")]
    assert outcomes == [FAIL, FAIL, PASS, UNKNOWN]


def test_only_complaints_about_the_files_that_are_there_count() -> None:
    bad = '2026-11-26T10:00:00: Error: Invalid line in acl_file "x".'
    said_at = datetime.fromisoformat("2026-11-26T10:00:00").timestamp()
    log = f"2026-11-26T09:59:00: New connection\n{bad}\n2026-11-26T10:00:01: something else\n"
    assert broker_files.damaged_since(log, said_at - 5) == bad
    assert broker_files.damaged_since(log, said_at + 0.4) == bad  # within the same second
    assert broker_files.damaged_since(log, said_at + 1) == ""
    assert broker_files.damaged_since("Error: Unable to open acl_file", said_at) == "Error: Unable to open acl_file"


def test_files_that_others_may_write(tmp_path: Path) -> None:
    path = tmp_path / "acl"
    path.touch()
    for mode, outcome in ((0o640, PASS), (0o600, PASS), (0o660, FAIL), (0o644, FAIL)):
        path.chmod(mode)
        assert broker_files.files_private([path]).outcome is outcome
    assert broker_files.files_private([tmp_path / "none"]).outcome is UNKNOWN


def test_secrets_are_found_and_never_told(tmp_path: Path) -> None:
    script = tmp_path / "x.sh"
    script.write_text(f"echo {SECRET}")
    found = secrecy.unseen([SECRET, "short"], f"a log with {SECRET}", [script, tmp_path / "none"])
    assert found == Finding(FAIL, "a secret stands in the logs of agent and broker and 1 more",
                            f"the logs of agent and broker\n{script}")  # fmt: skip
    script.write_text("echo $SECRET")
    assert secrecy.unseen([SECRET], "a log", [script, tmp_path / "none"]).found.endswith("; 1 could not be read")
    assert secrecy.unseen(["short"], "", []).outcome is UNKNOWN


def test_arguments_of_processes(tmp_path: Path) -> None:
    for number, line in (("1", b"/sbin/init\0"), ("7", f"/usr/bin/psql\0--password={SECRET}\0".encode())):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_bytes(line)
    found = secrecy.no_argument([SECRET], tmp_path)
    assert (found.outcome, found.found) == (FAIL, "process 7 (psql) shows a secret in its arguments")
    (tmp_path / "7" / "cmdline").write_bytes(b"/usr/bin/psql\0")
    assert secrecy.no_argument([SECRET], tmp_path).outcome is PASS
    (tmp_path / "1" / "cmdline").unlink()
    assert "sudo iot-agent doctor --save" in secrecy.no_argument([SECRET], tmp_path).found


INSECURE = [
    "mosquitto_sub --insecure -h x", "client.tls_insecure_set(True)", "curl -s -k https://x", "ctx.verify_mode = ssl.CERT_NONE",
    "psql 'host=x sslmode=require'", "requests.get(url, verify=False)", "ssh -o StrictHostKeyChecking=no x",
    "bridge_insecure true", "rejectUnauthorized: false",
]  # fmt: skip


@pytest.mark.parametrize("line", INSECURE)
def test_ways_to_switch_verification_off(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(f"ok\n{line}\n")
    found = secrecy.no_insecure([tmp_path])
    assert (found.outcome, found.evidence) == (FAIL, f"{path}:2")
    path.write_text(f"# {line}\npsql 'host=x sslmode=verify-full'\ncurl --cacert ca.crt https://x\nlook --klick\n")
    assert secrecy.no_insecure([tmp_path]).outcome is PASS


def test_histories_of_shells(tmp_path: Path) -> None:
    (tmp_path / "home" / "anna").mkdir(parents=True)
    (tmp_path / "home" / "anna" / ".bash_history").touch()
    assert [p.name for p in secrecy.histories(tmp_path / "home", tmp_path / "root")] == [".bash_history"]


# -- the machine's own programs


async def test_bothunits_are_in_a_sandbox(tmp_path: Path) -> None:
    """Offline, as in CI: what systemd-analyze gives to our unit, and to the distribution's broker with our drop-in."""
    command = ("systemd-analyze", "security", "--offline=true", f"--root={units(tmp_path)}", "--no-pager")
    found = await machine.sandbox(ActionSettings(sandbox_command=command))
    assert found.outcome is PASS
    scores = [float(word) for word in found.found.replace(",", "").split() if word[0].isdigit()]
    assert len(scores) == 2
    assert max(scores) <= 2.0
    (tmp_path / "etc/systemd/system/mosquitto.service.d/iot.conf").unlink()
    assert (await machine.sandbox(ActionSettings(sandbox_command=command))).outcome is FAIL
    gone = ActionSettings(sandbox_command=("false",))
    assert (await machine.sandbox(gone)).outcome is UNKNOWN


async def test_what_sshd_says_of_itself(tmp_path: Path) -> None:
    """A real sshd, with the settings that we ship and without them."""
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "host")]
    await asyncio.to_thread(subprocess.run, keygen, check=True)
    file = tmp_path / "sshd_config"
    base = f"HostKey {tmp_path}/host\n"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    settings = ActionSettings(sshd_command=("/usr/sbin/sshd", "-T", "-f", str(file)))
    file.write_text(base + (ROOT / "deploy" / "sshd.conf").read_text())
    assert await machine.ssh(settings) == Finding(PASS, "keys only, and not root")
    file.write_text(base)
    found = await machine.ssh(settings)
    assert (found.outcome, "passwordauthentication yes" in found.found) == (FAIL, True)
    file.write_text("Nonsense yes\n")
    assert (await machine.ssh(settings)).outcome is UNKNOWN


async def test_updates_and_renewal(tmp_path: Path) -> None:
    systemd, reboot = tmp_path / "systemd", tmp_path / "reboot"
    assert (await machine.updates(0, systemd, reboot)).outcome is PASS  # a container
    systemd.mkdir()
    now = asyncio.get_running_loop().time()
    found = await machine.updates(now, systemd, reboot)
    assert found.found in ("unattended upgrades are off", "unattended upgrades are on")
    assert (await machine.renewal(ActionSettings(renewal_command=("true",)))).outcome is PASS
    assert (await machine.renewal(ActionSettings(renewal_command=("false",)))).outcome is FAIL
    assert (await machine.renewal(ActionSettings(renewal_command=("no-such-program",)))).outcome is UNKNOWN
