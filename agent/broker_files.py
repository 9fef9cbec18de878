"""What the broker's files say of its hardening. It only reads them."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from agent.creds.files import FileError, FileStore
from probes import mosquitto_conf, program
from probes.finding import Finding, failed, judged, passed, unknown
from probes.mosquitto_conf import Configuration
from probes.program import NotEndedError, NotStartedError

LIMITS = ("max_queued_messages", "max_packet_size", "max_keepalive")
DAMAGED = re.compile(
    r"Unable to open (?:acl|password)_?\w*|Invalid line in acl_file|Error opening (?:acl|pwfile|password)",
    re.IGNORECASE,
)
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
PLUGIN = "mosquitto_dynamic_security"
CLOSED_SINCE = (2, 1)  # from this version on, the broker ends instead of opening up
PACKAGE = "mosquitto"
SECONDS = 15.0


def configuration(path: Path) -> Configuration:
    """Raises OSError, ValueError."""
    return mosquitto_conf.parsed(
        str(path), lambda name: Path(name).read_text(), lambda name: [str(one) for one in Path(name).glob("*.conf")]
    )


def limits(found: Configuration) -> Finding:
    """Each listener that others reach limits its connections; queues and packets are limited for all."""
    missing = [name for name in LIMITS if found.everywhere(name) in ("", "0")]
    missing += [
        f"max_connections of listener {one.port}"
        for one in found.listeners
        if not one.local and one.options.get("max_connections", "-1") == "-1"
    ]
    return judged(
        not missing, f"no limit: {', '.join(missing)}" if missing else "connections, packets and queues are limited"
    )


def persistent(found: Configuration) -> Finding:
    if found.everywhere("persistence") != "true":
        return failed("persistence is not set: a restart of the broker loses what it queued")
    every = found.everywhere("autosave_interval") or "1800"
    return judged(0 < int(every) <= 300, f"saved every {every} s")


def reload_safe(found: Configuration, version: str) -> Finding:
    """Mosquitto 2.0 lets everybody do everything after a reload of a damaged ACL file, unless the plugin denies."""
    digits = [int(part) for part in re.findall(r"\d+", version)[:2]]
    guarded = any(PLUGIN in plugin for plugin in found.plugins)
    if guarded:
        return passed(f"{version or 'the broker'} has the dynamic-security plugin, which denies what no file allows")
    if not digits:
        return unknown("the broker's version is not known yet")
    if tuple(digits) >= CLOSED_SINCE:
        return passed(f"{version} ends when a file is damaged")
    return failed(
        f"{version} opens up after a reload of a damaged ACL file, and the dynamic-security plugin is not loaded"
    )


def damaged_since(log: str, written_at: float) -> str:
    """What the broker complained of when it loaded the files that are there now; "" for nothing.

    written_at: seconds since 1970. The log has this machine's time, in whole seconds.
    """
    for line in log.splitlines():
        if not DAMAGED.search(line):
            continue
        stamp = STAMP.match(line)
        said_at = datetime.fromisoformat(stamp[0]).timestamp() if stamp else written_at
        if said_at >= int(written_at):
            return line.strip()
    return ""


def files_private(files: Sequence[Path]) -> Finding:
    """No mode lets others read or write them."""
    wrong = []
    for path in files:
        try:
            mode = path.stat().st_mode & 0o777
        except OSError as error:
            return unknown(f"{path}: {error.strerror}")
        if mode & 0o027:
            wrong.append(f"{path} has mode {mode:o}")
    return failed(wrong[0], "\n".join(wrong)) if wrong else passed(f"{len(files)} looked at")


def kept(files: FileStore) -> Finding:
    """A proved set on the disk, with which the agent goes back when the database is away."""
    try:
        found = files.kept()
    except FileError as error:
        return unknown(str(error))
    return failed("no proved set is kept") if found is None else passed(f"set {found[0]} is kept, complete")


async def current() -> Finding:
    """The installed package against those that the machine's package lists know."""
    try:
        ended = await program.run(("apt-cache", "policy", PACKAGE), SECONDS)
    except (NotStartedError, NotEndedError) as error:
        return unknown(str(error))
    found = dict(re.findall(r"^  (Installed|Candidate): (\S+)", ended.printed, re.MULTILINE))
    installed, candidate = found.get("Installed", "(none)"), found.get("Candidate", "(none)")
    if "(none)" in (installed, candidate):
        return unknown(f"the distribution's package {PACKAGE} is not installed")
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        return unknown("this machine has no package lists: apt-get update")
    return judged(installed == candidate, f"{installed} is the newest" if installed == candidate else
                  f"{installed}, and there is {candidate}")  # fmt: skip
