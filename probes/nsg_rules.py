"""Rules of network security groups as `az network nsg list -o json` prints them. Pure."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes import spans

ANY = {"*", "any"}
EVERYWHERE = "internet"
WITHIN = {"virtualnetwork", "azureloadbalancer"}
Group = Mapping[str, Any]


def flat(thing: Group) -> Group:
    """Older versions of az put some fields under `properties`."""
    return {**(thing.get("properties") or {}), **thing}


def reference(to: Group | None) -> str:
    return str((to or {}).get("id", "")).lower()


def inbound(group: Group) -> list[Group]:
    """Inbound ones in their order."""
    rules = [flat(rule) for rule in (*(group.get("securityRules") or ()), *(group.get("defaultSecurityRules") or ()))]
    wanted = [rule for rule in rules if str(rule.get("direction", "")).lower() == "inbound"]
    return sorted(wanted, key=lambda rule: int(rule["priority"]))


def protocol_fits(rule: Group, protocol: str) -> bool:
    return str(rule.get("protocol", "*")).lower() in (protocol, "*", "any")


def _both(rule: Group, one: str, many: str) -> Iterator[str]:
    """A rule has its values in the singular or in the plural field."""
    if rule.get(one):
        yield str(rule[one])
    yield from (str(value) for value in rule.get(many) or ())


def ranges(rule: Group) -> Iterator[tuple[int, int]]:
    """Destination ports, first and last."""
    for text in _both(rule, "destinationPortRange", "destinationPortRanges"):
        first, _, last = text.partition("-")
        yield (0, 65_535) if text == "*" else (int(first), int(last or first))


def port_fits(rule: Group, port: int) -> bool:
    return any(first <= port <= last for first, last in ranges(rule))


def destination_fits(rule: Group, addresses: Sequence[str]) -> bool | None:
    """None: it depends on what is not known here."""
    if any(text != "*" for text in _both(rule, "sourcePortRange", "sourcePortRanges")):
        return None
    if rule.get("destinationApplicationSecurityGroups"):
        return None
    named = [text.lower() for text in _both(rule, "destinationAddressPrefix", "destinationAddressPrefixes")]
    if not named or any(text in ANY or text == "virtualnetwork" for text in named):
        return True  # the machine is in its virtual network
    mine = [ipaddress.ip_address(text) for text in addresses]
    try:
        networks = [ipaddress.ip_network(text, strict=False) for text in named]
    except ValueError:
        return None
    return any(own in network for own in mine for network in networks) if mine else None


def sources(rule: Group, family: int) -> tuple[list[spans.Span], bool]:
    """(addresses of a family, whether these are all)."""
    if rule.get("sourceApplicationSecurityGroups"):
        return [], True  # of machines inside the virtual network
    found: list[spans.Span] = []
    known = True
    for text in _both(rule, "sourceAddressPrefix", "sourceAddressPrefixes"):
        word = text.lower()
        if word in ANY:
            found.append(spans.whole(family))
        elif word == EVERYWHERE:
            found += spans.outside(family)
        elif word not in WITHIN:
            try:
                network = ipaddress.ip_network(text, strict=False)
            except ValueError:
                known = False
                continue
            if network.version == family:
                found.append((int(network[0]), int(network[-1])))
    return spans.together(found, []), known


def why_doubtful(rule: Group, known: bool) -> str:
    if not known:
        return f"rule {rule['name']} names a service tag whose addresses are not known here"
    return f"rule {rule['name']} is for some destinations or source ports only"
