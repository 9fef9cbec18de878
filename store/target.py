"""Which database to talk to, and how it is verified. Pure, but for reading the CA file."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

TRANSACTION_POOLER_PORT = 6543  # Supavisor and Supabase's PgBouncer in transaction mode
VERIFIABLE_SSLMODES = {"require", "verify-ca", "verify-full"}
URL_SHAPE = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"


@dataclass(frozen=True, slots=True)
class Target:
    """A PostgreSQL address. Over TCP the server is always verified: TLS, its CA and its name.

    A host that starts with "/" is the directory of a Unix socket; no network, so no TLS.
    through: a Unix socket that leads to host and port, such as the end of an SSH tunnel. TLS goes all the way, and
    the server is verified by its own name.
    """

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    through: Path | None = None

    @property
    def local_socket(self) -> bool:
        return self.host.startswith("/")

    @property
    def session_mode(self) -> bool:
        """False behind a transaction pooler: no LISTEN, no prepared statements, no session settings."""
        return self.port != TRANSACTION_POOLER_PORT

    def tls(self) -> ssl.SSLContext | None:
        """The context that verifies the server; None for a Unix socket only.

        Raises OSError when the CA file cannot be read.
        """
        if self.local_socket:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


def host_name(text: str) -> str:
    """The text, if it can be looked up as a host. Raises ValueError: libraries would fail much later, and oddly."""
    try:
        if not text or not text.encode("idna"):
            raise ValueError
    except (UnicodeError, ValueError):
        raise ValueError(f"{text!r} is no host name") from None
    return text


def parse_target(url: str, ca_file: Path | None = None) -> Target:
    """A Target from a connection URL. Raises ValueError with the remedy; never repeats the URL's secret."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"not a PostgreSQL URL; expected {URL_SHAPE}")
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    sslmode = options.get("sslmode", "verify-full")
    if sslmode not in VERIFIABLE_SSLMODES:
        raise ValueError(
            f"sslmode={sslmode} would accept any server; remove it: the server is always verified (verify-full)"
        )
    try:
        port = parts.port or int(options.get("port", 5432))
    except ValueError:
        raise ValueError(f"the port of the URL is not a number; expected {URL_SHAPE}") from None
    host = options.get("host") or unquote(parts.hostname or "")
    if not host or not parts.username:
        raise ValueError(f"the URL names no {'host' if not host else 'user'}; expected {URL_SHAPE}")
    if not host.startswith("/"):
        host_name(host)
    root = options.get("sslrootcert")
    return Target(
        host=host,
        port=port,
        user=unquote(parts.username),
        database=unquote(parts.path.lstrip("/")) or "postgres",
        password=unquote(parts.password) if parts.password else None,
        ca_file=ca_file or (Path(root) if root else None),
    )
