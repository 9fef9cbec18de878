"""Whether a network security group lets a packet in, as Azure decides it. Pure.

Rules are read as `az network nsg show -o json` prints them: inbound ones, lowest priority number first, the first that
matches decides, the default rules come last. Source: Microsoft Learn, "Network security groups".
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes.finding import Finding, Outcome, judged, unknown

ANY = {"*", "any", "0.0.0.0/0", "::/0"}
EVERYWHERE = "internet"
WORLD = "world"
SAMPLES = ("8.8.8.8", "1.1.1.1", "193.0.0.1")  # of the world; and one of each wide network that a rule allows
WIDE = {4: 24, 6: 64}  # a network of at most so many bits is no list of one's own addresses
INSIDE = [ipaddress.ip_network(text) for text in (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7",
    "fe80::/10",
)]  # fmt: skip
WITHIN = {"virtualnetwork", "azureloadbalancer"}


def reach(groups: Sequence[Mapping[str, Any]], source: str, port: int, expect: str) -> Finding:
    """Through all groups (subnet's and NIC's), TCP. expect: allow or deny. Raises ValueError for a bad address.

    source: an address, or `world`: then nobody in it may come in for deny, and each sample must for allow.
    """
    if not groups:
        return judged(expect == "allow", "no network security group: everything is let in")
    if source == WORLD:
        found = [reach(groups, address, port, expect) for address in (*SAMPLES, *_wide(groups, port))]
        return next((one for one in found if one.outcome is not Outcome.PASS), found[0])
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


def _inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in INSIDE if network.version == address.version)


def _wide(groups: Sequence[Mapping[str, Any]], port: int) -> Iterator[str]:
    """An address of each wide network that some rule allows to the port."""
    for group in groups:
        for rule in group.get("securityRules", ()):
            if str(rule.get("access", "")).lower() == "allow" and _port_fits(rule, port):
                for text in _both(rule, "sourceAddressPrefix", "sourceAddressPrefixes"):
                    try:
                        network = ipaddress.ip_network(text, strict=False)
                    except ValueError:
                        continue
                    if network.prefixlen <= WIDE[network.version] - 1 and not _inside(network[1]):
                        yield str(network[1])


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
        if known in ANY or (known == EVERYWHERE and not _inside(address)):
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
