"""Changing the agent's own logins: introduce the new ones, use them, remove the old ones."""

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from agent.creds import identity
from agent.creds.control import Control
from agent.creds.identity import Identities, Identity

log = structlog.get_logger()


class OwnLogins:
    """Each step is saved before it is relied on, so a crash anywhere leaves both identities valid.

    days: age at which they are changed. on_change is told which identity to use from now on.
    """

    def __init__(self, state_dir: Path, days: float, on_change: Callable[[Identity], None]) -> None:
        self.identities = identity.load(state_dir)
        self._state_dir = state_dir
        self._days = days
        self._on_change = on_change

    async def advance(self, control: Control, proved: bool) -> bool:
        """One step, if one is possible. proved: what `identities` says now is in force at the broker.

        Returns True when the files must be written again. Raises BrokerError, OSError.
        """
        have, dynsec = self.identities, control.dynsec
        if have.coming is None and have.going is None:
            return self._begin(have)
        if dynsec is None:
            return False
        if have.coming is not None:
            await dynsec.add_admin(have.coming.control, have.coming.control_password)
            if proved:
                self._keep(Identities(have.coming, going=have.current))
                self._on_change(have.coming)
                control.reconnect()
            return False
        if have.going is None or control.logged_in_as != have.current.control:
            return False
        await dynsec.lift([have.going.control])
        identity.requested(self._state_dir, forget=True)
        self._keep(Identities(have.current))
        log.info("the agent's own logins were changed", slot=have.current.slot)
        return True

    @property
    def under_way(self) -> bool:
        return self.identities.coming is not None or self.identities.going is not None

    def _begin(self, have: Identities) -> bool:
        now = time.time()
        if not identity.requested(self._state_dir) and not identity.is_due(have.current, self._days, now):
            return False
        self._keep(Identities(have.current, coming=have.current.other(now)))
        return True

    def _keep(self, identities: Identities) -> None:
        identity.save(self._state_dir, identities)
        self.identities = identities
