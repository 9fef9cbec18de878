"""Every command beside the screen: they take a third of the time to its first picture, and it needs none of them."""

import typer

from tui import (
    alert_commands,
    credential_commands,
    dead_letter_commands,
    device_commands,
    doctor_command,
    other_commands,
    rule_commands,
    runbook_commands,
    smoke_command,
    user_commands,
)


def add_to(app: typer.Typer) -> None:
    """In the order in which help lists them."""
    app.command("doctor")(doctor_command.doctor)
    app.command("smoke")(smoke_command.smoke)
    app.command("devices")(device_commands.devices)
    app.add_typer(device_commands.app, name="device")
    app.add_typer(credential_commands.app, name="credentials")
    app.add_typer(alert_commands.app, name="alerts")
    app.add_typer(dead_letter_commands.app, name="dead-letters")
    app.add_typer(runbook_commands.app, name="runbooks")
    app.add_typer(rule_commands.app, name="rules")
    app.add_typer(user_commands.app, name="users")
    app.command("keys")(other_commands.keys)
    app.command("profiles")(other_commands.list_profiles)
    app.command("login")(other_commands.login)
