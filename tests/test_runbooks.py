"""Runbooks: what their Markdown means, and what is wrong with them before somebody needs them. Pure."""

import json
from datetime import date
from pathlib import Path

import pytest

from probes.finding import Signature
from probes.shipped import shipped
from tests.consoles import run_cli
from tui import library
from tui.runbook.lint import Known, lint, targets, unanswered
from tui.runbook.model import Check, Command, Decide, Instruct, json_schema
from tui.runbook.parse import Runbook, RunbookError, parse

HEAD = """---
schema: runbook/1
id: broker-down
title: MQTT broker down
severity: sev1
summary: Devices cannot connect.
alerts: [BrokerDown]
owner: platform
last_reviewed: 2026-11-01
review_every_days: 90
vars:
  host: {from: config.broker.host}
done_when: [outside]
---

# MQTT broker down

Devices **cannot** connect.
"""
STEPS = """
## 1. Confirm from outside {#outside}

A single failed probe is no outage.

```yaml step
kind: check
check: mqtt.connect
with: {host: "{{host}}"}
pass: goto close
```

Look at `CONNACK`.

## 2. Which case is it? {#which}

```yaml step
kind: decide
question: What is broken?
options:
  - {label: Unit not active, when: {outside: fail}, goto: restart}
  - {label: Nothing, goto: close}
```

## 3. Restart {#restart}

```yaml step
kind: command
where: agent
action: broker.restart
with: {unit: mosquitto}
confirm: "Restarts the broker: every device reconnects."
verify: {check: mqtt.connect, with: {host: "{{host}}"}}
```

## 4. Close {#close}

```sh
echo this is no step
```
"""
KNOWN = Known(
    checks={"mqtt.connect": Signature(frozenset({"host"}), frozenset({"port"}))},
    actions={"broker.restart": Signature(frozenset({"unit"}))},
    alerts={"BrokerDown": "broker-down"},
    runbooks={"broker-down", "tls-cert"},
)
TODAY = date(2026, 11, 25)


def changed(old: str, new: str) -> Runbook:
    text = HEAD + STEPS
    assert old in text
    return parse(text.replace(old, new, 1))


def test_markdown_becomes_steps() -> None:
    found = parse(HEAD + STEPS)
    assert found.front.id == "broker-down"
    assert found.intro == "# MQTT broker down\n\nDevices **cannot** connect."
    assert [(step.id, step.title) for step in found.steps] == [
        ("outside", "Confirm from outside"), ("which", "Which case is it?"), ("restart", "Restart"), ("close", "Close"),
    ]  # fmt: skip
    outside, which, restart, close = found.steps
    assert outside.prose == "A single failed probe is no outage.\n\n\nLook at `CONNACK`."
    assert isinstance(outside.action, Check)
    assert isinstance(which.action, Decide)
    assert isinstance(restart.action, Command)
    assert isinstance(close.action, Instruct), "a fence of another kind is prose"
    assert "echo this is no step" in close.prose
    assert (HEAD + STEPS).splitlines()[restart.line - 1].startswith("## 3. Restart")
    assert lint(found, KNOWN, TODAY) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("---\nschema", "schema", "line 1: a runbook begins with front matter"),
        ("severity: sev1", "severity: bad", "severity"),
        ("owner: platform\n", "", "owner"),
        ("last_reviewed: 2026-11-01", "last_reviewed: soon", "last_reviewed"),
        ("{from: config.broker.host}", "{from: somewhere}", "ask, alert.labels.NAME"),
        ("{#which}", "", "its id of a-z"),
        ("{#which}", "{#outside}", "the id outside is given twice"),
        ("kind: check\n", "kind: chek\n", "kind"),
        ("check: mqtt.connect\nwith", "with", "give either check: or all:"),
        ("pass: goto close", "pass: close", "`next`, `goto STEP`"),
        ("pass: goto close", "pas: goto close", "pas: Extra inputs"),
        ("action: broker.restart", "run: [systemctl, restart, mosquitto]", "on the agent an action is named"),
        ('confirm: "Restarts the broker: every device reconnects."', "confirm: yes", "confirm"),
        ("where: agent", "where: agent\nrun: systemctl restart mosquitto", "run"),
        ("with: {unit: mosquitto}", "with: {unit: mosquitto", "no YAML"),
        ("kind: decide\n", "kind: decide\nkind: decide\n", "given twice"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, said: str) -> None:
    text = HEAD + STEPS
    assert old in text
    with pytest.raises(RunbookError, match=said.replace("[", r"\[")) as caught:
        parse(text.replace(old, new, 1))
    assert all(mistake.startswith("line ") for mistake in caught.value.mistakes)


def test_all_mistakes_are_said_at_once() -> None:
    text = (HEAD + STEPS).replace("sev1", "bad").replace("kind: check", "kind: chek").replace("{#close}", "")
    with pytest.raises(RunbookError) as caught:
        parse(text)
    assert len(caught.value.mistakes) == 3
    lines = [int(mistake.split()[1].rstrip(":")) for mistake in caught.value.mistakes]
    assert [text.splitlines()[n - 1].split()[0] for n in lines] == ["severity:", "kind:", "##"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pass: goto close", "pass: goto nowhere", "outside leads to a step that is not there: nowhere"),
        ("goto: close}", "goto: 'runbook:tls-cert'}", ""),
        ("goto: close}", "goto: 'runbook:mars'}", "a runbook that is not there: runbook:mars"),
        ("goto: restart}", "goto: close}", "nothing leads to restart"),
        ("check: mqtt.connect\n", "check: mqtt.konnect\n", "check mqtt.konnect: there is no such name"),
        ('with: {host: "{{host}}"}\npass', "pass", "check mqtt.connect: needs host"),
        ("with: {unit: mosquitto}", "with: {unit: mosquitto, now: true}", "takes no now"),
        ("when: {outside: fail}", "when: {inside: fail}", "a result that no check above records: inside"),
        ("{{host}}", "{{hots}}", "{{hots}} is not declared"),
        ("from: config.broker.host}", "from: config.broker.host}\n  port: {}", "vars.port: is used nowhere"),
        ("from: config.broker.host}", "from: config.broker.hots}", "vars.host: a profile has no broker.hots"),
        ("done_when: [outside]", "done_when: [inside]", "done_when: there is no step inside"),
        ("alerts: [BrokerDown]", "alerts: [BrokerGone]", "no rule raises BrokerGone"),
        ("alerts: [BrokerDown]", "alerts: []", "BrokerDown names this runbook and is missing"),
        ("last_reviewed: 2026-11-01", "last_reviewed: 2026-01-01", "due for 238 days"),
    ],
)
def test_the_linter_finds(old: str, new: str, said: str) -> None:
    found = lint(changed(old, new), KNOWN, TODAY)
    if not said:
        assert found == []
    else:
        assert any(said in mistake for mistake in found), found


def test_a_secret_does_not_go_into_an_action() -> None:
    text = (
        (HEAD + STEPS)
        .replace("{from: config.broker.host}", "{from: ask, secret: true}")
        .replace("{unit: mosquitto}", '{unit: "{{host}}"}')
    )
    assert any("host is secret" in mistake for mistake in lint(parse(text), KNOWN, TODAY))


def test_where_one_may_go_from_a_step() -> None:
    found = parse(HEAD + STEPS)
    assert targets(found.steps[0], "which") == ["close", "which", "which"]
    assert targets(found.steps[3], None) == []
    assert unanswered(Known(alerts={"A": "gone", "B": "broker-down"}), [found]) == ["alert A: there is no runbook gone"]


def test_the_shipped_ones_are_well_and_the_command_says_so(tmp_path: Path) -> None:
    assert library.mistakes(library.directory(), shipped("alerts.yaml"), TODAY) == []
    done = run_cli("runbooks", "lint")
    assert (done.returncode, "runbooks are well" in done.stdout) == (0, True), done
    (tmp_path / "half.md").write_text(HEAD)
    bad = run_cli("runbooks", "lint", str(tmp_path), "--json")
    assert bad.returncode == 1
    assert any("half.md" in mistake for mistake in json.loads(bad.stdout))
    assert run_cli("runbooks", "lint", str(tmp_path / "none")).returncode == 2


def test_the_schema_knows_every_kind() -> None:
    kinds = set(json_schema()["discriminator"]["mapping"])
    assert kinds == {"instruct", "check", "command", "rollback", "decide", "wait", "handoff", "note"}


def test_a_runbook_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "broker-down.md"
    path.write_text((library.directory() / path.name).read_text())
    (before,) = library.runbooks(tmp_path)
    assert library.runbooks(tmp_path) == [before]
    path.write_text(path.read_text().replace(f"title: {before.title}", "title: Another"))
    assert library.runbooks(tmp_path)[0].title == "Another"
    path.write_text("no runbook")
    assert library.runbooks(tmp_path)[0].error
