"""Changes of devices and their credentials, as questions and writes."""

from collections.abc import Sequence
from datetime import timedelta

from alerting import durations
from store import credentials
from store.credentials import CredentialSet
from store.db import Db
from store.fleet import DeviceRow
from store.members import PLATFORM, Me, Role
from tui.command import NAME
from tui.effects import Ask, Done, Effect, Go, Level, Prompt, Say, Secret, Write
from tui.panes.pane import same

OVERLAP = timedelta(days=7)
NOTHING_CHOSEN = Say("there is no device here to do it with", "warn")


def new(me: Me, argument: str, tenant: str) -> Effect:
    """Ask for TENANT/DEVICE names, then create them with a credential each."""
    owned = [name for name, role in me.roles.items() if role is Role.OWNER and name != PLATFORM]
    known = tenant or (owned[0] if len(owned) == 1 else "")
    prompt = Prompt(
        "New device", "TENANT/DEVICE, more of them with blanks between", created, f"{known}/" if known else ""
    )
    return created(argument) if argument else prompt


def created(text: str) -> Effect:
    """Raises ValueError for a name that will not do."""
    by_tenant: dict[str, list[str]] = {}
    for word in text.split():
        tenant, slash, device = word.partition("/")
        if not slash or not NAME.fullmatch(tenant) or not NAME.fullmatch(device):
            raise ValueError(f"{word!r} is not TENANT/DEVICE, each of a-z, 0-9 and -, as in acme/pump-7")
        by_tenant.setdefault(tenant, []).append(device)
    if not by_tenant:
        raise ValueError("name a device, as in acme/pump-7")
    if len(by_tenant) > 1:
        raise ValueError("all of one tenant, please: they are created together or not at all")
    ((tenant, devices),) = by_tenant.items()

    async def run(db: Db) -> Done:
        made = {device: credentials.new_secret() for device in dict.fromkeys(devices)}
        number = await credentials.create(db, tenant, {device: secret.stored for device, secret in made.items()})
        shown = tuple(Secret(f"{tenant}/devices/{device}", secret.password) for device, secret in made.items())
        where = Go("devices", "devices", f"{tenant}/{next(iter(made))}")
        return Done(f"{same(list(made), 'devices')} registered in set {number}", secrets=shown, then=where)

    return Write(f"registering {same(devices, 'devices')}", run)


def rotate(devices: Sequence[DeviceRow], overlap: float | None, environment: str) -> Effect:
    """A new credential each; the old one stays valid until the device uses the new one, or the deadline."""
    if not devices:
        return NOTHING_CHOSEN
    lasts = OVERLAP if overlap is None else timedelta(seconds=overlap)
    names = [device.name for device in devices]

    async def run(db: Db) -> Done:
        shown = []
        async with db.transaction() as same_one:  # all or none
            for device in devices:
                secret = credentials.new_secret()
                made = await credentials.rotate(same_one, device.tenant, device.device, secret.stored, lasts, False)
                shown.append(Secret(made.username, secret.password))
        return Done(f"{same(names, 'devices')}: a new credential, hand it over", secrets=tuple(shown))

    until = (
        f"The old one stays valid, for {durations.words(lasts.total_seconds())} at most"
        if lasts
        else "The old one ends at once"
    )
    consequences = (f"{until}, or until the device logs in with the new one.", "The secret is shown once.")
    return _ask(Level.OUTAGE, "Rotate the credential", names, consequences, Write("rotating", run))


def disable(devices: Sequence[DeviceRow]) -> Effect:
    able = [device for device in devices if not device.disabled]
    if not able:
        return Say("disabled already", "warn") if devices else NOTHING_CHOSEN
    write = _switch(able, disabled=True)
    if len(able) == 1:
        question = f"Disable {able[0].name}? Its connection ends at once; E lets it in again."
        return Ask(Level.NOTICED, question, (), write)
    consequences = ("All their connections end at once; E lets them in again.",)
    return Ask(Level.OUTAGE, f"Disable {len(able)} devices?", consequences, write, str(len(able)))


def enable(devices: Sequence[DeviceRow]) -> Effect:
    unable = [device for device in devices if device.disabled]
    if not unable:
        return Say("nothing here is disabled", "warn")
    return _switch(unable, disabled=False)


def _switch(devices: Sequence[DeviceRow], disabled: bool) -> Write:
    names = same([device.name for device in devices], "devices")

    async def run(db: Db) -> Done:
        async with db.transaction() as same_one:
            for device in devices:
                await credentials.set_disabled(same_one, device.tenant, device.device, disabled)
        return Done(f"{names} {'disabled' if disabled else 'enabled'}", _switch(devices, not disabled))

    return Write(f"{'disabling' if disabled else 'enabling'} {names}", run)


def revoke(devices: Sequence[DeviceRow], environment: str) -> Effect:
    """End all credentials for ever."""
    live = [device for device in devices if device.credentials]
    if not live:
        return Say("there is no credential to revoke", "warn") if devices else NOTHING_CHOSEN
    names = [device.name for device in live]

    async def run(db: Db) -> Done:
        async with db.transaction() as same_one:
            for device in live:
                await credentials.revoke(same_one, device.tenant, device.device, "from the console", None)
        return Done(f"{same(names, 'devices')}: credentials revoked; R gives new ones")

    consequences = ("Connections end at once, and no rollback brings these credentials back.",)
    return _ask(Level.DESTROYS, "Revoke the credentials", names, consequences, Write("revoking", run))


def rollback(found: CredentialSet) -> Effect:
    async def run(db: Db) -> Done:
        made = await credentials.rollback(db, found.tenant, found.generation)
        text = f"set {made.generation}: {made.restored} restored, {made.ended} ended, {made.left_out} left out"
        return Done(text)

    question = f"Give tenant {found.tenant} the credentials of set {found.generation} again?"
    consequences = ("Devices that have moved on since are cut off.", "What was revoked stays revoked.")
    return Ask(Level.OUTAGE, question, consequences, Write("rolling back", run), str(found.generation))


def approve(found: CredentialSet) -> Effect:
    async def run(db: Db) -> Done:
        await credentials.confirm(db, found.generation)
        return Done(f"set {found.generation} may be applied")

    question = f"Allow brokers to apply set {found.generation}, which takes many devices away?"
    return Ask(Level.OUTAGE, question, (found.reason,), Write("approving", run), str(found.generation))


def _ask(level: Level, what: str, names: Sequence[str], consequences: tuple[str, ...], write: Write) -> Ask:
    """The name of one is to be typed, the number of many."""
    of = f"{what} of {same(names, 'devices')}?"
    expected = names[0].partition("/")[2] if len(names) == 1 else str(len(names))
    return Ask(level, of, consequences, write, expected)
