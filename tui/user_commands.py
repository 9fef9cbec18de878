"""`iot-console users`: who may do what; for owners, to change it. One's own password for everybody."""

from dataclasses import asdict
from getpass import getpass
from typing import Annotated

import typer

from store import members
from store.db import Db
from store.members import LOGIN_PREFIX, Person, Role
from tui.command import USAGE, AsJson, Out, UrlFile, Yes, confirmed, fail, print_json, run, secret_file

app = typer.Typer(help="See people and, as an owner, manage them.", no_args_is_help=True, rich_markup_mode=None)
Login = Annotated[str, typer.Argument(metavar="LOGIN", help="iot_u_anna, or anna for short.")]
TIME = "%Y-%m-%d %H:%MZ"


@app.command("list")
def list_users(context: typer.Context, url_file: UrlFile = None, as_json: AsJson = False) -> None:
    """List the people of your tenants.

    Example: iot-console users list --json | jq '.[] | select(.disabled)'
    """
    found = run(context, url_file, members.people)
    if as_json:
        print_json([asdict(person) for person in found])
    for person in found if not as_json else ():
        typer.echo(_line(person))


def _line(person: Person) -> str:
    roles = ", ".join(f"{role} of {tenant}" for tenant, role in sorted(person.roles.items()))
    state = "disabled" if person.disabled else f"seen {person.seen_at:{TIME}}" if person.seen_at else "never seen"
    return f"{person.login:<24} {person.name:<24} {state:<24} {roles}"


@app.command("sessions")
def sessions(context: typer.Context, url_file: UrlFile = None, as_json: AsJson = False) -> None:
    """List open sessions of the people you manage.

    Example: iot-console users sessions
    """
    found = run(context, url_file, members.sessions)
    if as_json:
        print_json([asdict(session) for session in found])
    for session in found if not as_json else ():
        typer.echo(f"{session.login:<24} {session.client:<16} {session.application:<24} since {session.since:{TIME}}")


@app.command("create")
def create(
    context: typer.Context,
    login: Login,
    tenant: Annotated[str, typer.Option(help="Home tenant; platform: sees all.")],
    role: Annotated[Role, typer.Option(help="viewer looks, operator takes care, owner changes.")] = Role.VIEWER,
    name: Annotated[str | None, typer.Option(help="As others read it.")] = None,
    out: Out = None,
    url_file: UrlFile = None,
) -> None:
    """Create a person. The password is made here, and shown or written once; the database gets a verifier only.

    Example: iot-console users create ben --tenant acme --role operator --out ben.secret
    """
    full = _full(login)
    with secret_file(out) as stream:

        async def work(db: Db) -> None:
            async with db.transaction() as same:  # a password that cannot be written is not made
                shown = name or full.removeprefix(LOGIN_PREFIX)
                password = await members.create(same, tenant, full, shown, role)
                stream.write(f"{full}\n{password}\n")
                stream.flush()

        run(context, url_file, work)
    typer.echo(f"{full} is {role} of {tenant}", err=True)


@app.command("role")
def role(context: typer.Context, login: Login, tenant: str, to: Role, url_file: UrlFile = None) -> None:
    """Give a person another role in a tenant of yours, or let one of another tenant in.

    Example: iot-console users role ben acme owner
    """
    run(context, url_file, lambda db: members.set_role(db, tenant, _full(login), to))
    typer.echo(f"{_full(login)} is {to} of {tenant}; open sessions have the new rights at once")


@app.command("reset")
def reset(context: typer.Context, login: Login, out: Out = None, url_file: UrlFile = None) -> None:
    """Give a person a new password; the old one is refused from now on.

    Example: iot-console users reset ben --out ben.secret
    """
    full = _full(login)
    with secret_file(out) as stream:

        async def work(db: Db) -> None:
            async with db.transaction() as same:
                stream.write(f"{full}\n{await members.reset(same, full)}\n")
                stream.flush()

        run(context, url_file, work)
    typer.echo(f"{full} has a new password; open sessions go on: iot-console users end-sessions {full}", err=True)


@app.command("disable")
def disable(context: typer.Context, login: Login, yes: Yes = False, url_file: UrlFile = None) -> None:
    """Shut a person out and end open sessions; `enable` lets in again.

    Example: iot-console users disable ben --yes
    """
    confirmed(f"Disable {_full(login)} and end its sessions?", yes)
    ended = run(context, url_file, lambda db: members.set_disabled(db, _full(login), True))
    typer.echo(f"{_full(login)} is shut out, {ended} sessions ended")


@app.command("enable")
def enable(context: typer.Context, login: Login, url_file: UrlFile = None) -> None:
    """Let a person in again, with the same password.

    Example: iot-console users enable ben
    """
    run(context, url_file, lambda db: members.set_disabled(db, _full(login), False))
    typer.echo(f"{_full(login)} may log in again")


@app.command("end-sessions")
def end_sessions(context: typer.Context, login: Login, url_file: UrlFile = None) -> None:
    """End a person's open sessions. Who still may, can log in again.

    Example: iot-console users end-sessions ben
    """
    ended = run(context, url_file, lambda db: members.end_sessions(db, _full(login)))
    typer.echo(f"{ended} sessions of {_full(login)} ended")


@app.command("remove")
def remove(context: typer.Context, login: Login, tenant: str, yes: Yes = False, url_file: UrlFile = None) -> None:
    """Take a person out of a tenant; out of the home tenant, the login ends. The audit log keeps what was done.

    Example: iot-console users remove ben acme
    """
    confirmed(f"Remove {_full(login)} from {tenant}?", yes)
    run(context, url_file, lambda db: members.remove(db, tenant, _full(login)))
    typer.echo(f"{_full(login)} is out of {tenant}")


@app.command("history")
def history(
    context: typer.Context,
    login: Login,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """What a person changed, and what was changed of the person; the newest first.

    Example: iot-console users history ben --limit 50
    """
    found = run(context, url_file, lambda db: members.history(db, _full(login), limit))
    if as_json:
        print_json([asdict(deed) for deed in found])
    for deed in found if not as_json else ():
        typer.echo(f"{deed.at:{TIME}}  {deed.actor:<20} {deed.action} {deed.subject}")


@app.command("password")
def password(context: typer.Context, url_file: UrlFile = None) -> None:
    """Change your own password. It is asked for twice, without an echo, and never leaves this machine.

    Example: iot-console --profile prod users password
    """
    new = getpass("New password: ")
    if new != getpass("The same again: "):
        fail("the two are not the same; nothing was changed", USAGE)
    if len(new) < 16:
        fail("at least 16 characters: a verifier can be guessed at without asking the database", USAGE)
    try:
        run(context, url_file, lambda db: members.change_password(db, new))
    except ValueError as error:
        fail(str(error), USAGE)
    typer.echo("changed; put it where your profile takes it from: iot-console login")


def _full(login: str) -> str:
    return login if login.startswith(LOGIN_PREFIX) else f"{LOGIN_PREFIX}{login}"
