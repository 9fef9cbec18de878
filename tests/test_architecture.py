"""Who may import whom. This table is the architecture; change it on purpose."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"alerting", "sql", "store", "probes", "agent", "tui", "stack"}

# package -> the packages of ours it may import (itself is always allowed)
LAYERS: dict[str, set[str]] = {
    "alerting": set(),
    "sql": set(),
    "store": {"sql"},
    "probes": {"sql", "store"},
    "agent.ingest": {"store"},
    "agent.creds": {"store", "probes"},
    "agent.alerts": {"alerting", "store"},
    "agent.simulate": {"probes"},
    "agent": {
        "alerting",
        "sql",
        "store",
        "probes",
        "agent.alerts",
        "agent.ingest",
        "agent.creds",
        "agent.drill_cli",
        "agent.simulate",
    },
    # agent.alerts: a draft of a rule is tried over the past with the rights of the person who writes it
    "tui": {"alerting", "sql", "store", "probes", "agent.alerts"},
    "stack": {"alerting", "sql", "store", "probes"},
    "agent.drill_cli": {"stack"},  # drills happen on the local stack; nothing else of the agent knows it
}

# library -> the only places that may import it
GATES = {
    "asyncpg": ("store.db.", "stack.faults.", "stack.postgres."),
    "mqtt5": ("agent.ingest.options.", "agent.ingest.session.", "probes.mqtt."),
    "aiomqtt": ("agent.simulate.fleet.",),
    "sqlite3": ("agent.ingest.spool.",),
    "psutil": ("probes.host.", "stack.broker.", "stack.drills.", "stack.faults.", "stack.sshd."),
    "httpx": ("agent.alerts.channels.",),
    "pydantic": (
        "agent.action_settings.",
        "agent.alert_settings.",
        "agent.build.",
        "agent.config.",
        "agent.reference.",
        "alerting.model.",
        "alerting.rules.",
        "alerting.ruletest.",
        "agent.cloud_cli.",
        "agent.drill_cli.",
        "agent.rules_cli.",
        "tui.profile.",
        "tui.runbook.model.",
        "tui.runbook.parse.",
    ),
    "prometheus_client": ("agent.web.",),
    "typer": (
        "agent.cli.",
        "agent.broker_cli.",
        "agent.cloud_cli.",
        "agent.doctor_cli.",
        "agent.drill_cli.",
        "agent.rules_cli.",
        "agent.rules_edit.",
        "agent.setup_cli.",
        "agent.upgrade_cli.",
        "agent.usage.",
        "agent.simulate_cli.",
        "tui.cli.",
        "tui.commands.",
        "tui.command.",
        "tui.alert_commands.",
        "tui.device_commands.",
        "tui.rule_commands.",
        "tui.runbook.follow.",
        "tui.runbook_commands.",
        "tui.credential_commands.",
        "tui.dead_letter_commands.",
        "tui.doctor_command.",
        "tui.smoke_command.",
        "tui.other_commands.",
        "tui.user_commands.",
    ),
    "azure": ("probes.azure.",),
    "cryptography": ("probes.certificates.",),
    "subprocess": ("stack.", "agent.setup.perform.", "agent.setup_cli."),
    "yaml": ("alerting.document.",),
    "markdown_it": ("tui.runbook.parse.",),
    "textual": ("tui.",),
    "rich": ("tui.",),
}

# modules that only compute: no clock, no network, no files
PURE = {
    "store.errors",
    "store.message",
    "store.mosquitto",
    "store.scram",
    "agent.creds.lint",
    "agent.creds.logins",
    "agent.creds.plan",
    "agent.creds.render",
    "agent.creds.stepback",
    "agent.ingest.accounting",
    "agent.ingest.decode",
    "agent.ingest.delivery",
    "agent.ingest.latency",
    "agent.ingest.redelivery",
    "agent.ingest.topics",
    "agent.report",
    "agent.setup.plan",
    "agent.setup.steps",
    "agent.simulate.shapes",
    "probes.actions",
    "probes.finding",
    "probes.hardening",
    "probes.hardening_items",
    "probes.mosquitto_conf",
    "probes.nsg",
    "probes.redact",
    "probes.report",
    "probes.spans",
    "tui.actions",
    "tui.bar",
    "tui.chart",
    "tui.filter",
    "tui.frame",
    "tui.overview",
    "tui.render",
    "tui.rule_form",
    "tui.runbook.deed",
    "tui.runbook.fill",
    "tui.runbook.lint",
    "tui.runbook.model",
    "tui.runbook.offer",
    "tui.runbook.parse",
    "tui.runbook.run",
    "tui.runbook.timeline",
    "tui.table",
}
IMPURE = {"asyncio", "asyncpg", "aiomqtt", "socket", "subprocess", "time", "os", "pathlib", "textual"}
LONGEST_MODULE = 300
LONGEST_FUNCTION = 45  # lines with docstring


def modules() -> list[str]:
    files = (f for top in sorted(OURS) for f in (ROOT / top).rglob("*.py"))
    return [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]


def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())


def imports(module: str) -> set[str]:
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: absolute imports only"
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return found


def package(name: str) -> str:
    return max((p for p in LAYERS if f"{name}.".startswith(f"{p}.")), key=len)


@pytest.mark.parametrize("module", modules())
def test_imports_go_downwards_and_through_the_gates(module: str) -> None:
    home = package(module)
    for name in imports(module):
        top = name.split(".")[0]
        if top in OURS:
            target = package(name)
            assert target == home or target in LAYERS[home], f"{module} must not import {name}"
        if top in GATES:
            assert f"{module}.".startswith(GATES[top]), f"{top} belongs in {GATES[top]}"
        if module in PURE or home == "alerting":
            assert top not in IMPURE, f"{module} is pure: {top} does not belong here"


@pytest.mark.parametrize("module", modules())
def test_modules_and_functions_stay_small(module: str) -> None:
    path = ROOT / (module.replace(".", "/") + ".py")
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno
            assert length <= LONGEST_FUNCTION, f"{module}.{node.name} has {length} lines"


def test_the_pure_modules_exist() -> None:
    assert set(modules()) >= PURE


@pytest.mark.parametrize("entry", ["agent.cli", "agent.daemon", "tui.cli"])
def test_command_lines_start_without_the_terminal_library(entry: str) -> None:
    code = f"import sys, {entry}; sys.exit(any(m.split('.')[0] in ('textual', 'azure') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_nothing_switches_verification_off() -> None:
    forbidden = ("CERT_NONE", "check_hostname = False", "tls_insecure", "--insecure", "_create_unverified_context")
    for top in ("agent", "probes", "store", "tui", "stack", "deploy", "scripts"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix != ".pyc" and path.name != "secrecy.py":  # which looks for them
                text = path.read_text()
                assert not [word for word in forbidden if word in text], path
