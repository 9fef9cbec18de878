"""Secrets out of text, in every encoding in which programs print them; and whom a network security group lets in."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from probes import nsg
from probes.finding import Outcome
from probes.redact import CUT, HIDDEN, Redactor

SECRET = 'p@ss/w0rd+"x y'
redact = Redactor([SECRET])


@pytest.mark.parametrize(
    "form",
    [
        SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), json.dumps(SECRET), SECRET.encode().hex(),
        *(base64.b64encode(f"{'a' * n}{SECRET}{'z' * m}".encode()).decode() for n in range(4) for m in range(3)),
        *(base64.urlsafe_b64encode(f"{'a' * n}{SECRET}".encode()).decode() for n in range(3)),
    ],
)  # fmt: skip
def test_a_known_secret_is_hidden_in_every_encoding(form: str) -> None:
    text = redact(f"before {form} after")
    assert HIDDEN in text
    assert form.strip('"') not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql://anna:hunter2@db/iot", "@db/iot"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", ""),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- rest", "rest"),
        ("u:$7$101$c2FsdHNhbHRzYWx0$aGFzaA==", "u:"),
        ("https://x.blob/?sv=1&sig=AbCd%2F123&se=2", "&se=2"),
        ("AccountName=a;AccountKey=abcdef123==;X=y", ";X=y"),
        ("password=hunter22 next", "password="),
        ('{"api_key": "abcdefgh", "n": 1}', '"n": 1'),
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: Bearer "),
        ("PGPASSWORD=hunter22 psql", "PGPASSWORD="),
        ("dbpassword=hunter22", "dbpassword="),
        ('{"accessToken": "hunter22"}', '"accessToken": '),
        ("mysql --password hunter22 -h x", "-h x"),
        ("Server=x;Pwd=hunter22;Y=z", ";Y=z"),
        ("Authorization: Basic aHVudGVyMjI=", "Authorization: Basic "),
        ("postgres://u:hunter22/ss@h/db", "@h/db"),
        ('password = "hunter22 horse battery" next', " next"),
        ("password: 'hunter22;adour&3' next", " next"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, kept: str) -> None:
    clean = Redactor()(text)
    assert HIDDEN in clean
    assert kept in clean
    for word in ("hunter2", "MIIE", "AbCd", "abcdef123", "abcdefgh", "horse", "adour", "aHVudGVy"):
        assert word not in clean, clean


def test_words_about_passwords_stay() -> None:
    text = "password authentication failed for user iot; the secret is shown once; token expired"
    assert Redactor()(text) == text


def test_a_cut_leaves_no_half_of_a_secret() -> None:
    text = "x" * 50 + SECRET + "y" * 95
    tail = redact.tail(text, 100)
    assert tail.startswith(CUT)
    assert SECRET[-5:] not in tail


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
    assert nsg.reach([], WORLD, 22, "allow").outcome is Outcome.PASS
