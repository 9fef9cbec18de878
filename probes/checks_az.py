"""Checks that ask Azure, see probes.az. Without an answer they are unknown: the runbook says how to look by hand."""

import asyncio
import shutil
from datetime import datetime, timedelta
from typing import Any

from probes import az, nsg
from probes.checks import World, check, database
from probes.finding import Finding, judged, passed, unknown
from store import activity

NONE = "none"  # what the profile says when there is no such thing
# of roles that are built in, those that only read, and what an agent may need to write measurements
HARMLESS = {
    "reader", "monitoring reader", "log analytics reader", "log analytics data reader", "cost management reader",
    "billing reader", "monitoring metrics publisher", "key vault secrets user", "key vault reader", "security reader",
}  # fmt: skip
SNAPSHOT_DAYS = 7
CREDITS_HOURS = 6


@check("tool.present")
async def tool_present(world: World, *, name: str) -> Finding:
    """A program is installed on this machine."""
    found = shutil.which(name)
    return judged(found is not None, f"{name} is {found}" if found else f"{name} is not installed on this machine")


@check("azure.account")
async def azure_account(world: World) -> Finding:
    """You are logged in to Azure on this machine."""
    found = await az.run("account", "show")
    return passed(f"{found['user']['name']}, subscription {found['name']}")


@check("azure.vm_power")
async def azure_vm_power(world: World, *, rg: str, vm: str, expect: str = "running") -> Finding:
    """The power state of the VM."""
    view = await az.run("vm", "get-instance-view", "-g", rg, "-n", vm)  # now, not as it was a while ago
    codes = [str(status["code"]) for status in view["instanceView"]["statuses"]]
    power = next((code.removeprefix("PowerState/") for code in codes if code.startswith("PowerState/")), None)
    return unknown("Azure does not say") if power is None else judged(power == expect, f"{vm} is {power}")


@check("azure.nsg_reach")
async def azure_nsg_reach(
    world: World, *, rg: str, nsg_name: str, port: int, expect: str, source: str = nsg.WORLD
) -> Finding:
    """Whether a packet from an address would be let in, by the rules of one network security group, as they are now."""
    group = await az.run("network", "nsg", "show", "-g", rg, "-n", nsg_name)
    return nsg.reach([group], source, int(port), expect)


@check("azure.vm_reach")
async def azure_vm_reach(world: World, *, rg: str, vm: str, port: int, expect: str, source: str = nsg.WORLD) -> Finding:
    """Whether a packet from an address reaches the VM: by the groups of its subnets and of its network interfaces."""
    return nsg.reach_any(await _doors(world, rg, vm), source, int(port), expect)


@check("azure.vm_only")
async def azure_vm_only(world: World, *, rg: str, vm: str, allowed: str = "8883") -> Finding:
    """No other port of the VM is open to the world, by any range that some rule allows."""
    return nsg.open_ports(await _doors(world, rg, vm), {int(port) for port in str(allowed).split(",")})


@check("azure.nsg_attached")
async def azure_nsg_attached(world: World, *, rg: str, vm: str) -> Finding:
    """Each network interface of the VM has a network security group, of its own or of its subnet."""
    doors = await _doors(world, rg, vm)
    bare = [f"{door.name}{' with a public address' if door.public else ''}" for door in doors if not door.groups]
    if not doors:
        return unknown("az lists no network interface of the VM")
    names = sorted({str(group["name"]) for door in doors for group in door.groups})
    return judged(not bare, f"none at {', '.join(bare)}" if bare else f"by {', '.join(names)}")


async def _doors(world: World, rg: str, vm: str) -> list[nsg.Door]:
    machine, *rest = await asyncio.gather(
        world.azure.ask("vm", rg=rg, vm=vm), *(world.azure.ask(name) for name in ("nics", "vnets", "nsgs"))
    )
    return nsg.doors(machine, *rest)


@check("azure.vm_roles")
async def azure_vm_roles(world: World, *, rg: str, vm: str) -> Finding:
    """What the VM may do in Azure: whoever is on it may do the same."""
    machine, roles = await asyncio.gather(world.azure.ask("vm", rg=rg, vm=vm), world.azure.ask("roles"))
    identity = machine.get("identity") or {}
    assigned = (identity.get("userAssignedIdentities") or {}).values()
    mine = {one.get("principalId") for one in (identity, *assigned)} - {None}
    if not mine:
        return passed("the VM has no identity")
    held = [
        (str(role.get("roleDefinitionName", "?")), str(role.get("scope", "")).rsplit("/", 1)[-1] or "/")
        for role in roles
        if role.get("principalId") in mine
    ]
    names = [f"{name} on {scope}" for name, scope in held]
    harmful = [f"{name} on {scope}" for name, scope in held if name.lower() not in HARMLESS]
    return judged(not harmful, "; ".join(harmful or names) or "no role")


@check("azure.credits")
async def azure_credits(world: World, *, at_least: float = 60) -> Finding:
    """CPU credits of the VM, as its agent measured them: enough, and not used up within hours."""
    found = await activity.newest_samples(database(world), "azure.vm.cpu_credits", timedelta(hours=CREDITS_HOURS))
    if not found:
        return unknown("nothing was measured lately: is [cloud] vm set on the agent?")
    (first_at, first), (last_at, last) = found[0], found[-1]
    hours = (last_at - first_at).total_seconds() / 3600
    falls = (first - last) / hours if hours > 1 else 0.0
    left = f", used up in {last / falls:.0f} h" if falls > 0 and last / falls < 24 else ""
    return judged(last >= float(at_least) and not left, f"{last:.0f} credits{left}")


@check("azure.watched")
async def azure_watched(world: World, *, vm: str) -> Finding:
    """Somebody outside the VM notices its end: a metric alert on its availability, enabled, with a receiver."""
    alerts, groups = await asyncio.gather(world.azure.ask("metric-alerts"), world.azure.ask("action-groups"))
    reached = {str(group["id"]).lower() for group in groups if group.get("enabled", True) and _receivers(group)}
    told = [
        f"{alert['name']} tells {action['actionGroupId'].rsplit('/', 1)[-1]}"
        for alert in alerts
        if alert.get("enabled") and _watches(alert, vm)
        for action in alert.get("actions") or ()
        if str(action.get("actionGroupId", "")).lower() in reached
    ]
    said = "; ".join(told) or f"no enabled metric alert on VmAvailabilityMetric of {vm} tells anybody"
    return judged(bool(told), said)


def _watches(alert: dict[str, Any], vm: str) -> bool:
    scopes = [str(scope).rsplit("/", 1)[-1].lower() for scope in alert.get("scopes") or ()]
    return vm.lower() in scopes and any(map(_notices, (alert.get("criteria") or {}).get("allOf") or ()))


def _notices(criterion: dict[str, Any]) -> bool:
    """Whether it is met when the VM is gone: the metric is 0 then, and 1 before."""
    below = str(criterion.get("operator", "LessThan")).lower() in ("lessthan", "lessthanorequal")
    return (
        str(criterion.get("metricName")) == "VmAvailabilityMetric"
        and below
        and float(criterion.get("threshold", 1)) > 0
    )


def _receivers(group: dict[str, Any]) -> bool:
    return any(value for key, value in group.items() if key.endswith("Receivers"))


@check("azure.recoverable")
async def azure_recoverable(world: World, *, rg: str, vm: str) -> Finding:
    """The VM's agent is ready, so that run-command works when SSH does not; boot diagnostics are on."""
    machine, view = await asyncio.gather(
        world.azure.ask("vm", rg=rg, vm=vm), world.azure.ask("instance-view", rg=rg, vm=vm)
    )
    agent = (view.get("instanceView") or {}).get("vmAgent") or {}
    ready = any(status.get("displayStatus") == "Ready" for status in agent.get("statuses") or ())
    boot = ((machine.get("diagnosticsProfile") or {}).get("bootDiagnostics") or {}).get("enabled")
    wrong = [] if ready else ["the VM's agent is not ready: run-command does not work"]
    wrong += [] if boot else ["boot diagnostics are off: no serial console"]
    return judged(not wrong, "; ".join(wrong) or "the VM's agent is ready, boot diagnostics are on")


@check("azure.kept")
async def azure_kept(world: World, *, rg: str, vm: str) -> Finding:
    """A lock keeps the VM from being deleted, and its disk has a snapshot that is not old."""
    machine, locks, snapshots = await asyncio.gather(
        world.azure.ask("vm", rg=rg, vm=vm), world.azure.ask("locks"), world.azure.ask("snapshots")
    )
    mine = str(machine["id"]).lower()
    scopes = [str(lock["id"]).lower().partition("/providers/microsoft.authorization/")[0] for lock in locks]
    wrong = [] if any(f"{mine}/".startswith(f"{scope}/") for scope in scopes) else [f"{vm} is not locked"]
    disk = str(((machine.get("storageProfile") or {}).get("osDisk") or {}).get("managedDisk", {}).get("id", "")).lower()
    made = [
        datetime.fromisoformat(str(one["timeCreated"])).timestamp()
        for one in snapshots
        if disk and str((one.get("creationData") or {}).get("sourceResourceId", "")).lower() == disk
    ]
    ages = [(world.now() - at) / 86_400 for at in made if at <= world.now() + 3600]
    if not ages or min(ages) > SNAPSHOT_DAYS:
        wrong.append(f"the newest snapshot is {min(ages):.0f} days old" if ages else "its disk has no snapshot")
    return judged(not wrong, "; ".join(wrong) or f"locked; the newest snapshot is {max(0.0, min(ages)):.0f} days old")


@check("azure.function")
async def azure_function(world: World, *, rg: str, function: str) -> Finding:
    """The cloud function: https only, TLS 1.2, no FTP. `none`: it was taken away after the cut-over."""
    if function == NONE:
        return passed("there is none any more")
    app, settings = await asyncio.gather(
        *(world.azure.ask(name, rg=rg, function=function) for name in ("function", "function-config"))
    )
    wrong = [] if app.get("httpsOnly") else ["plain HTTP is answered"]
    if str(settings.get("minTlsVersion")) not in ("1.2", "1.3"):
        wrong.append(f"TLS {settings.get('minTlsVersion')} is accepted")
    if settings.get("ftpsState") != "Disabled":
        wrong.append(f"FTP is {settings.get('ftpsState')}")
    return judged(not wrong, "; ".join(wrong) or "https only, TLS 1.2, no FTP")
