"""Certificates as clients see them, in memory and at a real broker."""

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from probes.broker import BrokerLogin
from probes.certificates import CertificateError, from_files, served
from probes.mqtt import connect
from probes.tls import verifying_context
from stack.broker import INGEST_USER, Broker
from stack.certificates import SERVER_NAME, Authority


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    found = trustme.CA()
    found.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return found


def issue(ca: trustme.CA, directory: Path, name: str = SERVER_NAME, days: float = 90) -> tuple[Path, Path]:
    leaf = ca.issue_cert(
        name, not_before=datetime.now(UTC) - timedelta(days=100), not_after=datetime.now(UTC) + timedelta(days=days)
    )
    paths = (directory / "leaf.crt", directory / "leaf.key")
    leaf.cert_chain_pems[0].write_to_path(str(paths[0]))
    leaf.private_key_pem.write_to_path(str(paths[1]))
    return paths


def test_a_good_certificate_is_described(ca: trustme.CA, tmp_path: Path) -> None:
    seen = from_files(*issue(ca, tmp_path), verifying_context(tmp_path / "ca.crt", SERVER_NAME), SERVER_NAME)
    assert SERVER_NAME in seen.names
    assert 89 < seen.days_left() <= 90
    assert seen.ca_until is not None
    assert len(seen.fingerprint) == 64


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"days": -1}, "certificate has expired"), ({"name": "other.example.net"}, "Hostname mismatch")],
)
def test_what_clients_would_refuse_is_refused(
    ca: trustme.CA, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    tls = verifying_context(tmp_path / "ca.crt", SERVER_NAME)
    with pytest.raises(CertificateError, match=words):
        from_files(*issue(ca, tmp_path, **changes), tls, SERVER_NAME)  # type: ignore[arg-type]


def test_another_authority_and_another_key_are_refused(ca: trustme.CA, tmp_path: Path) -> None:
    tls = verifying_context(tmp_path / "ca.crt", SERVER_NAME)
    certificate, key = issue(trustme.CA(), tmp_path)
    with pytest.raises(CertificateError, match="clients would refuse it"):
        from_files(certificate, key, tls, SERVER_NAME)
    (tmp_path / "other").mkdir()
    _, other_key = issue(ca, tmp_path / "other")
    with pytest.raises(CertificateError, match=r"(?i)key.*mismatch"):
        from_files(certificate, other_key, tls, SERVER_NAME)
    with pytest.raises(CertificateError, match="No such file"):
        from_files(tmp_path / "none", key, tls, SERVER_NAME)


async def test_a_replaced_certificate_is_served_after_a_reload_and_nobody_is_cut_off(
    broker: Broker, authority: Authority
) -> None:
    tls = verifying_context(authority.ca_file, SERVER_NAME)
    login = BrokerLogin("127.0.0.1", broker.service_port, tls, INGEST_USER, broker.passwords[INGEST_USER])
    before = await served("127.0.0.1", broker.device_port, tls)
    async with connect(login) as client:
        authority.issue(broker.directory)
        new = from_files(broker.directory / "server.crt", broker.directory / "server.key", tls, SERVER_NAME)
        assert (await served("127.0.0.1", broker.device_port, tls)).fingerprint == before.fingerprint != new.fingerprint
        broker.write_files()
        broker.send(signal.SIGHUP)
        async with asyncio.timeout(60):
            while (await served("127.0.0.1", broker.device_port, tls)).fingerprint != new.fingerprint:
                await asyncio.sleep(0.02)
        await client.ping()
