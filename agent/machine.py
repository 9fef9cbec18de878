"""What the machine's own programs say of its hardening: systemd, sshd, apt. It only asks."""

import asyncio
import re
import time
from collections.abc import Sequence
from pathlib import Path

from agent.action_settings import ActionSettings
from probes import program
from probes.finding import Finding, failed, judged, passed, unknown
from probes.program import NotEndedError, NotStartedError

SECONDS = 20.0
WORST_EXPOSURE = 3.0
REBOOT_DAYS = 14
EXPOSURE = re.compile(r"Overall exposure level for (\S+?):\s+([\d.]+)")
SSH = {  # settings of `sshd -T`, and what they may be
    "permitrootlogin": ("no",),
    "passwordauthentication": ("no",),
    "kbdinteractiveauthentication": ("no",),
    "permitemptypasswords": ("no",),
    "pubkeyauthentication": ("yes",),
}
SSHD_FILES = (Path("/etc/ssh/sshd_config"), Path("/etc/ssh/sshd_config.d"))
SYSTEMD = Path("/run/systemd/system")
REBOOT = Path("/run/reboot-required")


async def sandbox(settings: ActionSettings) -> Finding:
    """The exposure that systemd-analyze gives to each unit, 0 to 10."""
    code, said = await run((*settings.sandbox_command, *settings.sandbox_units))
    scores = {name: float(score) for name, score in EXPOSURE.findall(said)}
    if code is None or len(scores) < len(settings.sandbox_units):
        return unknown(f"actions.sandbox_command: {_last(said)}")
    words = ", ".join(f"{name} {score}" for name, score in scores.items())
    return judged(max(scores.values()) <= WORST_EXPOSURE, words)


async def ssh(settings: ActionSettings) -> Finding:
    """Keys only, and nobody as root."""
    code, said = await run(settings.sshd_command)
    if code != 0:
        return unknown(f"actions.sshd_command: {_last(said)}")
    found = dict(line.lower().split(" ", 1) for line in said.splitlines() if " " in line)
    special = await asyncio.to_thread(_matches)
    if special:
        return unknown(f"{special}: what a Match block allows is not judged here")
    wrong = [f"{name} {found.get(name, 'not said')}" for name, good in SSH.items() if found.get(name) not in good]
    return judged(not wrong, "; ".join(wrong) or "keys only, and not root")


def _matches(places: Sequence[Path] = SSHD_FILES) -> str:
    """The first file with settings for some people only, "" for none or what cannot be read."""
    for place in places:
        for path in sorted(place.glob("*.conf")) if place.is_dir() else [place]:
            try:
                if re.search(r"^\s*Match\s", path.read_text(), re.MULTILINE | re.IGNORECASE):
                    return str(path)
            except OSError:
                continue
    return ""


async def renewal(settings: ActionSettings) -> Finding:
    code, said = await run(settings.renewal_command)
    if code is None:
        return unknown(f"actions.renewal_command: {_last(said)}")
    return judged(code == 0, _last(said))


async def updates(now: float | None = None, systemd: Path = SYSTEMD, reboot: Path = REBOOT) -> Finding:
    """Unattended upgrades are on; a restart that one needs is not older than two weeks."""
    if not systemd.exists():
        return passed("no service manager runs here: updates come with the machine's image")
    code, said = await run(("apt-config", "dump", "APT::Periodic"))
    if code != 0:
        return unknown("apt-config does not answer")
    if not switched_on(said):
        return failed("unattended upgrades are off")
    if reboot.exists():
        days = ((now or time.time()) - reboot.stat().st_mtime) / 86_400
        if days > REBOOT_DAYS:
            return failed(f"a restart is needed since {days:.0f} days")
    return passed("unattended upgrades are on")


def switched_on(said: str) -> bool:
    """Of `apt-config dump APT::Periodic`: lists are fetched and upgrades installed."""
    found = dict(re.findall(r'^APT::Periodic::([\w-]+) "([^"]*)"', said, re.MULTILINE))
    off = ("", "0")
    return (
        found.get("Enable", "1") not in off
        and found.get("Update-Package-Lists", "") not in off
        and found.get("Unattended-Upgrade", "") not in off
    )


def _last(said: str) -> str:
    return program.last_line(said, "no answer")[:200]


async def run(command: Sequence[str], seconds: float = SECONDS) -> tuple[int | None, str]:
    """(exit code, what it printed); no exit code when it could not be run or did not end."""
    try:
        ended = await program.run(command, seconds, merged=True)
    except (NotStartedError, NotEndedError) as error:
        return None, str(error)
    return ended.code, ended.printed
