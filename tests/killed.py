"""An agent's credential part that kills itself, as kill -9 would, when it reaches a step. Run as a program."""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.creds import identity
from agent.creds.applier import Applier
from agent.creds.files import FileStore
from agent.creds.killswitch import KillSwitch
from agent.creds.reconciler import Reconciler, Timing
from agent.creds.signals import Signals
from agent.creds.takeover import OwnLogins
from agent.creds.verify import Access
from probes.broker import BrokerLogin
from probes.tls import verifying_context
from store.db import connected
from store.target import parse_target


async def main() -> None:
    given = json.loads(sys.argv[1])

    def die(step: str) -> None:
        if step == given["step"]:
            os.kill(os.getpid(), signal.SIGKILL)

    _die_around(given["step"], die)
    tls = verifying_context(Path(given["ca_file"]), given["server_name"])
    access = Access(*(BrokerLogin("127.0.0.1", given[name], tls, "", "") for name in ("service_port", "device_port")))
    state_dir = Path(given["state_dir"])
    applier = Applier(FileStore(Path(given["files"])), Signals(Path(given["pid_file"]), (), ()), access, die)
    async with connected(parse_target(given["url"]), "killed", 4) as db:
        logins = OwnLogins(state_dir, 90, lambda _: None)
        await Reconciler(db, "agent-1", applier, access, logins, Timing(0.2, 3600)).run()


def _die_around(step: str, die: Callable[[str], None]) -> None:
    """Steps that are not the applier's: after the cut-off, after the tidying, at each save of the own logins."""
    cut_off, tidy, save = KillSwitch.cut_off, KillSwitch.tidy, identity.save
    saves = itertools.count(1)

    async def dying_cut_off(self: KillSwitch, usernames: Sequence[str]) -> None:
        await cut_off(self, usernames)
        if usernames:
            die("cut off")

    async def dying_tidy(self: KillSwitch, identities: identity.Identities, gone: Sequence[str]) -> list[str]:
        found = await tidy(self, identities, gone)
        die("tidied")
        return found

    def dying_save(state_dir: Path, identities: identity.Identities) -> None:
        save(state_dir, identities)
        die(f"identity {next(saves)}")

    for owner, name, dying in (
        (KillSwitch, "cut_off", dying_cut_off),
        (KillSwitch, "tidy", dying_tidy),
        (identity, "save", dying_save),
    ):
        setattr(owner, name, dying)


if __name__ == "__main__":
    asyncio.run(main())
