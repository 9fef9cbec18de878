"""What `az ... -o json` would print of a made-up subscription in which all is well, as files; see probes.az."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stack.azure import SCOPE, VM

GROUP = f"{SCOPE}/resourceGroups/rg"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
NIC = f"{NETWORK}/networkInterfaces/vm1-nic"
SUBNET = f"{NETWORK}/virtualNetworks/vnet/subnets/default"
NSG = f"{NETWORK}/networkSecurityGroups/iot-nsg"
ADDRESS = f"{NETWORK}/publicIPAddresses/ip"
DISK = f"{GROUP}/providers/Microsoft.Compute/disks/vm1-os"
ACTIONS = f"{GROUP}/providers/microsoft.insights/actionGroups/on-call"
PRINCIPAL = "22222222-2222-2222-2222-222222222222"
ADMIN = "203.0.113.7/32"


def rule(name: str, priority: int, port: str, source: str, access: str = "Allow") -> dict[str, Any]:
    """An inbound one, for TCP."""
    return {
        "name": name, "priority": priority, "direction": "Inbound", "access": access, "protocol": "Tcp",
        "sourceAddressPrefix": source, "sourcePortRange": "*", "destinationAddressPrefix": "*",
        "destinationPortRange": port,
    }  # fmt: skip


def default_rules() -> list[dict[str, Any]]:
    """Those that Azure adds. Source: Microsoft Learn, "Network security groups", default security rules."""
    found = [
        rule("AllowVnetInBound", 65000, "*", "VirtualNetwork"),
        rule("AllowAzureLoadBalancerInBound", 65001, "*", "AzureLoadBalancer"),
        rule("DenyAllInBound", 65500, "*", "*", "Deny"),
    ]  # fmt: skip
    return [one | {"protocol": "*"} for one in found]


def answers(now: datetime) -> dict[str, Any]:
    """By the names of probes.az.QUERIES."""
    group = {
        "id": NSG, "name": "iot-nsg", "defaultSecurityRules": default_rules(),
        "securityRules": [rule("allow-ssh", 100, "22", ADMIN), rule("allow-mqtts", 110, "8883", "*")],
    }  # fmt: skip
    place = {"privateIPAddress": "10.0.0.4", "subnet": {"id": SUBNET}, "publicIPAddress": {"id": ADDRESS}}
    return {
        "vm": {
            "id": VM, "name": "vm1", "networkProfile": {"networkInterfaces": [{"id": NIC}]},
            "storageProfile": {"osDisk": {"managedDisk": {"id": DISK}}},
            "identity": {"principalId": PRINCIPAL}, "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
        },
        "instance-view": {"instanceView": {
            "statuses": [{"code": "PowerState/running"}], "vmAgent": {"statuses": [{"displayStatus": "Ready"}]},
        }},
        "nics": [{"id": NIC, "name": "vm1-nic", "networkSecurityGroup": None, "ipConfigurations": [place]}],
        "vnets": [{"subnets": [{"id": SUBNET, "networkSecurityGroup": {"id": NSG}}]}],
        "nsgs": [group],
        "roles": [{"principalId": PRINCIPAL, "roleDefinitionName": "Monitoring Reader", "scope": VM}],
        "metric-alerts": [{
            "name": "vm-gone", "enabled": True, "scopes": [VM], "actions": [{"actionGroupId": ACTIONS}],
            "criteria": {"allOf": [{"metricName": "VmAvailabilityMetric", "operator": "LessThan", "threshold": 1.0}]},
        }],
        "action-groups": [{"id": ACTIONS, "enabled": True, "smsReceivers": [{"name": "phone"}]}],
        "locks": [{"id": f"{GROUP}/providers/Microsoft.Authorization/locks/keep"}],
        "snapshots": [{
            "id": f"{GROUP}/providers/Microsoft.Compute/snapshots/today", "timeCreated": now.isoformat(),
            "creationData": {"sourceResourceId": DISK},
        }],
        "function": {"httpsOnly": True},
        "function-config": {"minTlsVersion": "1.2", "ftpsState": "Disabled"},
    }  # fmt: skip


def write(directory: Path) -> Path:
    """All of them; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, answer in answers(datetime.now(UTC)).items():
        (directory / f"{name}.json").write_text(json.dumps(answer, indent=1))
    return directory
