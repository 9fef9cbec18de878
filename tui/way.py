"""The way to a database: which one, as whom, and through what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from store.target import Target
from tui import tunnel
from tui.tunnel import Tunnel


@dataclass(frozen=True, slots=True)
class Way:
    """ssh: USER@HOST of a tunnel, None for a direct connection. name: of the profile, "" without one."""

    target: Target
    ssh: str | None = None
    name: str = ""
    ssh_config: Path | None = None

    @property
    def words(self) -> str:
        """For the status line."""
        if self.ssh:
            return f"{self.target.database} through ssh {self.ssh.rpartition('@')[2]}"
        address = "local socket" if self.target.local_socket else f"{self.target.host}:{self.target.port}"
        return f"{self.target.database} on {address}"


@asynccontextmanager
async def opened(way: Way) -> AsyncIterator[tuple[Target, Tunnel | None]]:
    """Where to connect; with a tunnel that keeps itself up, it may take a moment until that stands."""
    if way.ssh is None:
        yield way.target, None
        return
    async with tunnel.opened(way.ssh, way.target, way.ssh_config) as (target, held):
        yield target, held
