"""Profiles: what is wrong with the file is said at once, and passwords come from where it says."""

from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from tests.consoles import run_cli
from tui import passwords
from tui.profile import EXAMPLE, ConfigFile, ProfileError, choose, load, password_file


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_the_example_is_right(tmp_path: Path) -> None:
    found = load(written(tmp_path, EXAMPLE))
    name, profile = choose(found, None, tmp_path)
    assert (name, profile.environment, profile.ssh) == ("prod", "PROD", "anna@vm.example.net")
    target = profile.target("secret")
    assert (target.host, target.port, target.user) == ("db.example.net", 5432, "iot_u_anna")
    assert target.ca_file is not None
    assert not str(target.ca_file).startswith("~")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('password = "hunter2"', "never the password itself"),
        ('ssh = "-oProxyCommand=evil"', "is USER@HOST"),
        ('ssh = "a b"', "is USER@HOST"),
        ('host = "exa mple..net"', "no host name"),
        ("port = 70000", "port"),
        ('environment = "prod!"', "environment"),
        ('theme = "pink"', "theme"),
        ('colour = "red"', "colour"),
        ('user = "a:b"', "user"),
        ("port = ", "config.toml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, line: str, said: str) -> None:
    base = {"host": 'host = "db"', "user": 'user = "u"'} | {line.split(" ")[0]: line}
    path = written(tmp_path, "[profiles.x]\n" + "\n".join(base.values()))
    with pytest.raises(ProfileError, match=said) as caught:
        load(path)
    assert "hunter2" not in str(caught.value) or "password" not in line


def test_a_file_that_is_not_there_shows_what_it_looks_like(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"\[profiles.prod\]"):
        load(tmp_path / "none.toml")


def test_which_profile(tmp_path: Path) -> None:
    two = load(written(tmp_path, "".join(f'[profiles.{n}]\nhost = "db"\nuser = "u"\n' for n in "ab")))
    assert choose(two, "b", tmp_path)[0] == "b"
    with pytest.raises(ProfileError, match="say which profile"):
        choose(two, None, tmp_path)
    with pytest.raises(ProfileError, match="there is no profile c; there is a, b"):
        choose(two, "c", tmp_path)
    with pytest.raises(ProfileError, match="there is none"):
        choose(ConfigFile(), None, tmp_path)


def test_a_password_file_is_for_its_owner(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\nmore\n")
    secret.chmod(0o640)
    with pytest.raises(ProfileError, match="chmod 600"):
        password_file(str(secret))
    secret.chmod(0o600)
    assert password_file(str(secret)) == "hunter2"
    secret.write_text("")
    with pytest.raises(ProfileError, match="is empty"):
        password_file(str(secret))
    with pytest.raises(ProfileError, match="No such file"):
        password_file(str(tmp_path / "none"))


class Ring(KeyringBackend):
    """A keyring in memory, as one of the library's backends."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


def test_a_keyring_keeps_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        name, profile = choose(load(written(tmp_path, EXAMPLE)), None, tmp_path)
        with pytest.raises(ProfileError, match="iot-console login --profile prod"):
            passwords.password_of(name, profile)
        passwords.keep(name, profile, "hunter2")
        assert passwords.password_of(name, profile) == "hunter2"
        passwords.forget(name, profile)
        passwords.forget(name, profile)
        with pytest.raises(ProfileError, match="no password"):
            passwords.password_of(name, profile)
    finally:
        keyring.set_keyring(before)


def test_commands_say_what_is_wrong_and_never_wait_for_a_terminal(tmp_path: Path) -> None:
    path = written(tmp_path, '[profiles.x]\nhost = "db.example.net"\nuser = "u"\n')
    for arguments, said in [
        (("--config", str(path), "status"), "asks for its password, and there is no terminal"),
        (("--config", str(path), "--profile", "y", "status"), "there is no profile y"),
        (("--config", str(path), "login"), 'set password = "keyring"'),
        (("--config", str(tmp_path / "none"), "profiles"), "it looks like this"),
        (("--config", str(path), "--profile", "x", "--url-file", str(path), "status"), "give one of them"),
    ]:
        done = run_cli(*arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done
    listed = run_cli("--config", str(path), "profiles")
    assert "u@db.example.net:5432/postgres" in listed.stdout
