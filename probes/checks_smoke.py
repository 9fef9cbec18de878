"""Checks that send messages as a device of ours, see probes.smoke."""

from probes import smoke
from probes.checks import Probe, World, check, database
from probes.finding import Finding, unknown

NO_PROBE = "there is no device to try it with: [profiles.NAME.probe] device, password (docs/doctor.md)"


def _probe(world: World) -> Probe:
    if world.probe is None:
        raise ValueError(NO_PROBE)
    return world.probe


@check("smoke.plain")
async def smoke_plain(world: World, *, max_seconds: float = smoke.SECONDS) -> Finding:
    """A message goes from the devices' listener into the table, to its tenant, and once though it is sent twice."""
    return await smoke.plain(database(world), _probe(world), float(max_seconds))


@check("smoke.malformed")
async def smoke_malformed(world: World, *, max_seconds: float = smoke.SECONDS) -> Finding:
    """A message that cannot be stored becomes a dead letter, and what comes after it is stored."""
    return await smoke.malformed(database(world), _probe(world), float(max_seconds))


@check("smoke.publish_denied")
async def smoke_publish_denied(world: World) -> Finding:
    """A device cannot publish for another tenant, nor for another device of its own."""
    return await smoke.publish_denied(_probe(world))


@check("smoke.read_denied")
async def smoke_read_denied(world: World) -> Finding:
    """A device receives nothing of another tenant."""
    if world.provoke is None:
        return unknown("nobody is there to send another tenant's message")
    return await smoke.read_denied(_probe(world), world.provoke)


@check("smoke.system_denied")
async def smoke_system_denied(world: World) -> Finding:
    """A device receives nothing of the broker's own topics."""
    return await smoke.system_denied(_probe(world))
