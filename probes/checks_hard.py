"""Checks of hardening: what must not be possible, tried or read. A handful of packets, to hosts of one's own only."""

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from probes.broker import BrokerError, BrokerLogin
from probes.certificates import strength
from probes.checks import Listener, World, check, database, listener
from probes.finding import Finding, failed, judged, passed, unknown
from probes.mqtt import LoginRefused, connect
from probes.tls import verifying_context
from store import agents, credentials, hardening

SECONDS = 4.0
ALERTS = ("alert protocol version", "alert_protocol_version", "handshake_failure", "handshake failure")
USUAL = (
    21, 22, 23, 25, 80, 110, 143, 443, 1880, 1883, 3000, 3306, 5432, 6379, 8080, 8083, 8084, 8443, 8883, 8884, 9001,
    9090, 9464, 27017,
)  # fmt: skip
WEAK = "ALL:!AESGCM:!CHACHA20:!AESCCM:!aNULL:@SECLEVEL=0"
DEFAULTS = (("admin", "admin"), ("admin", "password"), ("admin", "public"), ("mosquitto", "mosquitto"),
            ("guest", "guest"), ("test", "test"), ("root", "root"))  # fmt: skip


@check("net.only")
async def net_only(world: World, *, allowed: str = "8883,22") -> Finding:
    """Of the usual ports of the broker's machine, only these answer from here."""
    place = listener(world)
    if not await _answers(place.host, place.port):
        return unknown(f"{place.host}:{place.port} does not answer either: is this the right machine, and is it there?")
    wanted = {int(port) for port in str(allowed).split(",")} | {place.port}
    answers = await asyncio.gather(*(_answers(place.host, port) for port in USUAL if port not in wanted))
    others = [port for port in answers if port]
    said = (
        f"{place.host} also answers on {', '.join(map(str, others))}"
        if others
        else f"nothing else of {len(USUAL)} answers"
    )
    return judged(not others, said)


async def _answers(host: str, port: int) -> int:
    """The port, if it does; 0 otherwise."""
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError):
        return 0
    return port


@check("tls.old_refused")
async def tls_old_refused(world: World) -> Finding:
    """The devices' listener refuses TLS 1.0 and 1.1."""
    place = listener(world)
    with warnings.catch_warnings():  # that they are outdated is the point
        warnings.simplefilter("ignore", DeprecationWarning)
        tls = verifying_context(place.ca_file, place.name)
        tls.minimum_version = ssl.TLSVersion.TLSv1
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with contextlib.suppress(ssl.SSLError):
        tls.set_ciphers("DEFAULT@SECLEVEL=0")
    if not await _answers(place.host, place.port):
        return unknown(f"{place.host}:{place.port} does not answer")
    try:
        side = await _handshake(place, tls)
    except TimeoutError:
        return unknown("the handshake does not end")
    except ssl.SSLCertVerificationError:
        return failed("TLS 1.1 is accepted, with a certificate that is refused")
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower()
        if any(word in reason for word in ALERTS):
            return passed(f"TLS 1.1 is refused: {reason.replace('_', ' ')}")
        return unknown(f"this machine cannot ask: {reason.replace('_', ' ')}")
    except OSError as error:
        return unknown(f"the connection broke: {error}")
    return failed(f"{side.version()} is accepted")


@check("mqtt.no_anonymous")
async def mqtt_no_anonymous(world: World) -> Finding:
    """A client without a user is refused."""
    return await _refused(world, [("", "")], "a client without a user is let in")


@check("mqtt.no_default")
async def mqtt_no_default(world: World) -> Finding:
    """Usual users with their usual passwords are refused."""
    return await _refused(world, DEFAULTS, "a user with a usual password is let in")


async def _refused(world: World, logins: Sequence[tuple[str, str]], otherwise: str) -> Finding:
    place = listener(world)
    tls = verifying_context(place.ca_file, place.name)
    for user, password in logins:
        try:
            async with connect(BrokerLogin(place.host, place.port, tls, user, password), SECONDS):
                return failed(f"{otherwise}: {user or 'anonymous'}")
        except LoginRefused:
            continue
        except BrokerError as error:
            return unknown(str(error))
    return passed(f"{len(logins)} tried, all refused")


@check("db.tls")
async def db_tls(world: World) -> Finding:
    """The connection to the database is encrypted and verified; a Unix socket has no network."""
    if world.target is not None and world.target.local_socket:
        return passed("a Unix socket: no network")
    on = await database(world).encrypted()
    return judged(on, "TLS, verified by name" if on else "it is not encrypted")


@check("db.roles")
async def db_roles(world: World) -> Finding:
    """No login of agents or people is superuser, passes row level security, or makes roles."""
    found = await hardening.powerful(database(world))
    return _none([f"{one.login}: {one.powers}" for one in found], "no login has more than its role")


@check("db.rls")
async def db_rls(world: World) -> Finding:
    """Row level security is on for every table, and no policy is open to everybody."""
    db = database(world)
    found = [f"{name} has no row level security" for name in await hardening.unguarded(db)]
    found += [f"{name} is always true" for name in await hardening.always_true(db)]
    return _none(found, "on for every table")


@check("db.exposed")
async def db_exposed(world: World) -> Finding:
    """Supabase's web roles, anon and authenticated, reach none of our tables."""
    return _none(await hardening.exposed(database(world)), "nothing is reachable over the web API")


@check("db.append_only")
async def db_append_only(world: World) -> Finding:
    """An agent adds telemetry, and neither changes nor removes it."""
    found = await hardening.agent_can(database(world))
    return judged(not found, f"an agent may {found} telemetry" if found else "an agent only adds")


@check("db.pinned")
async def db_pinned(world: World) -> Finding:
    """Functions with their owner's rights search where they were told, not where the caller says."""
    return _none(await hardening.loose(database(world)), "all are pinned")


@check("db.own_login")
async def db_own_login(world: World) -> Finding:
    """The login of whoever looks is an agent's, and has no more than an agent needs."""
    login, mighty = await hardening.own(database(world))
    if mighty:
        return failed(f"{login} owns the tables, or is more: the agent could rewrite everything")
    ours = login.startswith("iot_agent_")
    return judged(ours, login if ours else f"{login} is no login of an agent")


def _none(found: Sequence[str], otherwise: str) -> Finding:
    if not found:
        return passed(otherwise)
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return failed(f"{found[0]}{more}", "\n".join(found))


@check("agent.version")
async def agent_version(world: World) -> Finding:
    """The agents have the version of this console."""
    mine = version("iot-console")
    found = await agents.all_agents(database(world))
    if not found:
        return unknown("no agent has ever reported")
    others = [f"{row.agent_id} has {row.version}" for row in found if row.version != mine]
    return judged(not others, "; ".join(others) or f"all have {mine}")


@check("db.one_writer")
async def db_one_writer(world: World) -> Finding:
    """Nobody but the agents may add telemetry: a cloud function of before would store everything twice."""
    found = await hardening.writers(database(world))
    return judged(not found, f"{', '.join(found)} may add rows, too" if found else "only agents may add rows")


@check("db.way")
async def db_way(world: World) -> Finding:
    """The database's name has an IPv4 address: machines without IPv6 would wait for its answer until they give up."""
    target = world.target
    if target is None:
        return unknown("which database is not known")
    if target.local_socket or target.through is not None:
        return passed("a Unix socket" if target.local_socket else "through SSH")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return failed(f"{target.host}: {error.strerror}")
    old = [str(entry[4][0]) for entry in found if entry[0] is socket.AF_INET]
    return judged(bool(old), f"{target.host} is {old[0]}" if old else f"{target.host} has IPv6 addresses only")


@check("tls.strong")
async def tls_strong(world: World) -> Finding:
    """Key and signature of the devices' listener are strong, and it takes no cipher that is not.

    Source: Mozilla, Server Side TLS 5.8, "intermediate": forward secrecy and authenticated encryption only.
    """
    place = listener(world)
    try:
        side = await _handshake(place, verifying_context(place.ca_file, place.name))
    except (OSError, TimeoutError) as error:
        return unknown(f"{place.host}:{place.port}: {str(error) or 'no answer'}")
    words, weak = strength(side.getpeercert(binary_form=True) or b"")
    old = verifying_context(place.ca_file, place.name)
    old.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 has no weak ones
    old.set_ciphers(WEAK)
    try:
        cipher = (await _handshake(place, old)).cipher()
        weak.append(cipher[0] if cipher else "a weak cipher")
    except ssl.SSLCertVerificationError as error:
        return unknown(str(error))
    except (OSError, TimeoutError):
        pass  # none of them is taken
    return judged(not weak, f"weak: {', '.join(weak)}" if weak else f"{words}, no weak cipher")


async def _handshake(place: Listener, tls: ssl.SSLContext) -> ssl.SSLObject:
    """Raises OSError, of which ssl.SSLError is one, and TimeoutError."""
    async with asyncio.timeout(SECONDS):
        _, writer = await asyncio.open_connection(place.host, place.port, ssl=tls)
    side: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return side


@check("creds.due")
async def creds_due(world: World) -> Finding:
    """No password, login or certificate is past the date that the rotation policy gives it."""
    late = [due for due in await credentials.due(database(world)) if due.overdue]
    words = "; ".join(f"{due.policy}: {due.overdue} of {due.subjects}, such as {due.first}" for due in late)
    return judged(not late, words or "nothing is overdue")
