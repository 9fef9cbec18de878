"""Whether network security groups let a packet in, as Azure decides it. Pure.

Rules are read as `az network nsg list -o json` prints them: inbound ones, lowest priority number first, the first that
matches decides, the default rules come last; the group of the subnet and that of the network interface must both
allow. Source: Microsoft Learn, "Network security groups".
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
Group = Mapping[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Door:
    """A network interface. groups: of its subnet and its own, those that there are; addresses: private ones."""

    name: str
    public: bool
    groups: tuple[Group, ...]
    addresses: tuple[str, ...] = ()


def doors(vm: Group, nics: Sequence[Group], vnets: Sequence[Group], groups: Sequence[Group]) -> list[Door]:
    """The VM's, from the answers of az. Ids are compared as Azure does, without case."""
    mine = {str(one["id"]).lower() for one in (vm.get("networkProfile") or {}).get("networkInterfaces", ())}
    known = {str(group["id"]).lower(): group for group in groups}
    subnets = {str(subnet["id"]).lower(): subnet for vnet in vnets for subnet in vnet.get("subnets") or ()}
    found = []
    for nic in nics:
        if str(nic["id"]).lower() not in mine:
            continue
        places = [_flat(place) for place in nic.get("ipConfigurations") or ()]
        holders = [nic, *(subnets.get(_id(place.get("subnet")), {}) for place in places)]
        ids = {_id(_flat(holder).get("networkSecurityGroup")): None for holder in reversed(holders)}
        missing = [name for name in ids if name and name not in known]
        if missing:
            raise ValueError(
                f"the network security group {missing[0].rsplit('/', 1)[-1]} is not among those that az lists"
            )
        addresses = tuple(str(place["privateIPAddress"]) for place in places if place.get("privateIPAddress"))
        public = any(place.get("publicIPAddress") for place in places)
        found.append(Door(str(nic["name"]), public, tuple(known[name] for name in ids if name), addresses))
    return found


def _flat(thing: Group) -> Group:
    """Older versions of az put some fields under `properties`."""
    return {**(thing.get("properties") or {}), **thing}


def _id(reference: Group | None) -> str:
    return str((reference or {}).get("id", "")).lower()


def reach_any(found: Sequence[Door], source: str, port: int, expect: str) -> Finding:
    """Whether one of the interfaces lets it in. Raises ValueError for a bad address."""
    if not found:
        return unknown("az lists no network interface of the VM")
    each = [reach(door.groups, source, port, expect, door.addresses) for door in found]
    order = [Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS]
    if expect == "allow":  # one open door is enough
        order.reverse()
    return min(each, key=lambda one: order.index(one.outcome))


def open_ports(found: Sequence[Door], allowed: set[int]) -> Finding:
    """No port but those is open to the world: tried at the ends of every range that some rule allows."""
    ends = {
        port
        for door in found
        for group in door.groups
        for rule in _rules(group)
        if str(rule.get("access", "")).lower() == "allow" and _tcp(rule)
        for first, last in _ranges(rule)
        for port in (
            first,
            (first + last) // 2,
            last,
            *(p for p in (22, 80, 443, 1883, 3389, 5432) if first <= p <= last),
        )
    }
    for port in sorted(ends - allowed):
        tried = reach_any(found, WORLD, port, "deny")
        if tried.outcome is not Outcome.PASS:
            return tried
    bare = [door.name for door in found if not door.groups]
    return judged(not bare and bool(found), f"{bare[0]} has no network security group: everything is let in" if bare
                  else f"only {', '.join(map(str, sorted(allowed)))} may be open to the world")  # fmt: skip


def reach(groups: Sequence[Group], source: str, port: int, expect: str, addresses: Sequence[str] = ()) -> Finding:
    """Through all groups (subnet's and NIC's), TCP. expect: allow or deny. Raises ValueError for a bad address.

    source: an address, or `world`: then nobody in it may come in for deny, and each sample must for allow.
    addresses: of the machine, for rules that name a destination.
    """
    if not groups:
        return judged(expect == "allow", "no network security group: everything is let in")
    if source == WORLD:
        found = [reach(groups, address, port, expect, addresses) for address in (*SAMPLES, *_wide(groups, port))]
        return next((one for one in found if one.outcome is not Outcome.PASS), found[0])
    said = []
    for group in groups:
        outcome, why = _decided(group, source, port, addresses)
        if outcome == "deny" and expect == "deny":  # whatever the others say
            return judged(True, f"{source} to {port}: {group.get('name', '?')}: {why}")
        said.append((outcome, f"{group.get('name', '?')}: {why}"))
    for outcome, why in said:
        if outcome is None:
            return unknown(why)
    allowed = all(access == "allow" for access, _ in said)
    words = "; ".join(why for _, why in said)
    return judged(("allow" if allowed else "deny") == expect, f"{source} to {port}: {words}")


def _rules(group: Group) -> list[Group]:
    """Inbound ones in their order."""
    rules = [_flat(rule) for rule in (*(group.get("securityRules") or ()), *(group.get("defaultSecurityRules") or ()))]
    inbound = [rule for rule in rules if str(rule.get("direction", "")).lower() == "inbound"]
    return sorted(inbound, key=lambda rule: int(rule["priority"]))


def _decided(group: Group, source: str, port: int, addresses: Sequence[str]) -> tuple[str | None, str]:
    """(allow, deny or None for not known, by which rule)."""
    address = ipaddress.ip_address(source)
    for rule in _rules(group):
        if not _tcp(rule) or not _port_fits(rule, port):
            continue
        fits = _source_fits(rule, address)
        if fits is None:
            return None, f"rule {rule['name']} names a service tag whose addresses are not known here"
        there = _destination_fits(rule, addresses) if fits else False
        if there is None:
            return None, f"rule {rule['name']} is for some destinations or source ports only"
        if fits and there:
            access = str(rule["access"]).lower()
            return access, f"{access} by rule {rule['name']}"
    return "deny", "deny, no rule matches"


def _tcp(rule: Group) -> bool:
    return str(rule.get("protocol", "*")).lower() in ("tcp", "*", "any")


def _inside(address: Address) -> bool:
    return any(address in network for network in INSIDE if network.version == address.version)


def _wide(groups: Sequence[Group], port: int) -> Iterator[str]:
    """An address of each wide network that some rule allows to the port."""
    for group in groups:
        for rule in _rules(group):
            if str(rule.get("access", "")).lower() == "allow" and _port_fits(rule, port):
                for text in _both(rule, "sourceAddressPrefix", "sourceAddressPrefixes"):
                    try:
                        network = ipaddress.ip_network(text, strict=False)
                    except ValueError:
                        continue
                    if network.prefixlen <= WIDE[network.version] - 1 and not _inside(network[1]):
                        yield str(network[1])


def _both(rule: Group, one: str, many: str) -> Iterator[str]:
    """A rule has its values in the singular or in the plural field."""
    if rule.get(one):
        yield str(rule[one])
    yield from (str(value) for value in rule.get(many) or ())


def _ranges(rule: Group) -> Iterator[tuple[int, int]]:
    """Destination ports, first and last."""
    for text in _both(rule, "destinationPortRange", "destinationPortRanges"):
        first, _, last = text.partition("-")
        yield (0, 65_535) if text == "*" else (int(first), int(last or first))


def _port_fits(rule: Group, port: int) -> bool:
    return any(first <= port <= last for first, last in _ranges(rule))


def _destination_fits(rule: Group, addresses: Sequence[str]) -> bool | None:
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


def _source_fits(rule: Group, address: Address) -> bool | None:
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
