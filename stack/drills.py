"""The drills: which fault, which alert must come of it, and within which time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from stack import faults
from stack.faults import MEMORY_SHARE, Fault, disk_bite
from stack.process import StackError


@dataclass(frozen=True, slots=True)
class Drill:
    """alerts: any of them shows that the fault was seen. within: seconds from the fault to the message, at most.

    limits: of rules whose own limit would need a fault that harms the machine; made from its state before the fault.
    """

    name: str
    what: str
    alerts: tuple[str, ...]
    fault: Fault
    within: float
    rule_ids: tuple[str, ...]
    limits: Callable[[Path], dict[str, str]] = field(default=lambda _: {})
    two_agents: bool = False
    talking: bool = False
    cloud: bool = False


def _memory_limit(_: Path) -> dict[str, str]:
    return {"vm-memory": f"> {psutil.virtual_memory().percent + MEMORY_SHARE / 2:.1f}"}


def _disk_limit(path: Path) -> dict[str, str]:
    """Half of the bite away, so that neither the stack's own growth nor a neighbour's clean-up decides."""
    disk = psutil.disk_usage(str(path))
    return {"vm-disk": f"> {disk.percent + 50 * disk_bite(path) / disk.total:.2f}"}


ALL = (
    Drill(
        "mqtt-down",
        "the broker is killed",
        ("MqttConnectionDown", "BrokerDown"),
        faults.broker_killed,
        15,
        ("mqtt-connection", "broker-down"),
    ),
    Drill("broker-hung", "the broker is frozen", ("BrokerDown",), faults.broker_hung, 25, ("broker-down",)),
    Drill(
        "db-down",
        "PostgreSQL is stopped",
        ("DatabaseUnavailable",),
        faults.database_stopped,
        20,
        ("database-unavailable",),
    ),
    Drill(
        "db-exhausted",
        "no connection is left",
        ("DatabaseConnections",),
        faults.database_exhausted,
        15,
        ("database-connections",),
    ),
    Drill("cpu", "all cores are busy", ("VmCpuHigh",), faults.cpu_burnt, 40, ("vm-cpu",)),
    Drill("memory", "memory is taken", ("VmMemoryHigh",), faults.memory_taken, 30, ("vm-memory",), _memory_limit),
    Drill("disk", "the disk fills", ("VmDiskFull",), faults.disk_filled, 15, ("vm-disk",), _disk_limit),
    Drill(
        "ingest-errors",
        "half of the messages cannot be stored",
        ("DeadLetters",),
        faults.bad_messages,
        30,
        ("dead-letters",),
        talking=True,
    ),
    Drill(
        "device-silent",
        "the devices stop talking",
        ("DeviceSilent",),
        faults.devices_silent,
        25,
        ("device-silent",),
        talking=True,
    ),
    Drill(
        "cert-expiry",
        "the broker's certificate ends in three days",
        ("CertificateExpires", "CertificateExpiresSoon"),
        faults.certificate_ending,
        25,
        ("certificate-expiry", "certificate-expiry-soon"),
    ),
    Drill(
        "cost-spike",
        "a day costs three times as much",
        ("CostSpike",),
        faults.bill_tripled,
        30,
        ("cost-spike",),
        cloud=True,
    ),
    Drill(
        "agent-killed",
        "one of two agents is killed",
        ("AgentSilent",),
        faults.agent_killed,
        30,
        ("agent-silent",),
        two_agents=True,
    ),
)


def named(name: str) -> Drill:
    """Raises StackError for a name that does not exist."""
    found = next((drill for drill in ALL if drill.name == name), None)
    if found is None:
        raise StackError(f"there is no drill {name}: one of {', '.join(drill.name for drill in ALL)}")
    return found
