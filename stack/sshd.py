"""A real OpenSSH server on loopback, for one key, with a client config that leads to it."""

import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from stack.broker import free_port
from stack.process import Child, StackError

SSHD = "/usr/sbin/sshd"
START_SECONDS = 15.0


class SshServer:
    """directory: new, for keys and configs. Whoever has `client_config` may log in as the user who runs this."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self.port = free_port()
        self.client_config = directory / "config"
        self._directory = directory
        self._known_hosts = directory / "known_hosts"
        self._child: Child | None = None
        self._key("client")
        self.new_host_key()
        self.trust_host_key()
        (directory / "authorized_keys").write_text((directory / "client.pub").read_text())
        self._write_configs()

    def _key(self, name: str) -> None:
        path = self._directory / name
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)

    def new_host_key(self) -> None:
        """As after somebody put another machine there. Takes effect at the next start."""
        self._key("host")

    def trust_host_key(self) -> None:
        """Write the present host key into the client's known hosts."""
        key = (self._directory / "host.pub").read_text()
        self._known_hosts.write_text(f"[127.0.0.1]:{self.port} {key}")

    def forget_host_key(self) -> None:
        self._known_hosts.write_text("")

    def refuse_key(self) -> None:
        """Nobody may log in any more."""
        (self._directory / "authorized_keys").write_text("")

    def _write_configs(self) -> None:
        here = self._directory
        server = {
            "ListenAddress": f"127.0.0.1:{self.port}", "HostKey": here / "host", "PidFile": "none", "UsePAM": "no",
            "AuthorizedKeysFile": here / "authorized_keys", "StrictModes": "no", "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no", "AllowTcpForwarding": "yes", "PermitRootLogin": "prohibit-password",
            "LogLevel": "ERROR",
        }  # fmt: skip
        client = {
            "HostName": "127.0.0.1", "Port": self.port, "IdentityFile": here / "client", "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self._known_hosts, "GlobalKnownHostsFile": "/dev/null", "IdentityAgent": "none",
        }  # fmt: skip
        (here / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in server.items()))
        lines = "".join(f"  {name} {value}\n" for name, value in client.items())
        self.client_config.write_text(f"Host vm\n{lines}")

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it does not start without, though it stays empty
        argv = [SSHD, "-D", "-e", "-f", str(self._directory / "sshd_config")]
        self._child = Child("sshd", argv, self._directory / "sshd.log")
        ends_at = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if not self._child.alive or time.monotonic() > ends_at:
                raise StackError(f"sshd does not listen; its log ends:\n{self._child.tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """The server and every session of it."""
        if self._child is None:
            return
        sessions = psutil.Process(self._child.pid).children(recursive=True)
        self._child.stop()
        for session in sessions:
            with suppress(psutil.NoSuchProcess):
                session.kill()
        self._child = None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
