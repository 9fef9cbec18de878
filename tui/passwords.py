"""Where the database's password comes from: asked without an echo, a keyring, or a file. Never an argument."""

import sys
from getpass import getpass
from importlib import import_module
from typing import Any

from tui.profile import Profile, ProfileError, password_file

SERVICE = "iot-console"


def password_of(name: str, profile: Profile) -> str | None:
    """The password of a profile. Raises ProfileError."""
    if profile.host.startswith("/") and profile.password == "prompt":
        return None  # the socket's own rules say who one is
    if profile.password == "prompt":
        return asked(name, profile)
    if profile.password == "keyring":
        found = _keyring().get_password(SERVICE, key(name, profile))
        if found is None:
            raise ProfileError(f"the keyring has no password for {profile.user}: iot-console login --profile {name}")
        return str(found)
    return password_file(profile.password.removeprefix("file:"))


def asked(name: str, profile: Profile) -> str:
    """From the terminal, without an echo. Raises ProfileError when nobody is there."""
    if not sys.stdin.isatty():
        raise ProfileError(f"profile {name} asks for its password, and there is no terminal: use file: or keyring")
    return getpass(f"Password of {profile.user} at {name}: ")


def keep(name: str, profile: Profile, password: str) -> None:
    """Put it into the keyring. Raises ProfileError."""
    _keyring().set_password(SERVICE, key(name, profile), password)


def forget(name: str, profile: Profile) -> None:
    """Take it out of the keyring, if it is there. Raises ProfileError."""
    ring = _keyring()
    if ring.get_password(SERVICE, key(name, profile)) is not None:
        ring.delete_password(SERVICE, key(name, profile))


def key(name: str, profile: Profile) -> str:
    """What the password is kept under: the same login on another server is another one."""
    return f"{profile.user}@{profile.host}:{profile.port}/{profile.database}"


def _keyring() -> Any:
    """The keyring of this machine. A library that not everybody has: an extra, and slow to import."""
    try:
        ring = import_module("keyring")
        errors = import_module("keyring.errors")
    except ImportError:
        raise ProfileError("`password = \"keyring\"` needs the extra: pip install 'iot-console[keyring]'") from None
    return _Translated(ring, errors.KeyringError)


class _Translated:
    """A keyring whose errors are ProfileError."""

    def __init__(self, ring: Any, error: type[Exception]) -> None:
        self._ring = ring
        self._error = error

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ring, name)

        def call(*arguments: str) -> Any:
            try:
                return method(*arguments)
            except self._error as error:
                raise ProfileError(f'the keyring: {error}; use `password = "prompt"` or a file') from None

        return call
