"""TLS contexts that verify. There is no other kind in this project."""

import ssl
from pathlib import Path
from typing import Any


class _NamedContext(ssl.SSLContext):
    """Checks one fixed name, whatever host was dialled: for 127.0.0.1, tunnels, and libraries that pass the host."""

    server_name: str

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **options | {"server_hostname": self.server_name})

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args[:2], **options | {"server_hostname": self.server_name})


def verifying_context(ca_file: Path | None, server_name: str) -> ssl.SSLContext:
    """A client context: chain and name checked, TLS 1.2 at least. ca_file None: the system's CAs.

    Raises OSError (ssl.SSLError is one) when the file cannot be read or holds no certificate.
    """
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = server_name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca_file)
    return context
