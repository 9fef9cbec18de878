"""What `iot-agent install` and `uninstall` do on a Debian or Ubuntu server, in which order. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.setup.steps import Command, Folder, Gone, Link, Step, Text

USER = "iot-agent"
BROKER = "mosquitto"
BASE = "/opt/iot-agent"
PROGRAM = f"{BASE}/current"  # a link to the virtual environment in use, so that an upgrade is one rename
STATE = "/var/lib/iot-agent"
MANAGED = "/etc/mosquitto/iot/managed"
PACKAGES = ("mosquitto", "mosquitto-clients", "polkitd", "adduser")
LOGROTATE = "/etc/logrotate.d/mosquitto"  # the distribution's: it reloads the broker
LOGROTATE_ASIDE = f"{LOGROTATE}.dpkg-dist"  # a name that logrotate passes over
PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
DIVERT = ("dpkg-divert", "--quiet", "--local", "--rename")
AS_AGENT = ("setpriv", f"--reuid={USER}", f"--regid={USER}", f"--groups={USER},{BROKER}")
UNITS = ("iot-agent.service", "iot-agent-doctor.service", "iot-agent-doctor.timer")
TIMER = UNITS[2]
STARTED = (UNITS[0], TIMER)  # the doctor's own service is started by its timer
OURS = {  # file below deploy/, and where it goes
    "iot-agent.service": "/etc/systemd/system/iot-agent.service",
    "iot-agent-doctor.service": "/etc/systemd/system/iot-agent-doctor.service",
    "iot-agent-doctor.timer": "/etc/systemd/system/iot-agent-doctor.timer",
    "mosquitto-sandbox.conf": "/etc/systemd/system/mosquitto.service.d/iot.conf",
    "50-iot-agent.rules": "/etc/polkit-1/rules.d/50-iot-agent.rules",
    "logrotate.conf": "/etc/logrotate.d/iot-mosquitto",
    "journald.conf": "/etc/systemd/journald.conf.d/iot.conf",
}
THEIRS = {"agent.toml": "/etc/iot-agent/agent.toml", "mosquitto.conf": "/etc/mosquitto/conf.d/iot.conf"}


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the machine. missing: packages; plugin: the broker's dynamic-security plugin, also before it is installed.

    program: the virtual environment that runs this; current: the one that the service uses, "" when there is none.
    diverted: where the distribution's log rotation was put, "" when it was not. systemd: it runs here.
    """

    program: str
    current: str = ""
    missing: tuple[str, ...] = ()
    has_user: bool = False
    has_identity: bool = False
    has_unit: bool = False
    diverted: str = ""
    plugin: str = PLUGIN
    systemd: bool = True


def install(files: Mapping[str, str], facts: Facts) -> list[Step]:
    """files: what deploy/ ships, by name."""
    return [
        *_packages(facts),
        *_places(),
        Link(PROGRAM, facts.current or facts.program),  # another version is for `upgrade`, which tries it first
        Link("/usr/local/bin/iot-agent", f"{PROGRAM}/bin/iot-agent"),
        *(Text(target, _fitting(files[name], facts), keep=True) for name, target in THEIRS.items()),
        Command((*AS_AGENT, f"{PROGRAM}/bin/iot-agent", "creds", "init"), needed=not facts.has_identity),
        *_rotation_aside(facts),
        *(Text(target, files[name]) for name, target in OURS.items()),
        Command(("systemctl", "daemon-reload"), needed=facts.systemd),
        Command(("systemctl", "enable", "--quiet", "mosquitto.service", *STARTED), needed=facts.systemd),
        Command(("systemctl", "start", TIMER), needed=facts.systemd),
        Command(("systemctl", "try-restart", "systemd-journald.service"), needed=facts.systemd),
    ]


def _rotation_aside(facts: Facts) -> list[Step]:
    """The distribution's log rotation out of the way, where logrotate does not read it."""
    there = facts.diverted == LOGROTATE_ASIDE
    return [
        Command((*DIVERT, "--remove", LOGROTATE), needed=bool(facts.diverted) and not there),
        Command((*DIVERT, "--divert", LOGROTATE_ASIDE, "--add", LOGROTATE), needed=not there),
    ]


def _packages(facts: Facts) -> list[Step]:
    argv = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *facts.missing)
    user = ("adduser", "--quiet", "--system", "--group", "--no-create-home", "--home", STATE, USER)
    return [
        Command(("apt-get", "update", "-qq"), needed=bool(facts.missing)),
        Command(("env", "DEBIAN_FRONTEND=noninteractive", *argv), needed=bool(facts.missing)),
        Command(user, needed=not facts.has_user),
    ]


def _places() -> list[Step]:
    return [
        Folder(BASE, 0o755),
        Folder("/etc/iot-agent", 0o755),
        Folder("/etc/iot-agent/secrets", 0o700),
        Folder("/etc/mosquitto/iot", 0o755),
        Folder(MANAGED, 0o2770, BROKER, BROKER),  # setgid: what the agent puts there belongs to the broker's group
        Folder(STATE, 0o700, USER, USER),
    ]


def _fitting(text: str, facts: Facts) -> str:
    """The plugin's directory is named after the machine's architecture."""
    return text.replace(PLUGIN, facts.plugin or PLUGIN)


def stop(facts: Facts) -> list[Step]:
    """What comes before an uninstallation; only then the spool is what it will be."""
    argv = ("systemctl", "disable", "--quiet", "--now", *STARTED)
    return [Command(argv, needed=facts.systemd and facts.has_unit)]


def uninstall(facts: Facts, purge: bool) -> list[Step]:
    """Configuration, secrets, state and the broker stay unless purge; the database is never touched."""
    steps: list[Step] = [
        *(Gone(target) for target in OURS.values()),
        Command((*DIVERT, "--remove", LOGROTATE), needed=bool(facts.diverted)),
        Gone("/etc/systemd/system/mosquitto.service.d"),
        Gone("/etc/systemd/journald.conf.d"),
        Gone("/usr/local/bin/iot-agent"),
        Gone(PROGRAM),
        Command(("systemctl", "daemon-reload"), needed=facts.systemd),
    ]
    if purge:
        steps += [
            Gone(THEIRS["mosquitto.conf"]),
            *(Gone(path, whole=True) for path in ("/etc/iot-agent", "/etc/mosquitto/iot", STATE, BASE)),
            Command(("deluser", "--quiet", "--system", USER), needed=facts.has_user),
        ]
    return steps
