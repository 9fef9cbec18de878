"""What the machine's own programs say of its hardening: systemd, sshd, apt. It only asks."""

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
SYSTEMD = Path("/run/systemd/system")
REBOOT = Path("/run/reboot-required")


async def sandbox(settings: ActionSettings) -> Finding:
    """The exposure that systemd-analyze gives to each unit, 0 to 10."""
    code, said = await _run((*settings.sandbox_command, *settings.sandbox_units))
    scores = {name: float(score) for name, score in EXPOSURE.findall(said)}
    if code is None or len(scores) < len(settings.sandbox_units):
        last = (said.strip().splitlines() or ["no answer"])[-1]
        return unknown(f"actions.sandbox_command: {last[:200]}")
    words = ", ".join(f"{name} {score}" for name, score in scores.items())
    return judged(max(scores.values()) <= WORST_EXPOSURE, words)


async def ssh(settings: ActionSettings) -> Finding:
    """Keys only, and nobody as root."""
    code, said = await _run(settings.sshd_command)
    if code != 0:
        last = (said.strip().splitlines() or ["no answer"])[-1]
        return unknown(f"actions.sshd_command: {last[:200]}")
    found = dict(line.lower().split(" ", 1) for line in said.splitlines() if " " in line)
    wrong = [f"{name} {found.get(name, 'not said')}" for name, good in SSH.items() if found.get(name) not in good]
    return judged(not wrong, "; ".join(wrong) or "keys only, and not root")


async def renewal(settings: ActionSettings) -> Finding:
    code, said = await _run(settings.renewal_command)
    last = (said.strip().splitlines() or ["no answer"])[-1][:200]
    if code is None:
        return unknown(f"actions.renewal_command: {last}")
    return judged(code == 0, last)


async def updates(now: float | None = None, systemd: Path = SYSTEMD, reboot: Path = REBOOT) -> Finding:
    """Unattended upgrades are on; a restart that one needs is not older than two weeks."""
    if not systemd.exists():
        return passed("no service manager runs here: updates come with the machine's image")
    code, said = await _run(("apt-config", "dump", "APT::Periodic"))
    if code != 0:
        return unknown("apt-config does not answer")
    on = re.search(r'^APT::Periodic::Unattended-Upgrade "([^"]*)"', said, re.MULTILINE)
    if on is None or on[1] in ("", "0"):
        return failed("unattended upgrades are off")
    if reboot.exists():
        days = ((now or time.time()) - reboot.stat().st_mtime) / 86_400
        if days > REBOOT_DAYS:
            return failed(f"a restart is needed since {days:.0f} days")
    return passed("unattended upgrades are on")


async def _run(command: Sequence[str]) -> tuple[int | None, str]:
    """(exit code, what it printed); no exit code when it could not be run or did not end."""
    try:
        ended = await program.run(command, SECONDS, merged=True)
    except (NotStartedError, NotEndedError) as error:
        return None, str(error)
    return ended.code, ended.printed
