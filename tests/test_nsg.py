"""Network security groups as Azure decides them: each case is a packet."""

from typing import Any

import pytest

from probes import nsg
from probes.finding import Outcome
from probes.nsg import Door

PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN


def rule(
    name: str, priority: int, access: str, port: str = "*", source: str = "*", **more: object
) -> dict[str, object]:
    return {
        "name": name, "priority": priority, "access": access, "direction": "Inbound", "protocol": "Tcp",
        "destinationPortRange": port, "sourceAddressPrefix": source, **more,
    }  # fmt: skip


DENY_ALL = rule("DenyAllInBound", 65500, "Deny")
WORLD = "203.0.113.7"


@pytest.mark.parametrize(
    ("rules", "port", "expect"),
    [
        ([rule("a", 100, "Allow", "8883", "Internet")], 8883, "allow"),
        ([rule("a", 100, "Allow", "8883")], 8883, "allow"),
        ([rule("a", 100, "Allow", "8883")], 1883, "deny"),
        ([rule("a", 100, "Allow", "1000-2000")], 1883, "allow"),
        ([rule("late", 200, "Allow", "22"), rule("first", 100, "Deny", "22")], 22, "deny"),
        ([rule("first", 100, "Allow", "22"), rule("late", 200, "Deny", "22")], 22, "allow"),
        ([rule("a", 100, "Allow", "22", "203.0.113.0/24")], 22, "allow"),
        ([rule("a", 100, "Allow", "22", "198.51.100.1/32")], 22, "deny"),
        ([rule("a", 100, "Allow", "22", "0.0.0.0/0")], 22, "allow"),
        ([rule("a", 100, "Allow", "", "", destinationPortRanges=["80", "22"], sourceAddressPrefixes=["10.0.0.0/8", "203.0.113.7"])], 22, "allow"),
        ([rule("a", 100, "Allow", "22", protocol="Udp")], 22, "deny"),
        ([rule("a", 100, "Allow", "22", protocol="*")], 22, "allow"),
        ([rule("a", 100, "Allow", "22", direction="Outbound")], 22, "deny"),
        ([rule("a", 100, "Allow", "22", "VirtualNetwork")], 22, "deny"),
        ([rule("halves", 100, "Allow", "22", "128.0.0.0/1")], 22, "allow"),
        ([rule("v6", 100, "Allow", "22", "2001:db8::/32")], 22, "deny"),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(rules: list[dict[str, object]], port: int, expect: str) -> None:
    group = {"name": "g", "securityRules": rules, "defaultSecurityRules": [DENY_ALL]}
    assert nsg.reach([group], WORLD, port, expect).outcome is Outcome.PASS
    other = "deny" if expect == "allow" else "allow"
    assert nsg.reach([group], WORLD, port, other).outcome is Outcome.FAIL


def test_the_internet_is_what_is_global() -> None:
    group = {"name": "g", "securityRules": [rule("a", 100, "Allow", "8883", "Internet")]}
    assert nsg.reach([group], "93.184.216.34", 8883, "allow").outcome is Outcome.PASS
    assert nsg.reach([group], "10.0.0.4", 8883, "deny").outcome is Outcome.PASS


@pytest.mark.parametrize(
    "source", ["Internet", "*", "0.0.0.0/0", "128.0.0.0/1", "20.0.0.0/8", "51.4.0.0/16", "2a00::/12"]
)
def test_the_world_is_let_in_by_whatever_is_wide(source: str) -> None:
    group = {"name": "g", "securityRules": [rule("a", 100, "Allow", "22", source)], "defaultSecurityRules": [DENY_ALL]}
    assert nsg.reach([group], "world", 22, "deny").outcome is Outcome.FAIL
    narrow = {
        "name": "g",
        "securityRules": [rule("a", 100, "Allow", "22", "51.4.7.9/32")],
        "defaultSecurityRules": [DENY_ALL],
    }
    assert nsg.reach([narrow], "world", 22, "deny").outcome is Outcome.PASS


def test_a_service_tag_is_not_known_and_subnet_and_nic_must_both_allow() -> None:
    tag = {"name": "g", "securityRules": [rule("a", 100, "Allow", "22", "AzureCloud")]}
    assert nsg.reach([tag], WORLD, 22, "deny").outcome is Outcome.UNKNOWN
    allow = {"name": "subnet", "securityRules": [rule("a", 100, "Allow", "22")]}
    deny = {"name": "nic", "securityRules": [DENY_ALL]}
    assert nsg.reach([allow, deny], WORLD, 22, "deny").outcome is Outcome.PASS
    assert nsg.reach([], WORLD, 22, "allow").outcome is Outcome.UNKNOWN  # by the kind of its public address
    assert nsg.reach([], WORLD, 22, "deny").outcome is Outcome.FAIL


def group(*rules: dict[str, object], name: str = "g") -> dict[str, Any]:
    return {"name": name, "id": f"/nsg/{name}", "securityRules": list(rules), "defaultSecurityRules": [DENY_ALL]}


def test_rules_for_some_destinations_count_for_these() -> None:
    there = group(rule("jit", 100, "Allow", "22", destinationAddressPrefix="10.0.0.4"))
    assert nsg.reach([there], WORLD, 22, "allow", ["10.0.0.4"]).outcome is PASS
    assert nsg.reach([there], WORLD, 22, "deny", ["10.0.0.9"]).outcome is PASS
    assert nsg.reach([there], WORLD, 22, "deny").outcome is UNKNOWN  # which machine is not said
    network = group(rule("a", 100, "Allow", "22", destinationAddressPrefixes=["10.1.0.0/16", "10.0.0.0/16"]))
    assert nsg.reach([network], WORLD, 22, "allow", ["10.0.0.4"]).outcome is PASS
    virtual = group(rule("a", 100, "Allow", "22", destinationAddressPrefix="VirtualNetwork"))
    assert nsg.reach([virtual], WORLD, 22, "allow").outcome is PASS


def test_a_rule_for_some_source_ports_is_no_protection() -> None:
    """Whoever sends chooses the source port."""
    narrow = group(rule("deny", 100, "Deny", "22", sourcePortRange="1024-65535"), rule("allow", 200, "Allow", "22"))
    assert nsg.reach([narrow], WORLD, 22, "deny").outcome is UNKNOWN


def test_fields_under_properties_are_read() -> None:
    flat = rule("a", 100, "Allow", "22")
    nested = {"name": flat.pop("name"), "properties": flat}
    assert nsg.reach([group(nested)], WORLD, 22, "allow").outcome is PASS


def test_one_group_that_denies_is_enough_whatever_the_other_one_says() -> None:
    doubtful, shut = group(rule("tag", 100, "Allow", "22", "AzureCloud")), group(name="shut")
    assert nsg.reach([doubtful, shut], WORLD, 22, "deny").outcome is PASS


VM = {"networkProfile": {"networkInterfaces": [{"id": "/nic/ONE"}]}}
PLACE = {"privateIPAddress": "10.0.0.4", "subnet": {"id": "/subnet/a"}, "publicIPAddress": {"id": "/ip"}}
NIC = {"id": "/nic/one", "name": "one", "networkSecurityGroup": {"id": "/nsg/NIC"}, "ipConfigurations": [PLACE]}
VNET = {"subnets": [{"id": "/Subnet/A", "networkSecurityGroup": {"id": "/nsg/subnet"}}]}


def test_the_doors_of_a_vm_have_the_groups_of_subnet_and_nic() -> None:
    groups = [group(name="nic"), group(name="subnet"), group(name="other")]
    [door] = nsg.doors(VM, [NIC, {"id": "/nic/two", "name": "two"}], [VNET], groups)
    assert (door.name, door.public, door.addresses) == ("one", True, ("10.0.0.4",))
    assert [one["name"] for one in door.groups] == ["subnet", "nic"]
    bare_subnet = {"subnets": [{"id": "/subnet/a"}]}
    [bare] = nsg.doors(VM, [NIC | {"networkSecurityGroup": None}], [bare_subnet], groups)
    assert bare.groups == ()
    with pytest.raises(ValueError, match="subnet a is not among those"):
        nsg.doors(VM, [NIC], [], groups)
    with pytest.raises(ValueError, match="not among those that az lists"):
        nsg.doors(VM, [NIC], [VNET], groups[:1])
    one_group = nsg.doors(VM, [NIC | {"networkSecurityGroup": {"id": "/nsg/subnet"}}], [VNET], groups)
    assert len(one_group[0].groups) == 1


def test_one_open_door_is_enough() -> None:
    shut, wide = Door("a", True, (group(),)), Door("b", True, (group(rule("all", 100, "Allow")),))
    assert nsg.reach_any([shut, wide], WORLD, 22, "deny").outcome is FAIL
    assert nsg.reach_any([shut, wide], WORLD, 22, "allow").outcome is PASS
    assert nsg.reach_any([shut], WORLD, 22, "allow").outcome is FAIL
    assert nsg.reach_any([], WORLD, 22, "deny").outcome is UNKNOWN


@pytest.mark.parametrize(
    ("ports", "outcome"),
    [("8883", PASS), ("8883-8884", FAIL), ("*", FAIL), ("443", FAIL), ("1-65535", FAIL), ("8000-8883", FAIL)],
)
def test_only_what_is_allowed_may_be_open(ports: str, outcome: Outcome) -> None:
    door = Door("a", True, (group(rule("a", 100, "Allow", ports)),))
    assert nsg.open_ports([door], {8883}).outcome is outcome


def test_rules_for_oneself_or_shut_by_another_one_open_nothing() -> None:
    mine = rule("ssh", 100, "Allow", "22", "198.51.100.4/32")
    shut = (rule("deny", 90, "Deny", "443"), rule("web", 100, "Allow", "443"))
    assert nsg.open_ports([Door("a", True, (group(mine, *shut),))], {8883}).outcome is PASS
    assert nsg.open_ports([Door("a", True, ())], {8883}).outcome is FAIL
    tag = Door("a", True, (group(rule("tag", 100, "Allow", "443", "AzureCloud")),))
    assert nsg.open_ports([tag], {8883}).outcome is UNKNOWN


def prefixes(name: str, priority: int, access: str, *sources: str) -> dict[str, object]:
    return rule(name, priority, access, "22", "", sourceAddressPrefixes=list(sources))


MANY = [f"20.{n // 256}.{n % 256}.0/24" for n in range(2560)]


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        ([prefixes("v6", 100, "Deny", "::/0"), rule("all", 200, "Allow", "22")], FAIL),
        ([prefixes("v4", 100, "Deny", "0.0.0.0/0"), rule("all", 200, "Allow", "22")], FAIL),
        ([prefixes("part", 100, "Deny", "20.0.0.0/16"), prefixes("more", 200, "Allow", "20.0.0.0/8")], FAIL),
        ([prefixes("half inside", 100, "Allow", "10.0.0.0/7")], FAIL),
        ([prefixes("inside", 100, "Allow", "10.0.0.0/8", "192.168.0.0/16")], PASS),
        ([prefixes("many", 100, "Allow", *MANY)], FAIL),
        ([prefixes("halves", 100, "Allow", "0.0.0.0/1", "128.0.0.0/1")], FAIL),
        ([prefixes("deny all", 100, "Deny", "*"), prefixes("late", 200, "Allow", "*")], PASS),
        ([prefixes("mine", 100, "Allow", "198.51.100.0/25", "2001:db8::/64")], PASS),
        ([prefixes("tag", 100, "Deny", "AzureCloud"), rule("all", 200, "Allow", "22")], UNKNOWN),
        ([prefixes("tag", 100, "Deny", "AzureCloud")], PASS),
        ([prefixes("deny all", 100, "Deny", "*"), prefixes("tag", 200, "Allow", "AzureCloud")], PASS),
    ],
)
def test_the_world_is_counted_not_sampled(rules: list[dict[str, object]], outcome: Outcome) -> None:
    assert nsg.reach([group(*rules)], "world", 22, "deny").outcome is outcome


def test_the_whole_world_may_come_in_or_it_is_not_open() -> None:
    assert nsg.reach([group(rule("a", 100, "Allow", "8883", "Internet"))], "world", 8883, "allow").outcome is PASS
    some = group(prefixes("not them", 100, "Deny", "20.0.0.0/8"), rule("a", 200, "Allow", "22"))
    assert nsg.reach([some], "world", 22, "allow").outcome is FAIL


@pytest.mark.parametrize(
    "rules",
    [
        [rule("udp", 100, "Allow", "*", protocol="Udp")],
        [rule("deny", 100, "Deny", "1-40000"), rule("deny2", 110, "Deny", "60000-65535"), rule("all", 200, "Allow")],
        [rule("any", 100, "Allow", "5000", protocol="*")],
    ],
)
def test_holes_and_other_protocols_are_found(rules: list[dict[str, object]]) -> None:
    assert nsg.open_ports([Door("a", True, (group(*rules),))], {8883}).outcome is FAIL
