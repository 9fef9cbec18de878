"""`iot-console profiles`, `login` and `keys`: what needs no database."""

from dataclasses import asdict
from typing import Annotated

import typer

from tui import passwords
from tui import profile as profiles
from tui.actions import ACTIONS
from tui.command import USAGE, AsJson, Chosen, fail, print_json
from tui.keymap import key_name
from tui.profile import ProfileError


def list_profiles(context: typer.Context, as_json: AsJson = False) -> None:
    """List the environments of the config file. It holds no passwords; this prints none.

    Example: iot-console profiles
    """
    found = context.find_root().obj
    config = found.config if isinstance(found, Chosen) else profiles.DEFAULT
    try:
        file = profiles.load(config)
    except ProfileError as error:
        fail(str(error), USAGE)
    if as_json:
        print_json({name: profile.model_dump(mode="json") for name, profile in file.profiles.items()})
    for name, profile in file.profiles.items() if not as_json else ():
        mark = "*" if name == file.default else " "
        way = f" through ssh {profile.ssh}" if profile.ssh else ""
        where = f"{profile.user}@{profile.host}:{profile.port}/{profile.database}{way}"
        typer.echo(f"{mark} {name:<16} {profile.environment:<10} {where}, password from {profile.password}")


def login(
    context: typer.Context,
    forget: Annotated[bool, typer.Option("--forget", help="Take the password out of the keyring.")] = False,
) -> None:
    """Put the password of a profile into this machine's keyring. It is asked for without an echo.

    Example: iot-console --profile prod login
    """
    found = context.find_root().obj
    chosen = found if isinstance(found, Chosen) else Chosen()
    try:
        name, profile = profiles.choose(profiles.load(chosen.config), chosen.profile, chosen.config)
        if profile.password != "keyring":
            raise ProfileError(f'profile {name} takes its password from {profile.password}; set password = "keyring"')
        if forget:
            passwords.forget(name, profile)
        else:
            passwords.keep(name, profile, passwords.asked(name, profile))
    except ProfileError as error:
        fail(str(error), USAGE)
    typer.echo(f"the keyring {'forgot' if forget else 'has'} the password of {profile.user} at {name}")


def keys(as_json: AsJson = False) -> None:
    """List every action of the screen with its keys; the names are those of a keymap file.

    Example: iot-console keys --json | jq -r '.[].action' | sort -u
    """
    if as_json:
        print_json([asdict(action) | {"action": action.id} for action in ACTIONS])
        return
    for action in ACTIONS:
        places = ", ".join(action.places) or "everywhere"
        needs = f" (needs {action.role})" if action.role else ""
        names = " ".join(key_name(key) for key in action.keys) or "-"
        typer.echo(f"{action.id:<16} {names:<16} {action.help}{needs} [{places}]")
