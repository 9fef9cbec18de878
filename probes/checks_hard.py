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
from probes.checks import World, check, database, listener
from probes.finding import Finding, failed, judged, passed, unknown
from probes.mqtt import LoginRefused, connect
from probes.tls import verifying_context
from store import agents, credentials, hardening

SECONDS = 4.0
USUAL = (
    21, 22, 23, 25, 80, 110, 143, 443, 1880, 1883, 3000, 3306, 5432, 6379, 8080, 8083, 8084, 8443, 8883, 8884, 9001,
    9090, 9464, 27017,
)  # fmt: skip
DEFAULTS = (("admin", "admin"), ("admin", "password"), ("admin", "public"), ("mosquitto", "mosquitto"),
            ("guest", "guest"), ("test", "test"), ("root", "root"))  # fmt: skip


@check("net.only")
async def net_only(world: World, *, allowed: str = "8883,22") -> Finding:
    """Of the usual ports of the broker's machine, only these answer from here."""
    place = listener(world)
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
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(place.host, place.port, ssl=tls)
    except TimeoutError:
        return unknown("the handshake does not end")
    except ssl.SSLError as error:
        if "no protocols available" in str(error).lower() or "no_ciphers" in str(error).lower():
            return unknown("this machine's OpenSSL cannot speak TLS 1.1")
        return passed("TLS 1.1 is refused")
    except OSError:
        return passed("TLS 1.1 is refused")
    spoken = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()
    return failed(f"{spoken} is accepted")


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
    on = await hardening.tls(database(world))
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


@check("db.timeouts")
async def db_timeouts(world: World) -> Finding:
    """A session cannot wait, hold a lock or keep a transaction open for ever."""
    return _none(await hardening.without_timeout(database(world)), "all three are set")


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
    """Key, signature and cipher of the devices' listener are of those that are recommended.

    Source: Mozilla, Server Side TLS 5.8, "intermediate".
    """
    place = listener(world)
    tls = verifying_context(place.ca_file, place.name)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 has no weak ones
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(place.host, place.port, ssl=tls)
    except (OSError, TimeoutError) as error:
        return unknown(f"{place.host}:{place.port}: {str(error) or 'no answer'}")
    side = writer.get_extra_info("ssl_object")
    cipher, raw = side.cipher()[0], side.getpeercert(binary_form=True)
    writer.transport.abort()
    words, weak = strength(raw)
    if not (cipher.startswith("ECDHE") and ("GCM" in cipher or "CHACHA20" in cipher)):
        weak.append(cipher)
    return judged(not weak, f"weak: {', '.join(weak)}" if weak else f"{words}, {cipher}")


@check("creds.due")
async def creds_due(world: World) -> Finding:
    """No password, login or certificate is past the date that the rotation policy gives it."""
    late = [due for due in await credentials.due(database(world)) if due.overdue]
    words = "; ".join(f"{due.policy}: {due.overdue} of {due.subjects}, such as {due.first}" for due in late)
    return judged(not late, words or "nothing is overdue")
