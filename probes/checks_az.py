"""Checks that ask Azure through the `az` program, with the rights of whoever is logged in on this machine.

Without az, or without its login, they are unknown: the runbook says how to look by hand.
"""

import json
import shutil
from typing import Any

from probes import nsg, program
from probes.checks import World, check
from probes.finding import Finding, judged, passed, unknown
from probes.program import NotEndedError, NotStartedError

SECONDS = 40.0


class AzError(Exception):
    """az could not answer; the message says why."""


@check("tool.present")
async def tool_present(world: World, *, name: str) -> Finding:
    """A program is installed on this machine."""
    found = shutil.which(name)
    return judged(found is not None, f"{name} is {found}" if found else f"{name} is not installed on this machine")


@check("azure.account")
async def azure_account(world: World) -> Finding:
    """You are logged in to Azure on this machine."""
    try:
        found = await az("account", "show")
    except AzError as error:
        return unknown(str(error))
    return passed(f"{found['user']['name']}, subscription {found['name']}")


@check("azure.vm_power")
async def azure_vm_power(world: World, *, rg: str, vm: str, expect: str = "running") -> Finding:
    """The power state of the VM."""
    try:
        view = await az("vm", "get-instance-view", "-g", rg, "-n", vm)
    except AzError as error:
        return unknown(str(error))
    codes = [str(status["code"]) for status in view["instanceView"]["statuses"]]
    power = next((code.removeprefix("PowerState/") for code in codes if code.startswith("PowerState/")), None)
    return unknown("Azure does not say") if power is None else judged(power == expect, f"{vm} is {power}")


@check("azure.nsg_reach")
async def azure_nsg_reach(
    world: World, *, rg: str, nsg_name: str, port: int, expect: str, source: str = nsg.WORLD
) -> Finding:
    """Whether a packet from an address would be let in, by the rules of the network security group."""
    try:
        group = await az("network", "nsg", "show", "-g", rg, "-n", nsg_name)
    except AzError as error:
        return unknown(str(error))
    return nsg.reach([group], source, int(port), expect)


async def az(*arguments: str) -> Any:
    """What `az ... -o json` prints. Raises AzError."""
    if shutil.which("az") is None:
        raise AzError("az is not installed on this machine")
    try:
        ended = await program.run(("az", *arguments, "-o", "json", "--only-show-errors"), SECONDS)
    except (NotStartedError, NotEndedError) as error:
        raise AzError(str(error)) from error
    if ended.code:
        last = (ended.complaint.strip().splitlines() or ["no reason given"])[-1]
        raise AzError(f"az: {last[:200]}")
    try:
        return json.loads(ended.printed)
    except ValueError as error:
        raise AzError(f"az printed no JSON: {error}") from None
