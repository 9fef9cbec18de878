"""Whether network security groups let a packet in, as Azure decides it. Pure.

Inbound rules, lowest priority number first; the first that matches decides, the default rules come last; the group of
the subnet and that of the network interface must both allow. Source: Microsoft Learn, "Network security groups".
Security admin rules of a network manager come before all of them and are not read.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from probes import spans
from probes.finding import Finding, Outcome, failed, judged, unknown
from probes.nsg_rules import (
    Group,
    destination_fits,
    flat,
    inbound,
    port_fits,
    protocol_fits,
    ranges,
    reference,
    sources,
    why_doubtful,
)
from probes.spans import Span

WORLD = "world"
MOST = {4: 2**8, 6: 2**65}  # so many addresses may be a list of one's own, as a /24 or two /64 are
NO_GROUP = "no network security group: everything is let in, or nothing, by the kind of public address"
LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Door:
    """A network interface. groups: of its subnet and its own, those that there are; addresses: private ones."""

    name: str
    public: bool
    groups: tuple[Group, ...]
    addresses: tuple[str, ...] = ()


def doors(vm: Group, nics: Sequence[Group], vnets: Sequence[Group], groups: Sequence[Group]) -> list[Door]:
    """The VM's, from the answers of az. Raises ValueError when one of them leaves out what another one names."""
    mine = {reference(one) for one in (vm.get("networkProfile") or {}).get("networkInterfaces", ())}
    known = {reference(group): group for group in groups}
    subnets = {reference(subnet): flat(subnet) for vnet in vnets for subnet in flat(vnet).get("subnets") or ()}
    return [_door(nic, subnets, known) for nic in nics if reference(nic) in mine]


def _door(nic: Group, subnets: dict[str, Group], known: dict[str, Group]) -> Door:
    places = [flat(place) for place in flat(nic).get("ipConfigurations") or ()]
    wanted = [reference(place.get("subnet")) for place in places]
    _all_listed("subnet", wanted, subnets)
    holders = [*(subnets[name] for name in wanted if name), flat(nic)]
    ids = list(dict.fromkeys(reference(holder.get("networkSecurityGroup")) for holder in holders))
    _all_listed("network security group", ids, known)
    addresses = tuple(str(place["privateIPAddress"]) for place in places if place.get("privateIPAddress"))
    public = any(place.get("publicIPAddress") for place in places)
    return Door(str(nic["name"]), public, tuple(known[name] for name in ids if name), addresses)


def _all_listed(what: str, names: Sequence[str], listed: dict[str, Group]) -> None:
    for name in names:
        if name and name not in listed:
            raise ValueError(f"{what} {name.rsplit('/', 1)[-1]} is not among those that az lists")


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
    """No port but those is open to the world, by TCP or UDP: one is tried of each range between two rules' ends."""
    bare = [door.name for door in found if not door.groups]
    if bare or not found:
        return failed(f"{bare[0]} has no network security group") if bare else unknown("az lists no interface")
    ends = {0, *allowed, *(port + 1 for port in allowed)} | {
        end
        for door in found
        for group in door.groups
        for rule in inbound(group)
        for first, last in ranges(rule)
        for end in (first, last + 1)
    }
    asked = [(port, protocol) for port in sorted(ends) if port <= LAST_PORT for protocol in ("tcp", "udp")]
    tried = [
        _world(door.groups, port, "deny", door.addresses, protocol)
        for port, protocol in asked
        if not (port in allowed and protocol == "tcp")
        for door in found
    ]
    for outcome in (Outcome.FAIL, Outcome.UNKNOWN):
        wrong = next((one for one in tried if one.outcome is outcome), None)
        if wrong is not None:
            return wrong
    return judged(True, f"only {', '.join(map(str, sorted(allowed)))} may be open to the world")


def reach(groups: Sequence[Group], source: str, port: int, expect: str, addresses: Sequence[str] = ()) -> Finding:
    """Through all groups (subnet's and NIC's), TCP. expect: allow or deny. Raises ValueError for a bad address.

    source: an address, or `world`: then only a few addresses of it may come in for deny, and all must for allow.
    addresses: of the machine, for rules that name a destination.
    """
    if not groups:
        return failed(NO_GROUP) if expect == "deny" else unknown(NO_GROUP)
    if source == WORLD:
        return _world(groups, port, expect, addresses, "tcp")
    address = ipaddress.ip_address(source)
    one = [(int(address), int(address))]
    lets = [_let(group, address.version, one, port, addresses, "tcp") for group in groups]
    said = [f"{group.get('name', '?')}: {let.words}" for group, let in zip(groups, lets, strict=True)]
    shut = next((words for let, words in zip(lets, said, strict=True) if not let.certain and not let.perhaps), None)
    if shut is not None:  # whatever the others say
        return judged(expect == "deny", f"{source} to {port}: {shut}")
    doubt = next((let.doubt for let in lets if not let.certain), None)
    return unknown(doubt) if doubt is not None else judged(expect == "allow", f"{source} to {port}: {'; '.join(said)}")


@dataclass(slots=True)
class _Let:
    """Who is let in by a group: certainly, and perhaps. by: the rule that lets in most; shut: the last that denied
    somebody; doubt: why somebody is not clear."""

    certain: list[Span]
    perhaps: list[Span]
    by: str = ""
    shut: str = ""
    doubt: str = ""

    @property
    def words(self) -> str:
        if self.certain:
            return f"allow by rule {self.by}"
        return f"deny by rule {self.shut}" if self.shut else "deny, no rule matches"


def _world(groups: Sequence[Group], port: int, expect: str, addresses: Sequence[str], protocol: str) -> Finding:
    """Of both families; what only exists inside is not of the world."""
    what = f"the world to {port}" if protocol == "tcp" else f"the world to {protocol} {port}"
    doubt = ""
    for family in (4, 6):
        everybody = spans.outside(family)
        lets = [_let(group, family, everybody, port, addresses, protocol) for group in groups]
        certain = perhaps = everybody
        for let in lets:
            certain = spans.common(certain, let.certain)
            perhaps = spans.common(perhaps, spans.together(let.certain, let.perhaps))
        by = ", ".join(f"{group.get('name', '?')}: {let.words}" for group, let in zip(groups, lets, strict=True))
        if expect == "deny" and spans.size(certain) > MOST[family]:
            return failed(f"{what}: {by}")
        if expect == "allow" and family == 4 and perhaps != everybody:
            return failed(f"{what}: not everybody is let in; {by}")
        unclear = certain != everybody if expect == "allow" else spans.size(perhaps) > MOST[family]
        if unclear and (expect == "deny" or family == 4):
            doubt = doubt or next((let.doubt for let in lets if let.doubt), "")
    return unknown(doubt) if doubt else judged(True, f"{what}: {by}")


def _let(group: Group, family: int, left: list[Span], port: int, addresses: Sequence[str], protocol: str) -> _Let:
    """Of those who are left, in the order of the rules: whom one decides about, none after it does."""
    found, most = _Let([], []), 0
    cloudy: list[Span] = []  # perhaps denied already, by a rule that is not clear
    for rule in inbound(group):
        there = destination_fits(rule, addresses)
        if there is False or not protocol_fits(rule, protocol) or not port_fits(rule, port):
            continue
        whom, known = sources(rule, family)
        meant = spans.common(left, whom) if known else left
        allows = str(rule["access"]).lower() == "allow"
        if meant and (not known or there is None):  # some of them, nobody here knows which
            found.doubt = found.doubt or why_doubtful(rule, known)
            if allows:
                found.perhaps = spans.together(found.perhaps, meant)
            else:
                cloudy = spans.together(cloudy, meant)
            continue
        if meant and allows:
            found.certain = spans.together(found.certain, spans.without(meant, cloudy))
            found.perhaps = spans.together(found.perhaps, spans.common(meant, cloudy))
            if spans.size(meant) > most:
                most, found.by = spans.size(meant), str(rule["name"])
        elif meant:
            found.shut = str(rule["name"])
        left = spans.without(left, whom)
    return found
