"""A private CA and server certificates, made anew for each stack."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

SERVER_NAME = "mqtt.example.net"
NAMES = (SERVER_NAME, "localhost", "127.0.0.1")


class Authority:
    """ca_file is what clients verify against."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA()
        self.ca_file = directory / "ca.crt"
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self.ca_file.chmod(0o644)

    def issue(self, directory: Path, *names: str, days: float = 30) -> None:
        """Write server.crt and server.key for the names; negative days: expired already."""
        until = datetime.now(UTC) + timedelta(days=days)
        issued = self._ca.issue_cert(*(names or NAMES), not_before=until - timedelta(days=60), not_after=until)
        (directory / "server.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(directory / "server.key"))
        (directory / "server.key").chmod(0o600)

    def server_context(self, directory: Path, *names: str) -> ssl.SSLContext:
        """Of a server with a certificate that issue() writes."""
        self.issue(directory, *names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.crt", directory / "server.key")
        return context
