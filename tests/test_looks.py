"""What an agent reads of its machine: configuration of the broker, secrets in the open, answers of systemd, sshd, apt."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from agent import broker_files, hardening, machine, root_looks, secrecy
from agent.action_settings import ActionSettings
from agent.creds.dynsec import first_configuration
from probes.finding import Finding, Outcome
from probes.mosquitto_conf import Configuration, parsed
from probes.redact import Redactor
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


COMPLAINTS = [
    'Error: Invalid line in acl_file "x".', "Error: Unable to open acl_file", "Error: Unable to open pwfile",
    "Error: Empty topic in acl_file.", "Error: Invalid topic access type", "Error: Invalid line in password file",
]  # fmt: skip


@pytest.mark.parametrize("text", COMPLAINTS)
def test_what_the_broker_complains_of(text: str) -> None:
    """As the program of the distribution says it."""
    line = f"2026-11-26T10:00:00: {text}"
    assert broker_files.complaint(f"New connection from x\n{line}\nsomething else\n") == line
    assert broker_files.complaint("2026-11-26T10:00:00: New client connected as acme/devices/acl_file") == ""


def test_files_that_others_may_write(tmp_path: Path) -> None:
    path = tmp_path / "acl"
    path.touch()
    for mode, outcome in ((0o640, PASS), (0o600, PASS), (0o660, FAIL), (0o644, FAIL)):
        path.chmod(mode)
        assert hardening.private({path: 0o027}).outcome is outcome
    assert hardening.private({tmp_path / "none": 0o007}).outcome is UNKNOWN


def test_a_plugin_that_allows_by_default_is_no_guard(tmp_path: Path) -> None:
    good = configuration(SHIPPED.read_text())
    file = tmp_path / "dynamic-security.json"
    file.write_text(first_configuration("x", "y"))
    assert broker_files.reload_safe(good, "2.0.11", file).outcome is PASS
    file.write_text(file.read_text().replace('"publishClientSend": false', '"publishClientSend": true'))
    assert broker_files.reload_safe(good, "2.0.11", file).outcome is FAIL
    each = configuration(
        "per_listener_settings true\n" + SHIPPED.read_text().replace("per_listener_settings false", "")
    )
    assert broker_files.reload_safe(each, "2.1.0").outcome is FAIL


def test_the_listener_of_old_has_limits_too() -> None:
    text = "port 8883\nmax_queued_messages 5\nmax_packet_size 5\nmax_keepalive 5\n"
    assert broker_files.limits(configuration(text)).outcome is FAIL
    assert broker_files.limits(configuration(f"{text}max_connections 5\n")).outcome is PASS


def test_secrets_are_found_in_every_form_and_never_told(tmp_path: Path) -> None:
    script, redact = tmp_path / "x.sh", Redactor([SECRET, "p@ss/word+123"])
    script.write_text("URL=postgresql://a:p%40ss%2Fword%2B123@h/d")
    found = secrecy.unseen(redact, f"a log with {SECRET}", [script])
    assert found == Finding(FAIL, "a secret stands in the logs of agent and broker and 1 more",
                            f"the logs of agent and broker\n{script}")  # fmt: skip
    script.write_text("echo $SECRET")
    assert secrecy.unseen(redact, "a log", [script]).outcome is PASS
    partly = secrecy.unseen(redact, "a log", [script, tmp_path / "none"], 1)
    assert (partly.outcome, "2 places are closed" in partly.found) == (UNKNOWN, True)
    assert secrecy.unseen(Redactor(), "", []).outcome is UNKNOWN


def test_where_secrets_belong_is_not_searched(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "database-url").write_text(SECRET)
    (tmp_path / "agent.toml").touch()
    assert secrecy.scripts([tmp_path], [tmp_path / "secrets"]) == [tmp_path / "agent.toml"]


def test_arguments_of_processes(tmp_path: Path) -> None:
    redact = Redactor([SECRET])
    for number, line in (("1", b"/sbin/init\0"), ("7", f"/usr/bin/psql\0--password={SECRET}\0".encode())):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_bytes(line)
    found = secrecy.no_argument(redact, tmp_path)
    assert (found.outcome, found.found) == (FAIL, "process 7 (psql) shows a secret in its arguments")
    (tmp_path / "7" / "cmdline").write_bytes(b"/usr/bin/psql\0")
    assert secrecy.no_argument(redact, tmp_path).outcome is PASS
    (tmp_path / "1" / "cmdline").unlink()
    assert "sudo iot-agent doctor --save" in secrecy.no_argument(redact, tmp_path).found


def test_what_root_has_seen_counts_for_what_only_root_sees(tmp_path: Path) -> None:
    """And never for what can be looked at now; of two answers the worse one."""
    good, bad, none = Finding(PASS, "well"), Finding(FAIL, "wrong"), Finding(UNKNOWN, "closed")
    names = ("ssh.hardened", "secrets.unseen", "smoke.read_denied")
    root_looks.save(tmp_path, dict.fromkeys(names, good), 1000.0)
    root_looks.save(tmp_path, {"secrets.unseen": bad}, 2000.0)

    def joined(own: Finding, name: str, hours: float = 1) -> Finding:
        return root_looks.joined(own, tmp_path, name, 1000.0 + hours * 3600)

    assert joined(none, "ssh.hardened") == Finding(PASS, "well (as root, 1 h ago)")
    assert joined(bad, "ssh.hardened") == bad
    assert joined(good, "secrets.unseen").outcome is FAIL
    assert joined(none, "smoke.read_denied") == none
    assert joined(none, "ssh.hardened", hours=30) == none
    (tmp_path / "doctor.json").write_text("[]")
    assert joined(none, "ssh.hardened") == none
    assert oct((tmp_path / "doctor.json").stat().st_mode & 0o777) == "0o644"


def test_a_name_in_the_agents_directory_is_not_trusted(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / ".doctor.json.new").symlink_to(precious)
    (tmp_path / "state" / "doctor.json").symlink_to(precious)
    root_looks.save(tmp_path / "state", {"ssh.hardened": Finding(PASS, "x")}, 0.0)
    assert precious.read_text() == "mine"


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
    assert secrecy.no_insecure([tmp_path], [path]).outcome is UNKNOWN  # nothing is left to look through
    path.write_text(f"# {line}\npsql 'host=x sslmode=verify-full'\ncurl --cacert ca.crt https://x\nlook --klick\n")
    assert secrecy.no_insecure([tmp_path]).outcome is PASS


def test_histories_of_shells(tmp_path: Path) -> None:
    for name in ("root", "home/anna"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ".bash_history").touch()
    found, closed = secrecy.histories([tmp_path / "root", tmp_path / "home", tmp_path / "none"])
    assert ([path.parent.name for path in found], closed) == (["root", "anna"], 0)


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


APT = 'APT::Periodic "";\nAPT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'


@pytest.mark.parametrize(
    ("said", "on"),
    [
        (APT, True),
        ("", False),
        (APT.replace('Lists "1"', 'Lists "0"'), False),
        (APT.replace('Upgrade "1"', 'Upgrade "0"'), False),
        (f'{APT}APT::Periodic::Enable "0";\n', False),
    ],
)
def test_upgrades_come_by_themselves_when_all_of_it_is_on(said: str, on: bool) -> None:
    assert machine.switched_on(said) is on


async def test_updates_and_renewal(tmp_path: Path) -> None:
    systemd, reboot = tmp_path / "systemd", tmp_path / "reboot"
    assert (await machine.updates(0, systemd, reboot)).outcome is PASS  # a container
    systemd.mkdir()
    assert (await machine.renewal(ActionSettings(renewal_command=("true",)))).outcome is PASS
    assert (await machine.renewal(ActionSettings(renewal_command=("false",)))).outcome is FAIL
    assert (await machine.renewal(ActionSettings(renewal_command=("no-such-program",)))).outcome is UNKNOWN
