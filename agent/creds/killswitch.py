"""Cutting single users off, faster than any file can be read again, and tidying up afterwards."""

from collections.abc import Sequence

import structlog

from agent.creds.control import Control
from agent.creds.identity import Identities
from agent.creds.verify import Access
from probes.mqtt import connect

log = structlog.get_logger()
SINGLY = 50  # more at once go by one reload, which costs less than as many commands


class KillSwitch:
    """Users are cut off until a set without them is in force. Methods raise BrokerError."""

    def __init__(self, control: Control, access: Access) -> None:
        self._control = control
        self._access = access
        self._cut: set[str] = set()

    async def cut_off(self, usernames: Sequence[str]) -> None:
        """Those that are not cut off yet; nothing without a connection, for then the reload does it."""
        fresh = [name for name in usernames if name not in self._cut]
        dynsec = self._control.dynsec
        if fresh and len(usernames) <= SINGLY and dynsec is not None:
            await dynsec.cut_off(fresh)
            self._cut.update(fresh)
            log.info("cut off", users=fresh)

    async def tidy(self, identities: Identities, gone: Sequence[str]) -> list[str]:
        """After a set is in force: leave nobody in the plugin but ourselves, and drop the sessions that the broker
        keeps for `gone`. Returns users of the plugin that somebody else had put there; they are removed."""
        dynsec = self._control.dynsec
        if dynsec is None:
            return []
        ours = {i.control for i in identities.valid()}
        others = [client for client in await dynsec.clients() if client.username not in ours]
        await dynsec.lift([client.username for client in others])
        self._cut.clear()
        ingest = identities.current
        for name in gone:  # a device's client id is its user name; a clean session of that id replaces what is kept
            async with connect(self._access.as_service(ingest.ingest, ingest.ingest_password, name)):
                pass
        return [client.username for client in others if not client.disabled]
