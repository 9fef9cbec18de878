"""What one does with the console, on a real database."""

import json
from pathlib import Path

import pytest
from textual.events import Key

from alerting import document
from alerting.model import RuleModel, RulesFile
from stack.proxy import Proxy
from store import alert_rules, members
from store.db import connected
from store.members import Role
from store.target import parse_target
from tests.consoles import console, give, person_url, until, until_gone, yes
from tests.servers import Database


@pytest.mark.parametrize("size", [(120, 36), (80, 24)])
async def test_shows_what_the_database_holds(
    embedded_database: Database, tmp_path: Path, size: tuple[int, int]
) -> None:
    async with console(await person_url(embedded_database), tmp_path, size) as (app, pilot):
        text = await until(pilot, app, "● LIVE", "acme/d1", "not-json", "anna·owner")
        assert " TEST " in text
        assert "● agent" in text or "● ok      agent" in text


async def test_keys_do_what_the_footer_says(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await until(pilot, app, "● LIVE", "msg/s, 15 min")
        await pilot.press("m", "]")
        await until(pilot, app, "dead letters/min, 60 min")
        await pilot.press("?")
        await until(pilot, app, "Everywhere")
        await pilot.press("end")
        await until(pilot, app, "Three ages")
        await pilot.press("escape")
        await until(pilot, app, "dead letters/min, 60 min")
        await pilot.press("p")
        await until(pilot, app, "frozen")
        await pilot.press("p", "z", "r")
        text = await until_gone(pilot, app, "frozen")
        assert "frozen" not in text
        await pilot.press("q")


async def test_a_lost_database_is_said_and_comes_back_by_itself(embedded_database: Database, tmp_path: Path) -> None:
    url = await person_url(embedded_database)
    socket_dir = embedded_database.cluster.directory / f"c{embedded_database.name}"
    socket_dir.mkdir()
    proxy = Proxy(embedded_database.cluster.socket_dir / ".s.PGSQL.5432", socket_dir / ".s.PGSQL.5432")
    async with (
        proxy.running(),
        console(url.replace(str(embedded_database.cluster.socket_dir), str(socket_dir)), tmp_path) as (app, pilot),
    ):
        await until(pilot, app, "● LIVE", "acme/d1")
        proxy.refusing = True
        proxy.close()
        text = await until(pilot, app, "DB LOST", "shown data is old", "again in")
        assert "acme/d1" in text, "old data stays"
        proxy.refusing = False
        await until(pilot, app, "● LIVE")


async def test_a_database_that_is_not_there_ends_nothing(embedded_database: Database, tmp_path: Path) -> None:
    url = embedded_database.cluster.url("iot_u_x", "x", embedded_database.name, embedded_database.cluster.directory)
    async with console(url, tmp_path) as (app, pilot):
        await until(pilot, app, "No data yet: the database cannot be reached", "DB LOST")


# -- changes


async def test_a_device_is_registered_rotated_disabled_and_revoked(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("2", "n")
        await until(pilot, app, "New device")
        await pilot.press(*"acme/PUMP", "enter")
        await until(pilot, app, "is not TENANT/DEVICE")
        await pilot.press("ctrl+u", *"acme/pump", "enter")
        await until(pilot, app, "  acme/devices/pump\n", "shown once")
        (secret,) = app.bar.secrets
        await pilot.press("escape")
        await until(pilot, app, "▸  pump")
        assert secret.value not in "".join(told.text for told in app.bar.told)
        await pilot.press("R")
        await until(pilot, app, "Type pump and enter to confirm")
        await pilot.press("R", "enter")
        await until(pilot, app, "that is not pump")
        assert await count(embedded_database, "iot.credentials") == 1, "neither the key again nor enter confirms"
        await pilot.press("ctrl+u", *"pump", "enter")
        await until(pilot, app, "  acme/devices/pump/b\n")
        await pilot.press("escape", "D")
        await until(pilot, app, "y: yes")
        await pilot.press("enter", "D", "n")
        await until(pilot, app, "nothing was changed")
        await pilot.press("D")
        await yes(pilot, app)
        await until(pilot, app, "acme/pump disabled", "u: undo", "○ disabled")
        await pilot.press("u")
        await until(pilot, app, "acme/pump enabled")
        await pilot.press("X", *"pump", "enter")
        await until(pilot, app, "revoking in", "u: keep it")
        await pilot.press("u")
        await until(pilot, app, "kept: nothing was changed")
        assert await count(embedded_database, "iot.credentials where revoked_at is not null") == 0
        await pilot.press("X", *"pump", "enter")
        await until(pilot, app, "credentials revoked")
        assert await count(embedded_database, "iot.credentials where revoked_at is not null") == 2


async def count(database: Database, what: str) -> int:
    ((found,),) = await database.fetch(f"select count(*) from {what}")
    return int(str(found))


async def test_many_devices_need_their_number(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("2")
        await until(pilot, app, "▸  d1")
        await pilot.press("colon")
        await give(pilot, app, "new acme/a acme/b")
        await until(pilot, app, "  acme/devices/b\n")
        await pilot.press("escape", "slash", *"a", "enter", "escape", "ctrl+a", "R")
        await until(pilot, app, "Type 3 and enter")
        await pilot.press("3", "enter")
        await until(pilot, app, "  acme/devices/a/b\n", "  acme/devices/d1\n")
        assert len(app.bar.secrets) == 3


ALERT = """
insert into iot.alert_episodes (event_id, rule_key, fingerprint, episode, tenant_id, alert, severity, labels, summary,
                                runbook, value, fired_at)
values (gen_random_uuid(), 'device-silent', 'f', 1, 1, 'DeviceSilent', 'warning',
        '{"alertname": "DeviceSilent", "severity": "warning", "tenant": "acme", "device": "d1"}', 'd1 is silent',
        'broker-down', 1, now() - interval '5 minutes')"""


async def test_an_alert_is_acknowledged_taken_back_and_silenced(embedded_database: Database, tmp_path: Path) -> None:
    url = await person_url(embedded_database)
    await embedded_database.fetch(ALERT)
    async with console(url, tmp_path) as (app, pilot):
        await until(pilot, app, "▲ 1 firing · 1 new", "DeviceSilent")
        await pilot.press("a")
        await until(pilot, app, "yours until it ends", "u: undo")
        await pilot.press("u")
        await until(pilot, app, "nobody's again", "1 new")
        await pilot.press("3", "c", *"on it", "enter")
        await until(pilot, app, "anna: on it")
        await pilot.press("u")
        await pilot.press("s", "ctrl+u", *"soon", "enter")
        await until(pilot, app, "is no duration")
        await give(pilot, app, "30m new battery")
        await until(pilot, app, "silence 1 for 30m", "silenced")
        await pilot.press("tab", "tab")
        await until(pilot, app, "device=d1", "new battery")
        await pilot.press("X")
        await yes(pilot, app)
        await until(pilot, app, "silence 1: over", "Nothing is silenced")
        await pilot.press("tab", "tab", "b")
        await until(pilot, app, "Confirm from outside")


async def test_dead_letters_are_taken_again_and_discarded(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await until(pilot, app, "● LIVE")
        await pilot.press("tab")
        await until(pilot, app, "cut off")
        await pilot.press("i")
        await until(pilot, app, "waits for")
        await pilot.press("u")
        await until_gone(pilot, app, "waits for")
        await pilot.press("X")
        await yes(pilot, app)
        await until(pilot, app, "discarded 1 dead letters")
        await pilot.press("u")
        await until(pilot, app, "opened again: 1")


async def test_a_rule_is_made_changed_and_two_people_are_put_together(
    embedded_database: Database, tmp_path: Path
) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("5")
        await until(pilot, app, "No rules.")
        await pilot.press("n")
        await until(pilot, app, "Id: is missing")
        await pilot.press("tab", *"too-hot", "tab", *"TooHot")
        await until(pilot, app, "Fires when that holds for 2m")
        await pilot.press("ctrl+t")
        await until(pilot, app, "Would have fired 0 times in 24 h")
        await pilot.press("ctrl+s")
        await until(pilot, app, "is stored as revision", "▸  acme/too-hot")
        await pilot.press("e")
        await until(pilot, app, "ctrl+s store")
        theirs = """update iot.alert_rules set revision = revision + 100, updated_by = 'iot_u_ben',
                    body = body || '{"for": "9m", "alert": "Hot"}' where name = 'too-hot'"""
        await embedded_database.fetch(theirs)
        await pilot.press(*"er", "ctrl+s")  # TooHot -> TooHoter
        text = await until(pilot, app, "put together", "the other one wrote: Hot", "ben changed acme/too-hot")
        assert "9m" in text, "what only the other one changed is taken over"
        assert "TooHoter" in text
        await pilot.press("ctrl+s")
        await until(pilot, app, "is stored as revision", "▸  acme/too-hot")
        ((body,),) = await embedded_database.fetch("select concat(body->>'alert', body->>'for') from iot.alert_rules")
        assert body == "TooHoter9m"
        await pilot.press("X", *"too-hot", "enter")
        await until(pilot, app, "is gone", "u: undo")
        await pilot.press("u")
        await until(pilot, app, "is back")


async def test_leaving_a_changed_form_is_asked_once(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("6")
        await until(pilot, app, "iot_u_anna")
        await pilot.press("n")
        await until(pilot, app, "Name: needs a name")
        await pilot.press("x", "escape")
        await until(pilot, app, "not stored: esc again")
        await pilot.press("escape")
        await until(pilot, app, "▸  anna")


async def test_a_person_is_invited_promoted_shut_out_and_removed(embedded_database: Database, tmp_path: Path) -> None:
    login = f"iot_u_{embedded_database.name}"
    short = embedded_database.name
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("6")
        await until(pilot, app, "iot_u_anna")
        await pilot.press("n")
        await until(pilot, app, "Name: needs a name")
        await pilot.press(*"Ben", "tab", "tab", "right", "tab", *short)
        await until(pilot, app, "Ben may take care of alerts of tenant acme")
        await pilot.press("ctrl+s")
        await until(pilot, app, "shown once", f"  {login}\n")
        await pilot.press("escape")
        await until(pilot, app, "▸  Ben")
        await pilot.press("e", "ctrl+u", *"acme owner", "enter")
        await yes(pilot, app)
        await until(pilot, app, "Ben is owner of acme")
        await pilot.press("u")
        await until(pilot, app, "operator of acme again")
        await pilot.press("D", *short, "enter")
        await until(pilot, app, "is shut out", "○ disabled")
        await pilot.press("E")
        await until(pilot, app, "may log in again")
        await pilot.press("X", *short, "enter")
        await until(pilot, app, f"{login} is gone")
    assert await count(embedded_database, f"pg_roles where rolname = '{login}'") == 0


async def test_the_last_owner_is_told_by_the_database(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("6")
        await until(pilot, app, "▸  anna")
        await pilot.press("D", *"anna", "enter")
        await until(pilot, app, "you cannot disable yourself")
        await pilot.press("e", "ctrl+u", *"platform viewer", "enter")
        await yes(pilot, app)
        await until(pilot, app, "is the last owner of platform")


# -- what one may not do


async def test_a_viewer_looks_and_is_told_whom_to_ask(embedded_database: Database, tmp_path: Path) -> None:
    url = await person_url(embedded_database, "iot_u_vic", "acme", Role.VIEWER)
    await embedded_database.person_url("iot_u_bea", "acme")
    await embedded_database.fetch(ALERT)
    async with console(url, tmp_path) as (app, pilot):
        await until(pilot, app, "vic·viewer", "DeviceSilent")
        await pilot.press("6")
        await until(pilot, app, "only owners change users", "bea")
        await pilot.press("2", "R")
        await until(pilot, app, "rotate needs the role owner. Ask: bea")
        await pilot.press("3", "a")
        await until(pilot, app, "acknowledge needs the role operator")
        await pilot.press("question_mark")
        await until(pilot, app, "needs operator")
    assert await count(embedded_database, "iot.alert_episodes where acked_by is not null") == 0


async def test_who_is_demoted_meanwhile_is_refused_by_the_database(embedded_database: Database, tmp_path: Path) -> None:
    url = await person_url(embedded_database, "iot_u_vic", "acme")
    async with console(url, tmp_path) as (app, pilot):
        await pilot.press("2")
        await until(pilot, app, "▸  d1")
        await embedded_database.fetch("update iot.members set role = 'viewer' where login = 'iot_u_vic'")
        app.effect(app.pane.act("rotate", "", app.view))  # as if it had been asked just before
        await pilot.press(*"d1", "enter")
        await until(pilot, app, "refused by the database: you are no owner of tenant acme")


async def test_nothing_is_changed_or_queued_while_the_database_is_away(
    embedded_database: Database, tmp_path: Path
) -> None:
    url = await person_url(embedded_database)
    socket_dir = embedded_database.cluster.directory / f"w{embedded_database.name}"
    socket_dir.mkdir()
    proxy = Proxy(embedded_database.cluster.socket_dir / ".s.PGSQL.5432", socket_dir / ".s.PGSQL.5432")
    away = url.replace(str(embedded_database.cluster.socket_dir), str(socket_dir))
    async with proxy.running(), console(away, tmp_path) as (app, pilot):
        await pilot.press("2")
        await until(pilot, app, "▸  d1")
        proxy.refusing = True
        proxy.close()
        await until(pilot, app, "DB LOST")
        await pilot.press("D")
        await until(pilot, app, "nothing is changed, and nothing is queued")
        proxy.refusing = False
        await pilot.press("r")
        await until(pilot, app, "● LIVE")
        assert await count(embedded_database, "iot.devices where disabled") == 0


# -- typing


async def test_commands_complete_remember_and_explain(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await until(pilot, app, "● LIVE")
        await pilot.press("colon", *"dev", "tab", *"tenant:acme", "enter")
        await until(pilot, app, "[2 Devices]", "1 of 1 device")
        await pilot.press("colon")
        await give(pilot, app, "frobnicate")
        await until(pilot, app, "there is no frobnicate here")
        await pilot.press("colon", "up", "up", "enter")
        await until(pilot, app, "/tenant:acme")
        await pilot.press("colon", *"theme light", "enter", "colon", *"theme pink", "enter")
        await until(pilot, app, "one of auto, dark, light")
        await pilot.press("minus")
        await until(pilot, app, "[1 Overview]")
        await pilot.press("colon")
        await give(pilot, app, "messages")
        await until(pilot, app, "there is no frobnicate here")
    assert (tmp_path / "state" / "history").stat().st_mode & 0o077 == 0


async def test_a_quick_command_never_acts_by_its_letters(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("2")
        await until(pilot, app, "▸  d1")
        for key in ("colon", *"XDR"):
            app.post_message(Key(key, None if len(key) > 1 else key))
        await until(pilot, app, "XDR")
        assert app.bar.ask is None


async def test_a_paste_into_the_screen_does_nothing(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("2")
        await until(pilot, app, "▸  d1")
        for key in "yyyyyyD":
            app.post_message(Key(key, key))
        await until(pilot, app, "a paste?")
        assert app.bar.ask is None


async def test_rows_are_exported_and_a_report_hides_secrets(embedded_database: Database, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await pilot.press("2")
        await until(pilot, app, "▸  d1")
        for name in ("out.csv", "out.json"):
            await pilot.press("colon")
            await give(pilot, app, f"export {tmp_path}/files/{name}")
            await until(pilot, app, f"1 rows are in {tmp_path}/files/{name}"[:60])
        await pilot.press("colon")
        await give(pilot, app, f"export {tmp_path}/files/out.csv")
        await until(pilot, app, "File exists")
        app.bar.say("connected to postgresql://anna:hunter2@db/iot with password=hunter3", "", app.clock())
        await pilot.press("exclamation_mark")
        await until(pilot, app, "report in")
    (report,) = (tmp_path / "files").glob("*.txt")
    (picture,) = (tmp_path / "files").glob("*.svg")
    assert "hunter" not in report.read_text() + picture.read_text()
    assert "d1" in report.read_text()
    rows = json.loads((tmp_path / "files" / "out.json").read_text())
    assert (rows["about"], rows["rows"][0]["device"]) == ("1 device", "d1")
    assert (tmp_path / "files" / "out.csv").read_text().splitlines()[1].startswith("d1,acme,online,")
    assert {f.stat().st_mode & 0o077 for f in (tmp_path / "files").iterdir()} == {0}


async def test_a_click_is_worth_a_key(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path) as (app, pilot):
        await until(pilot, app, "● LIVE")
        await pilot.click("#tabs", offset=(16, 0))
        await until(pilot, app, "[2 Devices]", "▸  d1")
        await pilot.click("#footer", offset=(2, 0))
        await until(pilot, app, "New device")
        await pilot.press("escape")
        await pilot.click("#pane", offset=(6, 3), times=2)
        await until(pilot, app, "enter: back")


RULES = """version: 1
groups:
  - name: vm
    rules:
      # Half a core is plenty.
      - id: vm-cpu
        alert: CpuHigh
        expr: avg(vm.cpu_percent[2m]) > 90   # percent
        runbook: broker-down
      - id: vm-disk
        alert: DiskFull
        expr: last(vm.disk_percent) > 90
        runbook: broker-down
"""


def file_rules(text: str) -> list[RuleModel]:
    return [rule for group in RulesFile.model_validate(document.load(text).data).groups for rule in group.rules]


async def test_a_rule_of_the_file_is_changed_and_every_comment_stays(
    embedded_database: Database, tmp_path: Path
) -> None:
    url = await person_url(embedded_database)
    file = tmp_path / "alerts.yaml"
    file.write_text(RULES)
    bodies = {rule.id: rule.model_dump(by_alias=True, exclude_defaults=True) for rule in file_rules(RULES)}
    async with connected(parse_target(await embedded_database.agent_url()), "test", 1) as db:
        await alert_rules.mirror_file(db, bodies)
    async with console(url, tmp_path, alerts_file=file) as (app, pilot):
        await pilot.press("5")
        await until(pilot, app, "▸  vm-cpu")
        await pilot.press("e")
        await until(pilot, app, f"vm-cpu in {file}"[:60], "# percent", "Looked at every")
        await pilot.press("down", "end", "space", "!")
        await until(pilot, app, "✗ Rule")
        await pilot.press("ctrl+s")
        assert file.read_text() == RULES, "nothing wrong is written"
        await pilot.press("backspace", "backspace", *"er")
        await until(pilot, app, "CpuHigher (vm-cpu)")
        file.write_text(RULES.replace("> 90\n        runbook: broker-down\n", "> 80\n        runbook: broker-down\n"))
        await pilot.press("ctrl+s")
        await until(pilot, app, "is written; agents take it over")
        changed = file.read_text()
        assert "# Half a core is plenty." in changed
        assert "alert: CpuHigher" in changed
        assert "last(vm.disk_percent) > 80" in changed, "somebody else's change of another rule stays"
        await pilot.press("v")
        await until(pilot, app, "# percent")
        file.write_text(changed.replace("CpuHigher", "CpuHighest"))
        await pilot.press("down", "end", *"X", "ctrl+s")
        await until(pilot, app, "somebody else changed vm-cpu")
        assert "CpuHighest" in file.read_text()
        await pilot.press("escape", "escape")
        await until(pilot, app, "▸  vm-cpu")


async def test_what_others_change_is_seen_at_once(embedded_database: Database, tmp_path: Path) -> None:
    """By a hint of the database: sooner than the pane would have asked."""
    url = await person_url(embedded_database)
    async with console(url, tmp_path) as (app, pilot):
        app.panes["users"].seconds = 3600.0  # type: ignore[misc]
        await pilot.press("6")
        await until(pilot, app, "▸  anna")
        async with connected(parse_target(url), "other", 1) as db:
            await members.create(db, "acme", f"iot_u_{embedded_database.name}", "Newcomer", Role.VIEWER)
        await until(pilot, app, "Newcomer")


async def test_another_profile_is_another_console(embedded_database: Database, tmp_path: Path) -> None:
    async with console(await person_url(embedded_database), tmp_path, profiles=("prod", "staging")) as (app, pilot):
        await until(pilot, app, "● LIVE")
        await pilot.press("colon")
        await give(pilot, app, "profile mars")
        await until(pilot, app, "one of prod, staging")
        await pilot.press("colon")
        await give(pilot, app, "profile staging")
        await pilot.pause()
        assert app.return_value == "staging"
