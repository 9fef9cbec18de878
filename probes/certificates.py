"""Certificates as a verifying client sees them. Only ssl: what it accepts is what devices accept."""

import asyncio
import hashlib
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 10.0


class CertificateError(Exception):
    """It would not be accepted; the message says why."""


@dataclass(frozen=True, slots=True)
class Served:
    """A verified certificate. Times are seconds since 1970; ca_until is the earliest end among the trusted CAs that
    were given as a file, None for the system's; fingerprint is SHA-256 in hex."""

    subject: str
    names: tuple[str, ...]
    until: float
    ca_until: float | None
    fingerprint: str

    def days_left(self, now: float | None = None) -> float:
        return (self.until - (time.time() if now is None else now)) / 86_400


async def served(host: str, port: int, tls: ssl.SSLContext) -> Served:
    """What a server shows, after chain and name are verified with this context.

    Raises OSError (ssl.SSLCertVerificationError is one), TimeoutError.
    """
    async with asyncio.timeout(SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        return _seen(writer.get_extra_info("ssl_object"), tls)
    finally:
        writer.transport.abort()


def from_files(certificate: Path, key: Path, tls: ssl.SSLContext, server_name: str) -> Served:
    """What clients would see of a server that uses these files: a handshake in memory, with their verification.

    Raises CertificateError when the files do not fit, or when a client with this context would refuse.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise CertificateError(f"{certificate} with {key}: {getattr(error, 'strerror', None) or error}") from error
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(down, up, server_hostname=server_name)
    server = context.wrap_bio(up, down, server_side=True)
    try:
        _shake_hands(client, server)
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(f"{certificate}: clients would refuse it: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise CertificateError(f"{certificate}: no handshake: {error.reason}") from error
    return _seen(client, tls)


def file_fingerprint(path: Path) -> str:
    """SHA-256 of the first certificate in a PEM file, in hex. Raises OSError, ValueError."""
    text = path.read_text()
    end = "-----END CERTIFICATE-----"
    start = text.index("-----BEGIN CERTIFICATE-----")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[start : text.index(end, start)] + end + "\n")).hexdigest()


def strength(raw: bytes) -> tuple[str, list[str]]:
    """(key in words, what is weak) of a certificate in DER: RSA of 2048 bits, P-256 or more, SHA-256 or more."""
    from cryptography import x509  # only here, and it takes a while
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    found = x509.load_der_x509_certificate(raw)
    key, weak = found.public_key(), []
    if isinstance(key, rsa.RSAPublicKey):
        words, enough = f"RSA {key.key_size}", key.key_size >= 2048
    elif isinstance(key, ec.EllipticCurvePublicKey):
        words, enough = f"EC {key.curve.name}", key.key_size >= 256
    else:
        words, enough = type(key).__name__, isinstance(key, ed25519.Ed25519PublicKey)
    if not enough:
        weak.append(words)
    digest = found.signature_hash_algorithm
    if digest is not None and digest.digest_size < 32:
        weak.append(digest.name)
    return words, weak


def _shake_hands(client: ssl.SSLObject, server: ssl.SSLObject) -> None:
    """Both sides in turn, until neither waits for the other."""
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return
    raise ssl.SSLError(1, "the handshake does not end")


def _seen(side: ssl.SSLObject, tls: ssl.SSLContext) -> Served:
    found: dict[str, Any] = side.getpeercert() or {}
    raw = side.getpeercert(binary_form=True) or b""
    subject = ", ".join(f"{key}={value}" for part in found.get("subject", ()) for key, value in part)
    ends = [ssl.cert_time_to_seconds(str(ca["notAfter"])) for ca in tls.get_ca_certs()]  # empty for the system's
    return Served(
        subject=subject,
        names=tuple(value for _, value in found.get("subjectAltName", ())),
        until=ssl.cert_time_to_seconds(found["notAfter"]),
        ca_until=min(ends) if ends else None,
        fingerprint=hashlib.sha256(raw).hexdigest(),
    )
