"""The database over TCP: TLS or nothing, and verified."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stack.broker import free_port
from stack.certificates import Authority
from stack.postgres import OWNER, Cluster, debian_binaries
from store.db import connected
from store.errors import Misconfigured, Unavailable
from store.target import Target, parse_target


@pytest_asyncio.fixture(scope="module")
async def server(short_dir: Path, authority: Authority) -> AsyncIterator[Cluster]:
    cluster = Cluster(short_dir / "t", debian_binaries(), port=free_port())
    cluster.serve_tls(authority, "127.0.0.1", "db.example.net")
    await cluster.start()
    yield cluster
    await asyncio.to_thread(cluster.stop)


def target(server: Cluster, ca_file: Path | None, host: str = "127.0.0.1") -> Target:
    password = parse_target(server.owner_url("postgres")).password
    return Target(host, server.port, OWNER, "postgres", password, ca_file)


async def test_a_verified_server_is_used_with_tls(server: Cluster, authority: Authority) -> None:
    async with connected(target(server, authority.ca_file), "test") as db:
        query = "select version from pg_stat_ssl where pid = pg_backend_pid()"
        assert await db.value(query) in ("TLSv1.2", "TLSv1.3")


async def test_an_unknown_ca_is_refused_with_the_remedy(server: Cluster, tmp_path: Path) -> None:
    for ca_file in (None, Authority(tmp_path).ca_file):
        async with connected(target(server, ca_file), "test") as db:
            with pytest.raises(Misconfigured, match=r"set database\.ca_file"):
                await db.value("select 1")


async def test_another_name_is_refused(server: Cluster, authority: Authority) -> None:
    async with connected(target(server, authority.ca_file, "localhost"), "test") as db:
        with pytest.raises(Misconfigured, match="localhost"):
            await db.value("select 1")


async def test_a_server_without_tls_is_not_talked_to(authority: Authority) -> None:
    """It answers N to the request for TLS; the password must not follow."""
    heard = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(8))
        writer.write(b"N")
        heard.extend(await reader.read(1000))
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with connected(Target("127.0.0.1", port, "u", "d", "s3cret", authority.ca_file), "test") as db:
        with pytest.raises((Unavailable, Misconfigured)):
            await db.value("select 1")
    listening.close()
    assert len(heard) == 8


async def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"cannot read the CA file .*none.crt"):
        async with connected(Target("127.0.0.1", 1, "u", "d", "x", tmp_path / "none.crt"), "test"):
            pass


def test_an_old_protocol_is_not_offered(authority: Authority) -> None:
    context = Target("127.0.0.1", 1, "u", "d", "x", authority.ca_file).tls()
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
