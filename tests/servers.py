"""What tests say to their servers."""

from dataclasses import dataclass
from pathlib import Path

import asyncpg

from stack.postgres import Cluster
from store import people
from store.db import connected
from store.members import Role
from store.target import parse_target

TEMPLATE = "iot_template"


@dataclass(frozen=True)
class Database:
    """One database of a cluster."""

    cluster: Cluster
    name: str

    @property
    def owner_url(self) -> str:
        return self.cluster.owner_url(self.name)

    async def agent_url(self, login: str = "iot_agent_test", socket_dir: Path | None = None) -> str:
        """A URL for an agent's login, which gets a new password."""
        async with connected(parse_target(self.owner_url), "test", 2) as db:
            password = await people.put_agent(db, login)
        return self.cluster.url(login, password, self.name, socket_dir)

    async def person_url(self, login: str, tenant: str, role: Role = Role.OWNER) -> str:
        async with connected(parse_target(self.owner_url), "test", 2) as db:
            password = await people.put_owner(db, login, tenant)
            await db.execute("update iot.members set role = $2 where login = $1", login, role.value)
            await db.execute("select iot.regroup($1)", login)
        return self.cluster.url(login, password, self.name)

    async def superuser(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self.cluster.superuser_url(self.name))

    async def superuser_execute(self, statement: str) -> None:
        """From another database, so that this one may be closed."""
        connection = await asyncpg.connect(self.cluster.superuser_url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def fetch(self, query: str, *args: object) -> list[tuple[object, ...]]:
        """Rows as tuples, as superuser."""
        connection = await self.superuser()
        try:
            return [tuple(row) for row in await connection.fetch(query, *args)]
        finally:
            await connection.close()
