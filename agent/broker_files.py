"""What the broker's files say of its hardening. It only reads them."""

import json
import re
from pathlib import Path

from agent.creds.files import FileError, FileStore
from probes import mosquitto_conf, program
from probes.finding import Finding, failed, judged, passed, unknown
from probes.mosquitto_conf import Configuration
from probes.program import NotEndedError, NotStartedError

LIMITS = ("max_queued_messages", "max_packet_size", "max_keepalive")
DAMAGED = re.compile(
    r"(?:Error|Warning).*(?:acl[_ ]file|ACL topic|topic access type|pwfile|password[_ ]file)", re.IGNORECASE
)
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
    said = f"no limit: {', '.join(missing)}" if missing else "connections, packets and queues are limited"
    return judged(not missing, said)


def persistent(found: Configuration) -> Finding:
    if found.everywhere("persistence") != "true":
        return failed("persistence is not set: a restart of the broker loses what it queued")
    every = found.everywhere("autosave_interval") or "1800"
    return judged(0 < int(every) <= 300, f"saved every {every} s")


def reload_safe(found: Configuration, version: str, dynsec: Path | None = None) -> Finding:
    """Mosquitto 2.0 lets everybody do everything after a reload of a damaged ACL file, unless the plugin denies.

    dynsec: the plugin's file, if it can be looked into.
    """
    if found.everywhere("per_listener_settings") == "true":
        return failed("per_listener_settings: what guards one listener does not guard the others")
    digits = [int(part) for part in re.findall(r"\d+", version)[:2]]
    if any(PLUGIN in plugin for plugin in found.plugins):
        open_by_default = _allows(dynsec) if dynsec is not None else []
        if open_by_default:
            return failed(f"the dynamic-security plugin allows {', '.join(open_by_default)} by default")
        return passed(f"{version or 'the broker'} has the dynamic-security plugin, which denies what no file allows")
    if not digits:
        return unknown("the broker's version is not known yet")
    if tuple(digits) >= CLOSED_SINCE:
        return passed(f"{version} ends when a file is damaged")
    return failed(
        f"{version} opens up after a reload of a damaged ACL file, and the dynamic-security plugin is not loaded"
    )


def _allows(dynsec: Path) -> list[str]:
    """What everybody may do by the plugin's defaults. Raises OSError, ValueError."""
    defaults = json.loads(dynsec.read_text()).get("defaultACLAccess", {})
    dangerous = ("publishClientSend", "publishClientReceive", "subscribe")
    return [name for name in dangerous if defaults.get(name, True)]


def complaint(log: str) -> str:
    """The last line in which the broker said that it could not read passwords or rights; "" for none."""
    return next((line.strip() for line in reversed(log.splitlines()) if DAMAGED.search(line)), "")


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
