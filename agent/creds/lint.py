"""A strict reading of the broker's files, before they are put in place. Knows nothing of how they were rendered. Pure.

Mosquitto 2.0 lets everybody do everything after a reload of an ACL file that it cannot parse, and 2.1 exits.
"""

import re
from collections.abc import Iterator

from agent.creds.render import Files

HASH = re.compile(r"\$7\$\d{1,6}\$[A-Za-z0-9+/]{16}\$[A-Za-z0-9+/]{86}==")
NAME = re.compile(r"[a-z0-9_][a-z0-9-]*(/[a-z0-9-]+){0,3}")
ACCESS = {"read", "write", "readwrite", "deny"}
FILTER = re.compile(r"([^+#/\s]*|\+)(/([^+#/\s]*|\+))*(/#)?|#")
SERVICE_TENANT = "platform"
PATTERN = "tenants/%u/#"


def problems(files: Files) -> list[str]:
    """Everything that is wrong, one line each; empty when the files may be used."""
    return [*_passwd(files.passwd), *_acl(files.acl)]


def _passwd(text: str) -> Iterator[str]:
    seen: set[str] = set()
    if not text.endswith("\n"):
        yield "passwd: the last line is cut off"
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, stored = line.partition(":")
        if not colon or not NAME.fullmatch(name) or not HASH.fullmatch(stored):
            yield f"passwd line {number}: not USER:HASH"  # never the line itself: it may be a secret
        elif name in seen:
            yield f"passwd line {number}: {name} is there twice"
        seen.add(name)


def _acl(text: str) -> Iterator[str]:
    user: str | None = None
    seen: set[str] = set()
    if not text.endswith("\n"):
        yield "acl: the last line is cut off"
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        keyword, _, rest = line.partition(" ")
        if keyword == "user":
            if not NAME.fullmatch(rest) or rest in seen:
                yield f"acl line {number}: {rest!r} is no user name, or is there twice"
            user = rest
            seen.add(rest)
        else:
            yield from (f"acl line {number}: {fault}" for fault in _rule(keyword, rest, user))


def _rule(keyword: str, rest: str, user: str | None) -> Iterator[str]:
    access, _, topic_filter = rest.partition(" ")
    if access not in ACCESS or not FILTER.fullmatch(topic_filter):
        yield f"{rest!r} is not ACCESS FILTER"
    elif keyword == "pattern":
        if topic_filter != PATTERN:
            yield f"the only pattern we use is {PATTERN}"
    elif keyword != "topic":
        yield f"unknown keyword {keyword!r}"
    elif user is None:
        yield "a right for everyone: it belongs below a user"
    elif not user.startswith(("_", f"{SERVICE_TENANT}/")) and not topic_filter.startswith(_tenant(user)):
        yield f"{user} must not reach {topic_filter}, outside of its tenant"


def _tenant(user: str) -> str:
    return f"tenants/{user.partition('/')[0]}/"
