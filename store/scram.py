"""SCRAM-SHA-256 verifiers (RFC 5802, in PostgreSQL's format), so that no plaintext password leaves the client. Pure."""

import base64
import hashlib
import hmac

ITERATIONS = 4096


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """What PostgreSQL stores for a password. ASCII passwords only: others would need SASLprep first.

    Raises ValueError for a password that is empty or not printable ASCII.
    """
    if not password or not password.isascii() or not password.isprintable():
        raise ValueError("the password must be printable ASCII and not empty")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"
