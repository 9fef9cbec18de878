"""What identifies a message, wherever it is looked for. Pure."""

import hashlib


def message_hash(topic: str, payload: bytes) -> int:
    """blake2b-64 of topic, NUL, payload, as a signed 64-bit integer. No topic holds a NUL, so parts cannot shift."""
    digest = hashlib.blake2b(topic.encode() + b"\0" + payload, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
