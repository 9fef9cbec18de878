"""Whether the devices' listener answers, and with which certificate: a hung broker never ends the handshake."""

import asyncio
import ssl

from probes.broker import BrokerLogin
from probes.certificates import Served, served

SECONDS = 5.0


class BrokerWatch:
    """answers: None before the first look. certificate: the last one that was verified."""

    def __init__(self, login: BrokerLogin) -> None:
        self.answers: bool | None = None
        self.certificate: Served | None = None
        self._login = login

    async def run(self) -> None:
        while True:
            self.answers = await self._look()
            await asyncio.sleep(SECONDS)

    async def _look(self) -> bool:
        """An answer that cannot be verified is one: the certificate has rules of its own."""
        login = self._login
        try:
            async with asyncio.timeout(SECONDS):
                self.certificate = await served(login.host, login.port, login.tls)
        except ssl.SSLCertVerificationError:
            return True
        except (OSError, TimeoutError):
            return False
        return True
