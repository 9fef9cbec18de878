"""alerts.yaml: what is read, and how mistakes are told."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alerting import document, explain, model, rules, template
from alerting.document import DocumentError
from alerting.machine import NoData
from alerting.model import Defaults
from alerting.template import Facts
from alerting.threshold import Limit

ROOT = Path(__file__).parent.parent
SHIPPED = (ROOT / "alerts.yaml").read_text()
GOOD = """
version: 1
defaults: {interval: 20s, no_data: keep}
routes:
  - match: {severity: critical}
    channels: [oncall]
inhibit:
  - {when: {alertname: A}, mute: {alertname: B}, equal: [agent]}
groups:
  - name: vm
    limit: 7
    rules:
      - id: cpu
        alert: Cpu
        expr: avg(vm.cpu_percent[2m]) > 90
        for: 10m
        recover: "< 75"
        labels: {severity: warning}
        runbook: vm-pressure
        annotations: {summary: "CPU {{ value | round(0) }} %"}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        rules.load(text)
    return str(caught.value).splitlines()


def test_a_rule_is_as_written() -> None:
    found = rules.load(GOOD)
    rule = found.rules[0]
    assert (rule.key, rule.interval, rule.limit, rule.recover) == ("cpu", 20.0, Limit(">", 90.0), Limit("<", 75.0))
    assert (rule.timing.hold, rule.timing.no_data, rule.timing.limit) == (600.0, NoData.KEEP, 7)
    assert found.routes[0].channels == ("oncall",)
    assert found.inhibitions[0].equal == ("agent",)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("alert: Cpu", "alert: Cpu\n        exp: 1", "line 15, column 9: groups.rules.exp: unknown key"),
        ("for: 10m", "for: 10", "line 16, column 9: groups.rules.for: 10 has no unit: write 10s or 10m"),
        ("for: 10m", "for: soon", "line 16, column 9: groups.rules.for: 'soon' is no duration"),
        ("> 90", ">> 90", "line 15, column 9: expr, column 26: expected a number"),
        ("vm.cpu_percent", "vm.cpu", "line 15, column 9: expr: there is no metric vm.cpu; did you mean vm.cpu_percent?"),
        (" > 90", "", "line 15, column 9: expr: says no condition"),
        ("> 90", "> 90 and last(db.size_bytes) > 1", "line 15, column 9: expr: mixes metrics of agent and database"),
        ('"< 75"', '"75"', "line 17, column 9: groups.rules.recover: '75' is no limit"),
        ("> 90", "> 90 and last(vm.load_per_core) > 1", "line 17, column 9: recover: needs an expr"),
        ("severity: warning", 'severity: "{{ value }}"', "line 18, column 18: groups.rules.labels.severity: a label must not"),
        ("round(0)", "rnd", "line 20, column 23: groups.rules.annotations.summary: rnd is no filter"),
        ("{{ value", "{{ valu", "{{ valu }} is unknown"),
        ("runbook: vm-pressure", "", "groups.rules.runbook: is missing"),
        ("id: cpu", "id: CPU", "groups.rules.id: String should match pattern"),
        ("version: 1", "version: 2", "line 2, column 1: version: Input should be 1"),
        ("name: vm", "name: vm\n    name: x", "name is given twice"),
        ("channels: [oncall]", "channels: []", "routes.channels: List should have at least 1 item"),
        ("id: cpu", "id: cpu\n  bad indent", "no YAML:"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_line(old: str, new: str, line: str) -> None:
    assert old in GOOD
    assert any(line in found for found in mistakes(GOOD.replace(old, new)))


def test_all_mistakes_are_told_at_once() -> None:
    second = GOOD[GOOD.index("      - id: cpu") :].replace("> 90", "> ")
    found = mistakes(GOOD + second)
    assert len(found) == 2
    assert "the id cpu is taken by the rule in line 13" in found[1]


def test_yaml_scalars_are_those_of_yaml_1_2() -> None:
    data = document.load("a: on\nb: 1:30\nc: 1e3\nd: true\ne: ~\nf: 010\ng: .5\nh: 2026-01-01").data
    assert data == {"a": "on", "b": "1:30", "c": 1000.0, "d": True, "e": None, "f": 10.0, "g": 0.5, "h": "2026-01-01"}


def test_an_empty_file_is_a_mistake() -> None:
    assert "the file: Input should be" in mistakes("")[0]


def test_the_shipped_rules_are_good_and_have_runbooks() -> None:
    found = rules.load(SHIPPED)
    assert len(found.rules) >= 25
    for rule in found.rules:
        text = (ROOT / "runbooks" / f"{rule.runbook}.md").read_text()
        assert re.search(rf"alerts: \[.*\b{rule.alert}\b", text), f"{rule.runbook}.md does not name {rule.alert}"
        assert rule.alert in explain.words(rule)


def test_every_name_in_the_shipped_routes_exists() -> None:
    found = rules.load(SHIPPED)
    alerts = {rule.alert for rule in found.rules} | {shape.alert for shape in found.templates}
    named = {m["alertname"] for i in found.inhibitions for m in (i.when, i.mute)}
    assert named <= alerts


def test_the_schema_is_the_models() -> None:
    assert json.loads((ROOT / "alerts.schema.json").read_text()) == model.json_schema()


TENANT_RULE = {
    "id": "hot", "alert": "Hot", "expr": "max(telemetry.t[5m]) > {{ param.limit }}", "runbook": "x",
    "params": {"limit": {"default": 30, "min": 0, "max": 100}},
}  # fmt: skip


def test_a_tenants_rule_sees_that_tenant_only() -> None:
    rule = rules.tenant_rule("acme", TENANT_RULE, Defaults(), {"limit": 40})
    assert (rule.key, rule.limit, dict(rule.labels)["tenant"]) == ("acme/hot", Limit(">", 40.0), "acme")
    assert "Matcher(label='tenant', value='acme', equal=True)" in str(rule.node)


@pytest.mark.parametrize(
    ("change", "params", "message"),
    [
        ({"expr": "last(vm.cpu_percent) > 1"}, {}, "belongs to no tenant"),
        ({"expr": 'max(telemetry.t{tenant="globex"}[5m]) > 1'}, {}, "it cannot be chosen"),
        ({"expr": 'max(telemetry.t{tenant!="acme"}[5m]) > 1'}, {}, "it cannot be chosen"),
        ({"expr": "max(telemetry.t[5m]) > {{ param.other }}"}, {}, "there is no param other"),
        ({}, {"limit": 500}, "500 is not within 0.0 and 100.0"),
        ({"colour": "red"}, {}, "colour: Extra inputs|unknown key"),
        ({"alert": None}, {}, "alert: "),
    ],
)
def test_a_tenants_rule_that_is_refused(change: dict[str, object], params: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.tenant_rule("acme", TENANT_RULE | change, Defaults(), params)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ value }}", "0.1234"),
        ("{{ value | percent }}", "12.3 %"),
        ("{{ value | round(2) }}", "0.12"),
        ("{{ labels.device }}!", "d1!"),
        ("{{labels.nothing}}", ""),
        ("{{ active_for }}", "1m 30s"),
        ("{{ value | bytes }}", "0 B"),
        ("plain", "plain"),
    ],
)
def test_annotations(text: str, expected: str) -> None:
    assert template.render(text, Facts({"device": "d1"}, 0.1234, 90.0)) == expected
    assert template.mistakes(text) == []


def test_annotations_without_a_value() -> None:
    assert template.render("{{ value | round(1) }}", Facts({}, None)) == "no data"
    assert template.render("{{ value | round(1) }}", Facts({}, float("inf"))) == "inf"


def command(*argv: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "agent", "rules", *argv], capture_output=True, text=True, cwd=ROOT)


def test_check_from_the_command_line(tmp_path: Path) -> None:
    assert "ok: " in command("check").stdout
    file = tmp_path / "alerts.yaml"
    file.write_text(GOOD.replace("for: 10m", "for: 10").replace("> 90", "> "))
    done = command("check", str(file))
    assert done.returncode == 1
    assert f"{file}:16:9: groups.rules.for: 10 has no unit" in done.stderr
    file.write_text(GOOD.replace("vm-pressure", "nowhere"))
    done = command("check", str(file))
    assert (done.returncode, "there is no runbook" in done.stderr) == (1, True)
    assert command("check", str(tmp_path / "none.yaml")).returncode == 2


def test_every_shipped_rule_has_a_test_that_makes_it_fire(tmp_path: Path) -> None:
    files = [str(path) for path in sorted((ROOT / "tests" / "rules").glob("*.yaml"))]
    done = command("test", *files, "--coverage", "--require", "--junit", str(tmp_path / "junit.xml"))
    assert done.returncode == 0, done.stdout
    assert "without a test: none" in done.stdout
    assert 'failures="0"' in (tmp_path / "junit.xml").read_text()


def test_a_test_of_a_rule_can_fail(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(GOOD)
    file = tmp_path / "test.yaml"
    file.write_text("""
rule_files: [alerts.yaml]
evaluation_interval: 1m
tests:
  - name: too early
    input_series: [{series: 'vm.cpu_percent{agent="a"}', values: '95x20'}]
    alert_rule_test:
      - {eval_time: 5m, alertname: Cpu, exp_alerts: [{exp_labels: {agent: a}}]}
      - {eval_time: 12m, alertname: Cpu, exp_alerts: []}
      - {eval_time: 12m, alertname: Cpu, exp_alerts: [{exp_annotations: {summary: wrong}}]}
    exp_notifications: [{at: 1m, alertname: Cpu, reason: firing}]
""")
    done = command("test", str(file))
    assert done.returncode == 1
    assert 'at 5m, Cpu: missing: {agent="a"}' in done.stdout
    assert "at 12m, Cpu: too much" in done.stdout
    assert "at 1m, Cpu: firing was not notified" in done.stdout
    assert "0 passed, 1 failed" in done.stdout


def test_a_reload_in_a_test_of_rules(tmp_path: Path) -> None:
    """A changed limit keeps the alert, other labels end it."""
    now = GOOD.replace("for: 10m", "for: 0s")
    (tmp_path / "alerts.yaml").write_text(now)
    (tmp_path / "higher.yaml").write_text(now.replace("> 90", "> 94"))
    (tmp_path / "other.yaml").write_text(now.replace("severity: warning", "severity: critical"))
    file = tmp_path / "test.yaml"
    file.write_text("""
rule_files: [alerts.yaml]
evaluation_interval: 1m
tests:
  - input_series: [{series: 'vm.cpu_percent{agent="a"}', values: '95x20'}]
    events:
      - {at: 5m, type: reload, rule_file: higher.yaml}
      - {at: 8m, type: reload, rule_file: other.yaml}
    alert_rule_test:
      - {eval_time: 6m, alertname: Cpu, exp_alerts: [{exp_labels: {severity: warning}}]}
      - {eval_time: 9m, alertname: Cpu, exp_alerts: [{exp_labels: {severity: critical}}]}
""")
    done = command("test", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_edits_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(GOOD + "# foot\n")
    rule = tmp_path / "rule.yaml"
    rule.write_text("id: cpu\nalert: Cpu\nexpr: avg(vm.cpu_percent[2m]) > 80\nrunbook: vm-pressure\n")
    done = command("edit", "cpu", str(rule), "--rules", str(file))
    assert done.returncode == 0, done.stderr
    assert "> 80" in file.read_text()
    assert "# foot" in file.read_text()
    before = file.read_text()
    rule.write_text("id: cpu\nalert: Cpu\nexpr: avg(vm.nothing[2m]) > 80\nrunbook: x\n")
    done = command("edit", "cpu", str(rule), "--rules", str(file))
    assert (done.returncode, "nothing was changed" in done.stderr, file.read_text()) == (1, True, before)
    done = command("remove", "cpu", "--rules", str(file), "--seen", "0" * 64)
    assert (done.returncode, "changed by somebody else" in done.stderr) == (1, True)
    assert command("remove", "cpu", "--rules", str(file)).returncode == 0
    assert rules.load(file.read_text()).rules == ()


def test_cases_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "cases.json"
    case = {"name": "x", "rule": {"op": ">", "threshold": 5}, "samples": [{"t": 0, "v": 6}]}
    file.write_text(json.dumps({"format": "alert-state-machine-cases/1", "cases": [case, case]}))
    lines = command("run-cases", str(file)).stdout.splitlines()
    assert [json.loads(line)["notifications"] for line in lines] == [[{"t": 0, "kind": "firing"}]] * 2
    file.write_text("[]")
    assert command("run-cases", str(file)).returncode == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 64 levels"),
        ("&a\n- *a", "nested more than 64 levels"),
        ("&a {b: *a}", "nested more than 64 levels"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n}\n" + f"- *a{n - 1}\n" * 9 for n in range(1, 30)),
            "more than 100000 parts",
        ),
        ("a: \ud800", "surrogates not allowed"),
    ],
)
def test_a_text_that_would_never_end_is_refused(text: str, words: str) -> None:
    """A text that nests too deeply would end the process, and few lines of aliases stand for more than there is room."""
    with pytest.raises(DocumentError, match=words):
        document.load(text)
