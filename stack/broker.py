"""A private Mosquitto with the configuration that deploy/ ships: TLS, password file, ACL."""

import json
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from probes.shipped import shipped
from stack.certificates import SERVER_NAME, Authority
from stack.process import Child, StackError, first_user, give
from store.mosquitto import SALT_BYTES, password_hash

DEPLOY = shipped("deploy")
START_SECONDS = 15.0
SERVER_PORTS = range(10_000, 32_768)  # Linux gives those from 32 768 on to connections
INGEST_USER = "_ingest"
CANARY_USER = "platform/devices/canary"
PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
NOBODY = {
    "defaultACLAccess": {
        "publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True,
    },
    "clients": [], "groups": [], "roles": [],
}  # fmt: skip


def free_port() -> int:
    """A loopback TCP port that was free a moment ago, and that the system gives to no connection: it is still free for
    a server of ours that comes back after half a minute."""
    for port in random.sample(SERVER_PORTS, 100):
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise StackError(f"no free port of 127.0.0.1 from {SERVER_PORTS.start} to {SERVER_PORTS.stop - 1}")


def others_ports() -> set[int]:
    """TCP ports that are open on this machine."""
    return {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr}


def password_line(username: str, password: str) -> str:
    """A line of Mosquitto's password file."""
    return f"{username}:{password_hash(password, secrets.token_bytes(SALT_BYTES))}"


class Broker:
    """passwords: user name to password, for everyone who may log in. device_port and service_port are on loopback.

    managed: an agent writes the password and ACL files; otherwise they are ours and stand still.
    """

    def __init__(self, directory: Path, authority: Authority, managed: bool = False) -> None:
        self.directory = directory
        self.files = directory / "managed"
        self.pid_file = directory / "mosquitto.pid"
        self.managed = managed
        self.authority = authority
        self.server_name = SERVER_NAME
        self.device_port = free_port()
        self.service_port = free_port()
        self.passwords = {user: secrets.token_urlsafe(32) for user in (INGEST_USER, CANARY_USER)}
        self.more_configuration = ""  # lines behind those of deploy/mosquitto.conf
        self._user = first_user("mosquitto")
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def add_device(self, tenant: str, device: str) -> str:
        """Give a device a password; takes effect at the next start or reload. Returns its user name."""
        username = f"{tenant}/devices/{device}"
        self.passwords.setdefault(username, secrets.token_urlsafe(32))
        return username

    def write_files(self) -> None:
        """Configuration, passwords and ACL as they should be."""
        self.directory.mkdir(parents=True, exist_ok=True)
        give(self.directory, self._user)
        if not (self.directory / "server.crt").exists():
            self.authority.issue(self.directory)
        self.make_files_directory()
        if not self.managed:
            self._write_static_files()
        (self.directory / "mosquitto.conf").write_text(self._configuration())
        for path in self.directory.iterdir():
            if path.is_file():
                give(path, self._user)
                if path.suffix != ".log":
                    path.chmod(0o600)

    def directory_made(self) -> Path:
        """The directory, before the first start."""
        self.directory.mkdir(parents=True, exist_ok=True)
        give(self.directory, self._user)
        return self.directory

    def make_files_directory(self) -> None:
        """As deploy/install makes it: files that the agent puts there belong to the broker's group."""
        self.files.mkdir(parents=True, exist_ok=True)
        for path in (self.directory, self.files):
            give(path, self._user)
        self.files.chmod(0o2770)

    def _write_static_files(self) -> None:
        lines = [password_line(user, password) for user, password in sorted(self.passwords.items())]
        (self.files / "passwd").write_text("\n".join(lines) + "\n")
        shutil.copy(Path(__file__).parent / "static.acl", self.files / "acl")
        (self.files / "dynamic-security.json").write_text(json.dumps(NOBODY))
        for path in self.files.iterdir():
            give(path, self._user)
            path.chmod(0o600)

    def start(self) -> None:
        """Start and wait until both listeners answer. Raises StackError."""
        self.write_files()
        self._child = Child(
            "mosquitto", [binary(), "-c", self.directory / "mosquitto.conf"], self.directory / "broker.log", self._user
        )
        ends_at = time.monotonic() + START_SECONDS
        while not all(_listens(port) for port in (self.device_port, self.service_port)):
            if not self._child.alive or time.monotonic() > ends_at:
                raise StackError(f"Mosquitto does not start; its log ends:\n{self._child.tail()}")
            time.sleep(0.02)

    def reload(self) -> None:
        self.write_files()
        self.send(signal.SIGHUP)

    def send(self, signum: signal.Signals) -> None:
        assert self._child is not None
        self._child.send(signum)

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        assert self._child is not None
        self._child.kill()

    def _configuration(self) -> str:
        """deploy/mosquitto.conf with this machine's ports and directory, and nothing else changed."""
        text = (DEPLOY / "mosquitto.conf").read_text()
        changes = {
            "/etc/mosquitto/iot/": f"{self.directory}/",
            "listener 8883": f"listener {self.device_port} 127.0.0.1",
            "listener 8884 127.0.0.1": f"listener {self.service_port} 127.0.0.1",
            PLUGIN: str(_plugin()),
        }
        for old, new in changes.items():
            if old not in text:
                raise StackError(f"deploy/mosquitto.conf has no {old!r} any more")
            text = text.replace(old, new)
        distribution = f"pid_file {self.pid_file}\npersistence_location {self.directory}/\n"
        return text + distribution + self.more_configuration


def binary() -> Path:
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if found is None:
        raise StackError("mosquitto is not installed: run `make system`, which installs it")
    return Path(found)


def _plugin() -> Path:
    """Its directory is named after the machine's architecture."""
    found = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if found is None:
        raise StackError("mosquitto's dynamic-security plugin is not installed: run `make system`")
    return found


def version() -> str:
    """Such as 2.0.11."""
    done = subprocess.run([binary(), "-h"], capture_output=True, text=True)
    return done.stdout.split("version", 1)[-1].split()[0]


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
