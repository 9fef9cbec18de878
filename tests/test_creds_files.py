"""What is rendered, what is refused, and what the broker's log says. No broker needed."""

import secrets

import pytest

from agent.creds import lint, plan, render
from agent.creds.logins import LoginLog
from agent.creds.render import Files, Login
from store.brokers import Desired, Grant
from store.mosquitto import password_hash

STORED = password_hash("x", b"0" * 12)
OWN = [Login("_ingest-a", STORED, (("read", "tenants/#"),)), Login("_set-7", STORED)]
LINES = [f"acme/devices/d1:{STORED}", f"acme/devices/d1/b:{STORED}", f"globex/devices/d1:{STORED}"]
GRANTS = [Grant("acme/devices/d1", "read", "tenants/acme/devices/+/status")]


def test_old_brokers_get_a_pattern_and_blocks_where_it_does_not_fit() -> None:
    files = render.render(OWN, LINES, GRANTS, per_user=False)
    assert files.acl.splitlines()[1:] == [
        "pattern readwrite tenants/%u/#",
        "user _ingest-a",
        "topic read tenants/#",
        "user acme/devices/d1",
        "topic read tenants/acme/devices/+/status",
        "user acme/devices/d1/b",
        "topic readwrite tenants/acme/devices/d1/#",
    ]
    assert [render.username(line) for line in files.passwd.splitlines()] == [
        "_ingest-a", "_set-7", "acme/devices/d1/b", "acme/devices/d1", "globex/devices/d1",
    ]  # fmt: skip
    assert lint.problems(files) == []


def test_a_device_that_is_named_as_a_slot_reaches_its_own_subtree_only() -> None:
    """acme/devices/b is a device in slot a; taken for slot b, it would have the whole of acme/devices."""
    rendered = render.render(OWN, [f"acme/devices/b:{STORED}", f"acme/devices/b/b:{STORED}"], (), per_user=True)
    assert "topic readwrite tenants/acme/devices/b/#" in rendered.acl
    assert "tenants/acme/devices/#" not in rendered.acl
    assert render.device_names([f"acme/devices/b:{STORED}", f"acme/devices/b/b:{STORED}"]) == {"acme/devices/b"}


def test_new_brokers_get_a_block_for_each_user() -> None:
    files = render.render(OWN, LINES, GRANTS, per_user=True)
    assert "pattern" not in files.acl
    assert "user globex/devices/d1\ntopic readwrite tenants/globex/devices/d1/#\n" in files.acl
    assert lint.problems(files) == []


@pytest.mark.parametrize(
    ("version", "blocks"), [("2.0.11", False), ("2.0.18", False), ("2.1.0", True), ("3.0", True), ("", False)]
)
def test_the_version_decides(version: str, blocks: bool) -> None:
    assert render.per_user_blocks(version) is blocks


def test_grants_are_read_back() -> None:
    for per_user in (False, True):
        assert render.grants_of(render.render(OWN, LINES, GRANTS, per_user).acl, OWN) == GRANTS


@pytest.mark.parametrize(
    ("passwd", "acl", "fault"),
    [
        ("u:plain\n", "", "passwd line 1: not USER:HASH"),
        (f"u:{STORED}\nu:{STORED}\n", "", "passwd line 2: u is there twice"),
        (f"u:{STORED}", "", "passwd: the last line is cut off"),
        (f"u+:{STORED}\n", "", "passwd line 1"),
        (f"u:{STORED[:-2]}\n", "", "passwd line 1"),
        ("", "topic readwrite #\n", "acl line 1: a right for everyone"),
        ("", "nonsense\n", "acl line 1"),
        ("", "user a/devices/d\ntopic readwrite tenants/b/#\n", "a/devices/d must not reach tenants/b/#"),
        ("", "user a/devices/d\ntopic readwrite #\n", "outside of its tenant"),
        ("", "user a/devices/d\ntopic all tenants/a/#\n", "is not ACCESS FILTER"),
        ("", "user a/devices/d\ntopic read tenants/a/#/x\n", "is not ACCESS FILTER"),
        ("", "user a/devices/d\ntopic read tenants/a/x+\n", "is not ACCESS FILTER"),
        ("", "pattern readwrite #\n", "the only pattern we use"),
        ("", "user a/devices/d\nuser a/devices/d\n", "there twice"),
        ("", "user a/devices/d", "acl: the last line is cut off"),
    ],
)
def test_what_is_wrong_is_found_before_it_is_used(passwd: str, acl: str, fault: str) -> None:
    found = lint.problems(Files(passwd or f"u:{STORED}\n", acl or "# nothing\n"))
    assert any(fault in line for line in found), found
    assert not any("plain" in line for line in found), "a line may hold a secret"


def _desired(*names: str, confirmed: bool = False) -> Desired:
    return Desired(8, confirmed, tuple(f"{name}:{STORED}" for name in names), ())


def _before(count: int, ours: bool = True) -> Files:
    names = [f"a/devices/d{n}:{STORED}" for n in range(count)]
    return Files("\n".join([*names, *([f"_set-7:{STORED}"] if ours else [])]) + "\n", "")


def test_a_set_that_takes_many_away_is_refused_until_it_is_confirmed() -> None:
    keep = [f"a/devices/d{n}" for n in range(100)]
    assert plan.refusal(None, _desired()) is None
    assert plan.refusal(_before(3), _desired()) is None, "a handful may go"
    assert "6 of 6" in str(plan.refusal(_before(6), _desired()))
    assert plan.refusal(_before(6), _desired(confirmed=True)) is None
    assert plan.refusal(_before(100), _desired(*keep[20:])) is None
    assert "21 of 100" in str(plan.refusal(_before(100), _desired(*keep[21:])))
    moved = [f"{name}/b" for name in keep]
    assert plan.refusal(_before(100), _desired(*moved)) is None, "to move to the other slot is not to go"


def test_a_file_that_somebody_else_wrote_is_not_overwritten() -> None:
    assert "not written by us" in str(plan.refusal(_before(2, ours=False), _desired("a/devices/d0")))
    assert plan.refusal(_before(2, ours=False), _desired("a/devices/d0", "a/devices/d1")) is None


def test_logins_belong_to_the_set_that_was_in_force() -> None:
    log = LoginLog()
    line = "2026-11-24T15:20:25: New client connected from 127.0.0.1:37384 as {0} (p5, c1, k60, u'{0}')."
    log.take(line.format("acme/devices/d1"))
    assert log.flush() == [], "the set is not known yet"
    for name in ("_set-7", "acme/devices/d1", "acme/devices/d1", "_ingest-a", "_set-8", "acme/devices/d1/b"):
        log.take(line.format(name))
    log.take("New client connected from nowhere as x (p5, c1, k60, u'acme/devices/forged').extra")
    log.take("Client acme/devices/d2 disconnected.")
    log.take('Error: Unable to open acl_file "/etc/mosquitto/acl".')
    logins = log.flush()
    assert logins == [("acme/devices/d1", 7), ("acme/devices/d1/b", 8)]
    assert log.flush() == []
    log.put_back(logins)
    assert log.flush() == logins
    assert len(log.errors) == 1


def test_the_hash_is_what_mosquitto_reads() -> None:
    assert password_hash("secret", b"0123456789ab").startswith("$7$1$MDEyMzQ1Njc4OWFi$")
    with pytest.raises(ValueError, match="12 bytes"):
        password_hash("secret", secrets.token_bytes(16))
