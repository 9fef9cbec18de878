"""Mosquitto's dynamic-security plugin, used as a kill switch and as the net below the ACL file.

With the plugin loaded, an ACL file that 2.0 cannot parse denies instead of allowing. It knows our control logins only;
for everybody else it defers to the files. A user name that is created there and disabled is cut off within a
millisecond, however many devices there are.
"""

import asyncio
import base64
import hashlib
import itertools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from probes.broker import BrokerError
from probes.mqtt import MqttClient

COMMANDS = "$CONTROL/dynamic-security/v1"
ANSWERS = f"{COMMANDS}/response"
ADMIN_ROLE = "admin"
ROUNDS = 101  # what 2.0 uses; checked once per connection
ANSWER_SECONDS = 10.0
UNCRITICAL = ("not found", "already exists", "already disabled")


class DynsecError(BrokerError):
    """A command was not accepted, or not answered."""


@dataclass(frozen=True, slots=True)
class DynsecClient:
    """A user that the plugin knows."""

    username: str
    disabled: bool


class Dynsec:
    """Commands over a connection that listens to ANSWERS. Feed it what arrives there with take()."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[list[dict[str, Any]]]] = {}
        self._prefix = secrets.token_hex(4)  # every subscriber gets all answers

    def take(self, payload: bytes) -> None:
        """A message from ANSWERS."""
        answers = orjson.loads(payload).get("responses", [])
        found = next((a.get("correlationData") for a in answers if a.get("correlationData")), None)
        waiting = self._waiting.get(str(found))
        if waiting is not None and not waiting.done():
            waiting.set_result(answers)

    async def command(self, *commands: Mapping[str, object]) -> list[dict[str, Any]]:
        """Send commands as one message, which the plugin carries out in order, and return the answers.

        An error that leaves things as they should be (nothing there to delete) is no error.
        Raises DynsecError, BrokerError.
        """
        key = f"{self._prefix}-{next(self._ids)}"
        answer: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                body = orjson.dumps({"commands": [{**command, "correlationData": key} for command in commands]})
                code = await self._client.publish(COMMANDS, body)
                if code >= 0x80:
                    raise DynsecError(f"the broker refuses our commands (code {code:#x})")
                answers = await answer
        except TimeoutError as error:
            raise DynsecError("the dynamic-security plugin does not answer; is it in the configuration?") from error
        finally:
            del self._waiting[key]
        faults = [str(a["error"]) for a in answers if "error" in a]
        faults = [fault for fault in faults if not fault.lower().endswith(UNCRITICAL)]
        if faults:
            raise DynsecError(f"dynamic-security: {'; '.join(faults)}")
        return answers

    async def cut_off(self, usernames: Sequence[str]) -> None:
        """Disconnect these users and let them in no more, until lift()."""
        pairs = [
            ({"command": "createClient", "username": name}, {"command": "disableClient", "username": name})
            for name in usernames
        ]
        await self.command(*itertools.chain.from_iterable(pairs))

    async def lift(self, usernames: Sequence[str]) -> None:
        if usernames:
            await self.command(*({"command": "deleteClient", "username": name} for name in usernames))

    async def add_admin(self, username: str, password: str) -> None:
        await self.command(
            {"command": "deleteClient", "username": username},
            {
                "command": "createClient",
                "username": username,
                "password": password,
                "roles": [{"rolename": ADMIN_ROLE}],
            },
        )

    async def clients(self) -> list[DynsecClient]:
        (answer,) = await self.command({"command": "listClients", "verbose": True, "count": -1, "offset": 0})
        found = answer.get("data", {}).get("clients", [])
        return [DynsecClient(c["username"], bool(c.get("disabled", False))) for c in found]


def first_configuration(username: str, password: str) -> str:
    """The plugin's file with one control login and nothing else, for a broker that is not running."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS)
    rights = [
        ("publishClientSend", "$CONTROL/dynamic-security/#"),
        ("publishClientReceive", "$CONTROL/dynamic-security/#"),
        ("publishClientReceive", "$SYS/#"),
        ("subscribePattern", "$CONTROL/dynamic-security/#"),
        ("subscribePattern", "$SYS/#"),
    ]
    login = {
        "username": username,
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": ROUNDS,
        "roles": [{"rolename": ADMIN_ROLE}],
    }
    acls = [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in rights]
    nothing = {"publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True}
    configuration = {
        "defaultACLAccess": nothing,
        "clients": [login],
        "groups": [],
        "roles": [{"rolename": ADMIN_ROLE, "acls": acls}],
    }
    return orjson.dumps(configuration, option=orjson.OPT_INDENT_2).decode() + "\n"
