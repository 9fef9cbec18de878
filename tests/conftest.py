"""Real servers for the tests: two PostgreSQL versions, Mosquitto, each in directories and on ports of its own."""

import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

import sql
from stack.broker import Broker
from stack.certificates import Authority
from stack.local import short_directory
from stack.postgres import Cluster, debian_binaries, embedded_binaries
from store import migrate
from store.db import Db, connected
from store.target import parse_target
from tests.servers import TEMPLATE, Database

IN_MEMORY = "/dev/shm"
LONGEST = (
    "test_faults", "test_setup", "test_runbook_drills", "test_drills", "test_alerts_agent", "test_hardening",
    "test_console", "test_agent", "test_cloud", "test_pictures", "test_creds", "test_creds_agent", "test_twins",
)  # fmt: skip


def pytest_configure() -> None:
    """A shell that starts us in the background has us ignore Ctrl-C, and so everything that we start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def _roomy(place: str) -> bool:
    """Whether the clusters of all workers fit in there: each test makes a database and drops it, a thousand files."""
    return Path(place).is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free > 8 * 2**30


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    path = short_directory("iot-test", IN_MEMORY if _roomy(IN_MEMORY) else "/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def _cluster(directory: Path, binaries: Path) -> AsyncIterator[Cluster]:
    """A cluster with one migrated database, from which the tests' databases are copied."""
    cluster = Cluster(directory, binaries, {"fsync": "off", "max_wal_size": "256MB"})
    await cluster.start()
    await cluster.create_database(TEMPLATE)
    async with connected(parse_target(cluster.owner_url(TEMPLATE)), "test", 3) as db:
        await migrate.migrate(db, sql.migrations())
    yield cluster
    cluster.stop()


@pytest_asyncio.fixture(scope="session")
async def embedded(short_dir: Path) -> AsyncIterator[Cluster]:
    async for cluster in _cluster(short_dir / "e", embedded_binaries()):
        yield cluster


@pytest_asyncio.fixture(scope="session")
async def debian(short_dir: Path) -> AsyncIterator[Cluster]:
    async for cluster in _cluster(short_dir / "d", debian_binaries()):
        yield cluster


@pytest.fixture(params=["embedded", "debian"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Both PostgreSQL versions, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Cluster)
    return found


async def _database(cluster: Cluster, template: str) -> AsyncIterator[Database]:
    name = f"t{uuid.uuid4().hex[:12]}"
    await cluster.create_database(name, template)
    yield Database(cluster, name)
    await cluster.drop_database(name)


@pytest_asyncio.fixture
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    """A migrated database on each PostgreSQL version."""
    async for found in _database(cluster, TEMPLATE):
        yield found


@pytest_asyncio.fixture
async def empty_database(cluster: Cluster) -> AsyncIterator[Database]:
    async for found in _database(cluster, "template0"):
        yield found


@pytest_asyncio.fixture
async def embedded_database(embedded: Cluster) -> AsyncIterator[Database]:
    async for found in _database(embedded, TEMPLATE):
        yield found


@pytest_asyncio.fixture
async def owner(database: Database) -> AsyncIterator[Db]:
    """As the owner of the database, who is no superuser."""
    async with connected(parse_target(database.owner_url), "test owner", 4) as db:
        yield db


@pytest_asyncio.fixture
async def agent(database: Database) -> AsyncIterator[Db]:
    """As an agent."""
    async with connected(parse_target(await database.agent_url()), "test agent", 4) as db:
        yield db


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def broker(authority: Authority) -> Iterator[Broker]:
    """A running Mosquitto of the test's own, with one device: acme/devices/d1."""
    directory = short_directory("iot-mqtt")
    found = Broker(directory / "b", authority)
    found.add_device("acme", "d1")
    found.start()
    yield found
    found.stop()
    shutil.rmtree(directory, ignore_errors=True)
