"""Checks of what the network shows: ports, certificates, the broker's answer. All TLS is verified."""

import asyncio
import secrets
import shutil
import socket
import ssl

from probes import program
from probes.broker import BrokerError, BrokerLogin
from probes.certificates import served
from probes.checks import Listener, World, check, listener
from probes.finding import Finding, Outcome, failed, judged, passed, unknown
from probes.mqtt import LoginRefused, connect
from probes.program import NotEndedError
from probes.tls import verifying_context

SECONDS = 5.0
NOBODY = "_probe/nobody"


@check("tcp.open")
async def tcp_open(world: World, *, host: str = "", port: int = 0) -> Finding:
    """A TCP connection can be made; without host and port, to the devices' listener."""
    return await _tcp(*_place(world, host, port), expect=True)


@check("tcp.closed")
async def tcp_closed(world: World, *, port: int, host: str = "") -> Finding:
    """Nothing answers there."""
    return await _tcp(*_place(world, host, port), expect=False)


async def _tcp(host: str, port: int, expect: bool) -> Finding:
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except TimeoutError:
        return judged(not expect, f"{host}:{port} does not answer within {SECONDS:.0f} s")
    except socket.gaierror as error:
        return unknown(f"{host}: {error.strerror}")
    except ConnectionRefusedError:
        return judged(not expect, f"{host}:{port} refuses connections")
    except OSError as error:  # such as no network here: nothing is known of there
        said = f"{host}:{port}: {(error.strerror or str(error)).lower()}"
        return failed(said) if expect else unknown(said)
    return judged(expect, f"{host}:{port} takes connections")


def _place(world: World, host: str, port: int) -> tuple[str, int]:
    known = world.listener if host and port else listener(world)
    return host or (known.host if known else ""), int(port) or (known.port if known else 0)


@check("dns.resolve")
async def dns_resolve(world: World, *, host: str) -> Finding:
    """The name has an address."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return failed(f"{host}: {error.strerror}")
    return passed(f"{host} is {', '.join(sorted({str(entry[4][0]) for entry in found}))}")


@check("tls.handshake")
async def tls_handshake(world: World) -> Finding:
    """The devices' listener shows a certificate whose chain and name are right; unknown when it shows none."""
    return await _certificate(listener(world), 0.0)


@check("tls.expiry")
async def tls_expiry(world: World, *, min_days: float) -> Finding:
    """The certificate that is served, and the CA that is trusted, are good for so many more days."""
    return await _certificate(listener(world), float(min_days))


async def _certificate(place: Listener, min_days: float) -> Finding:
    try:
        found = await served(place.host, place.port, verifying_context(place.ca_file, place.name))
    except ssl.SSLCertVerificationError as error:
        return failed(f"{place.host}:{place.port}: clients refuse its certificate: {error.verify_message}")
    except TimeoutError:
        return unknown(f"{place.host}:{place.port}: the handshake does not end")
    except OSError as error:
        return unknown(f"{place.host}:{place.port}: {(error.strerror or str(error)).lower()}")
    days = found.days_left()
    ca = "" if found.ca_until is None else f", its CA {days + (found.ca_until - found.until) / 86_400:.0f}"
    least = days if found.ca_until is None else min(days, days + (found.ca_until - found.until) / 86_400)
    return judged(least >= min_days, f"{', '.join(found.names) or found.subject}: {days:.0f} days left{ca}")


@check("mqtt.answers")
async def mqtt_answers(world: World, *, attempts: int = 1) -> Finding:
    """The broker ends a verified TLS handshake and refuses a stranger's login, each of so many times."""
    place = listener(world)
    found = failed("not asked")
    for _ in range(max(1, int(attempts))):
        found = await _stranger(place)
        if found.outcome is not Outcome.PASS:
            return found
    return found


async def _stranger(place: Listener) -> Finding:
    tls = verifying_context(place.ca_file, place.name)
    login = BrokerLogin(place.host, place.port, tls, NOBODY, secrets.token_urlsafe(12))
    try:
        async with connect(login, SECONDS):
            return failed(f"{place.host}:{place.port} lets in a login that does not exist")
    except LoginRefused:
        return passed(f"{place.host}:{place.port} answers, and refuses a stranger")
    except BrokerError as error:
        return failed(str(error))


@check("ssh.login")
async def ssh_login(world: World) -> Finding:
    """The VM lets you in over SSH, by key and without a question."""
    if not world.ssh:
        return unknown("how to reach the VM is not known: set ssh in the profile of the config file")
    if shutil.which("ssh") is None:
        return unknown("ssh is not installed on this machine")
    options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={SECONDS:.0f}")
    try:
        ended = await program.run(("ssh", *options, *world.ssh, "true"), 2 * SECONDS)
    except NotEndedError:
        return failed(f"no login within {2 * SECONDS:.0f} s")
    said = program.last_line(ended.complaint, "no reason given")
    return passed("logged in") if ended.code == 0 else failed(said[:200])
