"""Whether a network security group lets a packet in, as Azure decides it. Pure.

Rules are read as `az network nsg show -o json` prints them: inbound ones, lowest priority number first, the first that
matches decides, the default rules come last. Source: Microsoft Learn, "Network security groups".
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes.finding import Finding, judged, unknown

ANY = {"*", "any", "0.0.0.0/0", "::/0"}
EVERYWHERE = "internet"
WITHIN = {"virtualnetwork", "azureloadbalancer"}


def reach(groups: Sequence[Mapping[str, Any]], source: str, port: int, expect: str) -> Finding:
    """Through all groups (subnet's and NIC's), TCP. expect: allow or deny. Raises ValueError for a bad address."""
    if not groups:
        return judged(expect == "allow", "no network security group: everything is let in")
    said = []
    for group in groups:
        outcome, why = _decided(group, source, port)
        if outcome is None:
            return unknown(f"{group.get('name', '?')}: {why}")
        said.append((outcome, f"{group.get('name', '?')}: {why}"))
    allowed = all(access == "allow" for access, _ in said)
    words = "; ".join(why for _, why in said)
    return judged(("allow" if allowed else "deny") == expect, f"{source} to {port}: {words}")


def _decided(group: Mapping[str, Any], source: str, port: int) -> tuple[str | None, str]:
    """(allow, deny or None for not known, by which rule)."""
    address = ipaddress.ip_address(source)
    rules = [*group.get("securityRules", ()), *group.get("defaultSecurityRules", ())]
    inbound = [rule for rule in rules if str(rule.get("direction", "")).lower() == "inbound"]
    for rule in sorted(inbound, key=lambda rule: int(rule["priority"])):
        if str(rule.get("protocol", "*")).lower() not in ("tcp", "*") or not _port_fits(rule, port):
            continue
        fits = _source_fits(rule, address)
        if fits is None:
            return None, f"rule {rule['name']} names a service tag whose addresses are not known here"
        if fits:
            access = str(rule["access"]).lower()
            return access, f"{access} by rule {rule['name']}"
    return "deny", "deny, no rule matches"


def _both(rule: Mapping[str, Any], one: str, many: str) -> Iterator[str]:
    """A rule has its values in the singular or in the plural field."""
    if rule.get(one):
        yield str(rule[one])
    yield from (str(value) for value in rule.get(many) or ())


def _port_fits(rule: Mapping[str, Any], port: int) -> bool:
    for text in _both(rule, "destinationPortRange", "destinationPortRanges"):
        first, _, last = text.partition("-")
        if text == "*" or int(first) <= port <= int(last or first):
            return True
    return False


def _source_fits(rule: Mapping[str, Any], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool | None:
    """None: only a tag, whose addresses are not known, could tell."""
    if rule.get("sourceApplicationSecurityGroups"):
        return False  # of machines inside the virtual network
    doubtful = False
    for text in _both(rule, "sourceAddressPrefix", "sourceAddressPrefixes"):
        known = text.lower()
        if known in ANY or (known == EVERYWHERE and address.is_global):
            return True
        if known in WITHIN or known == EVERYWHERE:
            continue
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            doubtful = True
            continue
        if address.version == network.version and address in network:
            return True
    return None if doubtful else False
