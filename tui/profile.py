"""Connection profiles: a TOML file that says how to reach each environment. It holds no password."""

import os
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from store.target import Target, host_name

DEFAULT = Path("~/.config/iot-console/config.toml")
EXAMPLE = """\
default = "prod"

[profiles.prod]
environment = "PROD"
host = "db.example.net"
user = "iot_u_anna"
ca_file = "~/.config/iot-console/prod-ca.crt"
password = "keyring"          # prompt, keyring, or file:~/path
ssh = "anna@vm.example.net"   # leave it out to connect directly

[profiles.prod.broker]        # for checks from this machine
host = "mqtt.example.net"

[profiles.prod.probe]         # for smoke: iot-console device create platform/probe --out ~/.config/iot-console/probe
device = "platform/probe"
secret = "~/.config/iot-console/probe"

[profiles.prod.azure]         # for runbooks and the doctor
resource_group = "iot"
vm = "iot-vm"
nsg = "iot-nsg"
my_ip = "203.0.113.7"
function = "none"             # or the name of the cloud function, while there is one
"""


def _host(text: str) -> str:
    return text if text.startswith("/") else host_name(text)


def _ssh(text: str) -> str:
    if text.startswith("-") or not text.strip() or any(c.isspace() for c in text):
        raise ValueError("is USER@HOST or a Host of ~/.ssh/config")
    return text


def _password(text: str) -> str:
    if text not in ("prompt", "keyring") and not text.startswith("file:"):
        raise ValueError("is prompt, keyring, or file:PATH; never the password itself")
    return text


class BrokerPlace(BaseModel):
    """Where devices reach the broker, for checks from this machine. tls_name: what its certificate must carry, if that
    is not host; ca_file: who signed it; without it, the system's authorities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, AfterValidator(_host)]
    port: int = Field(8883, ge=1, le=65535)
    tls_name: str | None = None
    ca_file: Path | None = None


class ProbeDevice(BaseModel):
    """A device that nothing depends on, for messages that try the way. secret: the file that `device create --out`
    wrote. topics: what is its own, if that is not tenants/TENANT/devices/DEVICE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*$")
    secret: Path
    topics: str | None = Field(None, pattern=r"^[^+#]+[^+#/]$")


class Waived(BaseModel):
    """A check of the doctor whose failure is known and accepted. until: the last day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str = Field(pattern=r"^[A-Z0-9]+-\d\d$")
    reason: str = Field(min_length=10)
    until: date


class Profile(BaseModel):
    """One environment. ca_file: who signed the database's certificate; without it, the system's authorities.

    ssh_config: instead of ~/.ssh/config. azure, contacts, commands and limits are for runbooks: names such as
    resource_group, people to call, argv lists such as database_start, numbers such as disk_free_percent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = Field("PROD", pattern=r"^[A-Z0-9-]{1,12}$")
    host: Annotated[str, AfterValidator(_host)]
    port: int = Field(5432, ge=1, le=65535)
    database: str = "postgres"
    user: str = Field(pattern=r"^[^\s:@/]+$")
    ca_file: Path | None = None
    password: Annotated[str, AfterValidator(_password)] = "prompt"
    ssh: Annotated[str, AfterValidator(_ssh)] | None = None
    ssh_config: Path | None = None
    theme: Literal["auto", "dark", "light", "contrast", "deuteranopia", "mono"] | None = None
    alerts_file: Path | None = None
    broker: BrokerPlace | None = None
    probe: ProbeDevice | None = None
    azure: dict[str, str] = {}
    contacts: dict[str, str] = {}
    commands: dict[str, tuple[str, ...]] = {}
    limits: dict[str, str] = {}
    waivers: tuple[Waived, ...] = ()

    def values(self) -> dict[str, str | tuple[str, ...]]:
        """What runbooks may ask for as `config.NAME`."""
        found: dict[str, str | tuple[str, ...]] = {"environment": self.environment}
        if self.ssh is not None:
            found["ssh"] = self.ssh
        if self.broker is not None:
            found |= {"broker.host": self.broker.host, "broker.port": str(self.broker.port)}
            found["broker.name"] = self.broker.tls_name or self.broker.host
        found |= {f"azure.{name}": value for name, value in self.azure.items()}
        found |= {f"limits.{name}": value for name, value in self.limits.items()}
        found |= {f"contacts.{name}": value for name, value in self.contacts.items()}
        return found | {f"commands.{name}": value for name, value in self.commands.items()}

    def target(self, password: str | None) -> Target:
        """Where it leads; the tunnel, if there is one, comes on top."""
        ca_file = self.ca_file.expanduser() if self.ca_file else None
        return Target(self.host, self.port, self.user, self.database, password, ca_file)


class ConfigFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str | None = None
    profiles: dict[str, Profile] = {}


class ProfileError(Exception):
    """The file or a profile of it cannot be used; the message says why, and what to do."""


def load(path: Path) -> ConfigFile:
    """Raises ProfileError with every mistake."""
    try:
        written = tomllib.loads(path.expanduser().read_text())
    except FileNotFoundError:
        raise ProfileError(f"there is no {path}; it looks like this:\n\n{EXAMPLE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path}: {error}") from None
    try:
        return ConfigFile.model_validate(written)
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ProfileError("\n".join(lines)) from None


def choose(found: ConfigFile, name: str | None, path: Path) -> tuple[str, Profile]:
    """The one that is named, the default, or the only one. Raises ProfileError."""
    wanted = name or found.default or (next(iter(found.profiles)) if len(found.profiles) == 1 else None)
    if wanted is None:
        raise ProfileError(f"{path}: say which profile: --profile NAME, or default = NAME; {_names(found)}")
    if wanted not in found.profiles:
        raise ProfileError(f"{path}: there is no profile {wanted}; {_names(found)}")
    return wanted, found.profiles[wanted]


def _names(found: ConfigFile) -> str:
    return f"there is {', '.join(found.profiles)}" if found.profiles else "there is none"


def password_file(text: str) -> str:
    """The first line of a file that only its owner can read. Raises ProfileError."""
    path = Path(text).expanduser()
    password = _private_text(path).partition("\n")[0].rstrip("\r")
    if not password:
        raise ProfileError(f"{path} is empty")
    return password


def probe_login(path: Path) -> tuple[str, str]:
    """(user name, password) of a file that `device create --out` wrote. Raises ProfileError."""
    path = path.expanduser()
    found = dict(line.split(": ", 1) for line in _private_text(path).splitlines() if ": " in line)
    try:
        return found["username"], found["password"]
    except KeyError as error:
        raise ProfileError(
            f"{path} has no line {error.args[0]}: it is to be what `device create --out` wrote"
        ) from None


def _private_text(path: Path) -> str:
    """Of a file that only its owner can read. Raises ProfileError."""
    try:
        with path.open() as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                raise ProfileError(f"{path} can be read by others: chmod 600 {path}")
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
