"""Mosquitto's configuration as it stands in its files. Pure: the caller reads them. Source: mosquitto.conf(5)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

DEEPEST = 5
Reader = Callable[[str], str]
Lister = Callable[[str], Sequence[str]]


@dataclass
class Listener:
    """port 0: a Unix socket. address: "" binds to all of them."""

    port: int
    address: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        return self.port == 0 or self.address in ("localhost", "::1") or self.address.startswith("127.")


@dataclass
class Configuration:
    """general: options in front of the first listener, the last of each name. plugins: their files."""

    general: dict[str, str] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)

    def everywhere(self, name: str) -> str:
        """An option that belongs to no listener, wherever it stands."""
        found = [self.general.get(name), *(one.options.get(name) for one in self.listeners)]
        return next((value for value in found if value is not None), "")


def parsed(path: str, read: Reader, directory: Lister) -> Configuration:
    """With what it includes, in the order in which the broker reads it. Raises ValueError; what read and directory do.

    directory: the names of the .conf files in one, with their paths.
    """
    found = Configuration()
    for name, value in _lines(path, read, directory, 0):
        if name == "listener":
            words = value.split()
            port = int(words[0]) if words and words[0].isdigit() else -1
            if port < 0:
                raise ValueError(f"{path}: listener {value}: a port was expected")
            found.listeners.append(Listener(port, words[1] if len(words) > 1 else ""))
        elif name in ("plugin", "auth_plugin", "global_plugin"):
            found.plugins.append(value)
        elif name == "port":  # the listener of old, with the general options
            found.listeners.insert(
                0, Listener(int(value) if value.isdigit() else 0, found.general.get("bind_address", ""), found.general)
            )
        elif found.listeners:
            found.listeners[-1].options[name] = value
        else:
            found.general[name] = value
    return found


def _lines(path: str, read: Reader, directory: Lister, depth: int) -> Iterator[tuple[str, str]]:
    if depth > DEEPEST:
        raise ValueError(f"{path}: too many files include each other")
    for line in read(path).splitlines():
        name, _, value = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if name == "include_dir":
            for included in sorted(directory(value.strip())):
                yield from _lines(included, read, directory, depth + 1)
        else:
            yield name, value.strip()
