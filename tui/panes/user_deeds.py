"""Changes of people, for owners: as questions, a form, and writes."""

import re
from collections.abc import Mapping, Sequence

from store import members
from store.db import Db
from store.members import LOGIN_PREFIX, PLATFORM, Me, Person, Role
from tui.effects import Ask, Done, Effect, Field, Form, Go, Level, Prompt, Say, Secret, Values, Write
from tui.panes.device_columns import short

ROLES = tuple(role.value for role in Role)
LOGIN = re.compile(r"iot_u_[a-z0-9_]{1,40}")


def _owned(me: Me) -> list[str]:
    return sorted(tenant for tenant, role in me.roles.items() if role is Role.OWNER)


def new(me: Me, known: Sequence[str]) -> Effect:
    """A form: name, tenant, role, login. known: the tenants there are, as far as we may see them."""
    owned = _owned(me)
    tenants = (*known, PLATFORM) if PLATFORM in owned else tuple(owned)
    if not tenants:
        return Say("only owners invite people", "warn")
    fields = (
        Field("name", "Name", hint="as others read it"),
        Field("tenant", "Tenant", tenants[0], "platform: all tenants", tenants),
        Field("role", "Role", "viewer", "viewer looks; operator takes care; owner changes", ROLES),
        Field("login", "Login", LOGIN_PREFIX, "iot_u_ and a-z, 0-9, _; all tenants can read it"),
    )
    return Form("New person", fields, _check, _created)


def _check(values: Values) -> tuple[Mapping[str, str], str]:
    problems = {}
    if not values["name"].strip():
        problems["name"] = "needs a name"
    if not LOGIN.fullmatch(values["login"]):
        problems["login"] = "iot_u_ and up to 40 of a-z, 0-9, _"
    if values["role"] not in ROLES:
        problems["role"] = f"one of {', '.join(ROLES)}"
    of = "every tenant" if values["tenant"] == PLATFORM else f"tenant {values['tenant']}"
    may = {"viewer": "look at", "operator": "take care of alerts of", "owner": "change devices, rules and users of"}
    sentence = f"{values['name'] or 'The person'} may {may.get(values['role'], '…')} {of}. The password is shown once."
    return problems, sentence


def _created(values: Values) -> Effect:
    login, name, tenant = values["login"], values["name"].strip(), values["tenant"].strip()

    async def run(db: Db) -> Done:
        password = await members.create(db, tenant, login, name, Role(values["role"]))
        return Done(
            f"{name} may log in as {login}: hand the password over",
            secrets=(Secret(login, password),),
            then=Go("users", key=login),
        )

    return Write(f"creating {login}", run)


def change_role(person: Person, me: Me) -> Effect:
    """Ask for `[TENANT] ROLE`."""
    mine = [tenant for tenant in person.roles if me.may(Role.OWNER, tenant)]
    tenant = mine[0] if mine else next(iter(_owned(me)), "")
    current = person.roles.get(tenant, Role.VIEWER).value

    def given(text: str) -> Effect:
        words = text.split()
        if not words or words[-1] not in ROLES or len(words) > 2:
            raise ValueError(f"[TENANT] and one of {', '.join(ROLES)}")
        return _role_given(person, words[0] if len(words) == 2 else tenant, Role(words[-1]))

    return Prompt(
        f"Role of {person.name or person.login}", f"[TENANT] {' | '.join(ROLES)}", given, f"{tenant} {current}"
    )


def _role_given(person: Person, tenant: str, role: Role) -> Effect:
    before = person.roles.get(tenant)

    async def run(db: Db) -> Done:
        await members.set_role(db, tenant, person.login, role)
        undo = Write("changing it back", back) if before is not None else None
        return Done(f"{person.name or person.login} is {role} of {tenant}", undo)

    async def back(db: Db) -> Done:
        assert before is not None
        await members.set_role(db, tenant, person.login, before)
        return Done(f"{person.name or person.login} is {before} of {tenant} again")

    question = f"Make {person.name or person.login} {role} of {tenant}?"
    was = f"was {before}; open sessions have the new rights at once" if before else "had no role there"
    return Ask(Level.NOTICED, question, (was,), Write(f"making {short(person.login)} {role}", run))


def reset(person: Person) -> Effect:
    async def run(db: Db) -> Done:
        password = await members.reset(db, person.login)
        return Done(f"{person.login}: a new password, hand it over", secrets=(Secret(person.login, password),))

    consequences = ("The old one is refused from now on. Open sessions go on: S ends them.",)
    return _ask(Level.OUTAGE, "Give a new password to", person, consequences, Write("resetting", run))


def disable(person: Person, sessions: int) -> Effect:
    if person.disabled:
        return Say(f"{person.login} is disabled already", "warn")

    async def run(db: Db) -> Done:
        ended = await members.set_disabled(db, person.login, True)
        return Done(f"{person.login} is shut out, {ended} sessions ended", _enable(person))

    consequences = (f"Open sessions, {sessions} now, end. Silences and acknowledgements stay. E lets in again.",)
    return _ask(Level.OUTAGE, "Disable", person, consequences, Write(f"disabling {person.login}", run))


def enable(person: Person) -> Effect:
    return _enable(person) if person.disabled else Say(f"{person.login} is not disabled", "warn")


def _enable(person: Person) -> Write:
    async def run(db: Db) -> Done:
        await members.set_disabled(db, person.login, False)
        return Done(f"{person.login} may log in again, with the same password")

    return Write(f"enabling {person.login}", run)


def remove(person: Person, me: Me) -> Effect:
    tenant = person.home if person.home and me.may(Role.OWNER, person.home) else None
    tenant = tenant or next((one for one in person.roles if me.may(Role.OWNER, one)), None)
    if tenant is None:
        return Say(f"you own no tenant of {person.login}", "warn")
    place = tenant
    whole = place == person.home

    async def run(db: Db) -> Done:
        await members.remove(db, place, person.login)
        return Done(f"{person.login} is {'gone' if whole else f'out of {place}'}")

    what = "The login, all its roles and its open sessions end." if whole else f"Only the role in {place} ends."
    consequences = (what, "The audit log keeps what was done.")
    return _ask(Level.DESTROYS, "Remove", person, consequences, Write(f"removing {person.login}", run))


def end_sessions(person: Person, sessions: int) -> Effect:
    async def run(db: Db) -> Done:
        return Done(f"{await members.end_sessions(db, person.login)} sessions of {person.login} ended")

    consequences = (f"{sessions} open; who still may, can log in again.",)
    return _ask(Level.OUTAGE, "End the sessions of", person, consequences, Write("ending sessions", run))


def _ask(level: Level, what: str, person: Person, consequences: tuple[str, ...], write: Write) -> Ask:
    name = person.name or person.login
    return Ask(level, f"{what} {name} ({person.login})?", consequences, write, short(person.login))
