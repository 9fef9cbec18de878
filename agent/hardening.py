"""What an agent can see of the hardening of its machine. It only looks."""

import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from probes.certificates import file_fingerprint, served
from probes.checks import Listener
from probes.finding import Finding, Outcome, failed, judged, passed, unknown
from probes.tls import verifying_context

PID_FILE = "agent.pid"
LISTEN = "0A"  # tcp_states.h
OTHERS = 0o007
GROUP_AND_OTHERS = 0o077


def listening(allowed: set[int], proc: Path = Path("/proc")) -> Finding:
    """TCP ports on addresses other than loopback, against those that may be there."""
    open_ports = {port for address, port in _sockets(proc) if not _loopback(address)}
    others = sorted(open_ports - allowed)
    said = (
        f"also open: {', '.join(map(str, others))}"
        if others
        else f"open: {', '.join(map(str, sorted(open_ports))) or 'none'}"
    )
    return judged(not others, said)


def _sockets(proc: Path) -> Iterator[tuple[bytes, int]]:
    """(address, port) of listening sockets. Source: proc(5), net/tcp; the address is in host byte order by words."""
    for name in ("tcp", "tcp6"):
        path = proc / "net" / name
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == LISTEN:
                address, _, port = fields[1].partition(":")
                words = [address[n : n + 8] for n in range(0, len(address), 8)]
                yield b"".join(struct.pack("=I", int(word, 16)) for word in words), int(port, 16)


def _loopback(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] == 127
    mapped = address[:12] == b"\0" * 10 + b"\xff\xff"
    return address == socket.inet_pton(socket.AF_INET6, "::1") or (mapped and address[12] == 127)


async def served_file(place: Listener, certificate: Path | None) -> Finding:
    """Compares what a handshake shows with the file."""
    if certificate is None:
        return unknown("actions.broker_certificate is not set")
    try:
        on_disk = file_fingerprint(certificate)
    except OSError as error:
        return unknown(f"{certificate}: {error.strerror}")
    try:
        shown = await served(place.host, place.port, verifying_context(place.ca_file, place.name))
    except (OSError, TimeoutError) as error:
        return unknown(f"nothing is served: {error}")
    return judged(shown.fingerprint == on_disk, "the file is served" if shown.fingerprint == on_disk
                  else "another one is served than the file holds: restart the broker")  # fmt: skip


def private(places: Mapping[Path, int]) -> Finding:
    """None of the files and directories has a right in its mode that is forbidden for it."""
    wrong = []
    for path, forbidden in places.items():
        try:
            mode = path.stat().st_mode & 0o777
        except OSError as error:
            return unknown(f"{path}: {error.strerror}")
        if mode & forbidden:
            wrong.append(f"{path} has mode {mode:o}")
    if not places:
        return unknown("there is nothing to look at")
    return failed(wrong[0], "\n".join(wrong)) if wrong else passed(f"{len(places)} looked at, all private")


def running(state_dir: Path, proc: Path = Path("/proc")) -> bool:
    """Whether an agent with this state directory runs."""
    try:
        pid = (state_dir / PID_FILE).read_text().strip()
        return b"agent" in (proc / pid / "cmdline").read_bytes()
    except OSError:
        return False


def unprivileged(state_dir: Path, proc: Path = Path("/proc")) -> Finding:
    """Of the agent that runs: user, capabilities, and whether it can get more. Source: proc(5)."""
    try:
        status = proc / (state_dir / PID_FILE).read_text().strip() / "status"
        said = status.read_text()
    except OSError:
        return unknown("the agent does not run, or hides from whoever asks")
    return _unprivileged(said)


def _unprivileged(status: str) -> Finding:
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    faults = []
    if fields.get("Uid", "0\t0").split("\t")[1] == "0":
        faults.append("it runs as root")
    if int(fields.get("CapEff", "0"), 16):
        faults.append(f"it has capabilities {fields['CapEff']}")
    if fields.get("NoNewPrivs", "0").strip() != "1":
        faults.append("it could get new privileges (NoNewPrivileges)")
    return (
        Finding(Outcome.FAIL, "; ".join(faults)) if faults else passed("no root, no capabilities, and none to be had")
    )
