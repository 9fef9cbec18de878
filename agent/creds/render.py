"""A credential set as the two files that Mosquitto reads. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from store.brokers import Grant

SLOT_B = "/b"
SLASHES_IN_SLOT_B = 3
OWN_PREFIX = "_"
PASSWORD_FILE, ACL_FILE = "passwd", "acl"
CANARY = "platform/devices/canary"  # a device, but its login is our own


@dataclass(frozen=True, slots=True)
class Login:
    """An entry of our own. rights: (access, topic filter) pairs."""

    username: str
    stored: str
    rights: tuple[tuple[str, str], ...] = ()

    @property
    def line(self) -> str:
        return f"{self.username}:{self.stored}"


@dataclass(frozen=True, slots=True)
class Files:
    """Contents of the password file and the ACL file."""

    passwd: str
    acl: str


def render(own: Sequence[Login], lines: Sequence[str], grants: Sequence[Grant], per_user: bool) -> Files:
    """Files for our own logins and the devices' `user:hash` lines.

    per_user: a block for each user, for Mosquitto 2.1 and later, where %u stands for one level only. Otherwise one
    pattern serves all first slots (2.0 looks blocks up in a list, so that many of them cost quadratic time).
    """
    ours = {login.username for login in own}
    devices = [line for line in lines if username(line) not in ours]
    passwd = "\n".join(sorted([login.line for login in own] + devices)) + "\n"
    blocks = {login.username: list(login.rights) for login in own if login.rights}
    for name in map(username, devices):
        if per_user or in_slot_b(name):
            blocks[name] = [("readwrite", subtree(name))]
    for grant in grants:
        if grant.username not in ours:
            blocks.setdefault(grant.username, []).append((grant.access, grant.topic_filter))
    return Files(passwd, _acl(blocks.items(), per_user))


def _acl(blocks: Iterable[tuple[str, Sequence[tuple[str, str]]]], per_user: bool) -> str:
    text = ["# Written by iot-agent. Changes by hand are undone."]
    if not per_user:
        # a device's user name is TENANT/devices/DEVICE, so this is its own subtree and nothing else
        text += ["pattern readwrite tenants/%u/#"]
    for name, rights in sorted(blocks):
        text += [f"user {name}", *(f"topic {access} {topic_filter}" for access, topic_filter in rights)]
    return "\n".join(text) + "\n"


def username(line: str) -> str:
    """The user name of a password file's line."""
    return line.partition(":")[0]


def subtree(name: str) -> str:
    """The topic filter that is a device's own: the same for both slots."""
    return f"tenants/{without_slot(name)}/#"


def in_slot_b(name: str) -> bool:
    """Whether a user name is TENANT/devices/DEVICE/b. A device may be named b, too: TENANT/devices/b is in slot a."""
    return name.count("/") == SLASHES_IN_SLOT_B and name.endswith(SLOT_B)


def without_slot(name: str) -> str:
    """TENANT/devices/DEVICE of a user name."""
    return name.removesuffix(SLOT_B) if in_slot_b(name) else name


def device_lines(passwd: str) -> list[str]:
    """The lines of a password file that are not our own."""
    return [line for line in passwd.splitlines() if line and not line.startswith((OWN_PREFIX, CANARY, "#"))]


def device_names(lines: Iterable[str]) -> set[str]:
    """Devices, not credentials: one that moves between slots is one name."""
    return {without_slot(username(line)) for line in lines}


def per_user_blocks(version: str) -> bool:
    """Whether this Mosquitto needs a block for each user: from 2.1 on. An unknown version is taken for an old one,
    which denies too much at worst."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= (2, 1)


def grants_of(acl: str, own: Sequence[Login]) -> list[Grant]:
    """The grants that an ACL file of ours holds, without our own rights and the devices' own subtrees."""
    ours = {login.username for login in own}
    found: list[Grant] = []
    user = ""
    for line in acl.splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword == "user":
            user = rest
        elif keyword == "topic" and user not in ours and not user.startswith(OWN_PREFIX):
            access, _, topic_filter = rest.partition(" ")
            if topic_filter != subtree(user):
                found.append(Grant(user, access, topic_filter))
    return found
