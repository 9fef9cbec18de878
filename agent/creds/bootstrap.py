"""The first files of a broker, written before it starts: nobody but the agent can log in."""

import time
from pathlib import Path

from agent.creds import identity, render, verify
from agent.creds.dynsec import first_configuration
from agent.creds.files import FileStore
from agent.creds.identity import Identities

DYNSEC_FILE = "dynamic-security.json"
BROKER_WRITES = 0o660  # 2.0.11 overwrites the file itself, later versions rename


class AlreadyThere(Exception):
    """Something would be overwritten."""


def init(directory: Path, state_dir: Path, force: bool) -> list[Path]:
    """Make the agent's logins and the files that the broker needs to start; returns the paths.

    force: replace them. Devices that are in the password file stay there until the first set is applied.
    Raises AlreadyThere, OSError.
    """
    store, state = FileStore(directory), state_dir / identity.FILE
    targets = [directory / name for name in (render.PASSWORD_FILE, render.ACL_FILE, DYNSEC_FILE)] + [state]
    there = [str(path) for path in targets if path.exists()]
    if there and not force:
        raise AlreadyThere(f"exists already: {', '.join(there)}; --force replaces them, then restart the broker")
    before = store.read()
    mine = identity.new_identity("a", time.time())
    own = [*mine.logins(), *verify.new_probes(0).logins()]
    kept = render.device_lines(before.passwd) if before else []
    files = render.render(own, kept, (), per_user=False)
    identity.save(state_dir, Identities(mine))
    store.write(DYNSEC_FILE, first_configuration(mine.control, mine.control_password), BROKER_WRITES)
    store.publish(files)
    return targets
