"""The real SDK against a stand-in of the REST endpoints, with the faults that clouds have."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.alert_settings import CloudSettings
from agent.cloud import CloudPoll, command
from stack.azure import FakeAzure
from stack.certificates import Authority
from stack.local import to_toml
from store import series
from store.db import Db, connected
from store.target import parse_target
from tests.servers import Database


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[FakeAzure]:
    found = FakeAzure(tmp_path / "azure", Authority(tmp_path / "ca"))
    yield found
    found.stop()


@pytest.fixture
def config_file(azure: FakeAzure, tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    sections: dict[str, dict[str, object]] = {
        "mqtt": {"host": "127.0.0.1", "username": "x", "password": "y"},
        "database": {"url": "postgresql://a@/iot?host=/tmp"},
        "cloud": azure.settings,
    }
    file.write_text(to_toml(sections))
    return file


async def ask(azure: FakeAzure, config_file: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """(exit code, JSON) of `iot-agent cloud`."""
    argv = [*command(config_file), "--json", *more]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | azure.environment
    )
    out, err = await process.communicate()
    assert out, err.decode()
    return process.returncode or 0, json.loads(out)


def by_metric(answer: dict[str, Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for sample in answer["samples"]:
        found.setdefault(sample["metric"], []).append(sample["value"])
    return found


async def test_metrics_errors_and_costs(azure: FakeAzure, config_file: Path) -> None:
    azure.costs = [2.0, 2.0, 9.0]
    code, answer = await ask(azure, config_file)
    assert (code, answer["errors"]) == (0, {})
    assert by_metric(answer) == {
        "azure.vm.cpu_credits": [120.0],
        "azure.vm.available": [1.0],
        "azure.vm.available_memory_percent": [41.0],
        "azure.function.error_percent": [1.0],
        "azure.cost.daily": [9.0, 2.0, 2.0],
    }
    assert {s["labels"].get("vm") for s in answer["samples"]} == {"vm1", None}
    azure.error_percent = None
    code, answer = await ask(azure, config_file, "--no-costs")
    assert set(by_metric(answer)) == {
        "azure.vm.cpu_credits", "azure.vm.available", "azure.vm.available_memory_percent",
    }  # fmt: skip


async def test_maintenance_that_is_announced(azure: FakeAzure, config_file: Path) -> None:
    begins = format_datetime(datetime.now(UTC) + timedelta(minutes=15), usegmt=True)
    azure.events = [
        {"EventType": "Reboot", "Resources": ["vm1"], "NotBefore": begins},
        {"EventType": "Freeze", "Resources": ["vm1"], "NotBefore": ""},
    ]
    code, answer = await ask(azure, config_file, "--no-costs")
    found = {
        s["labels"]["kind"]: s["value"] for s in answer["samples"] if s["metric"] == "azure.vm.maintenance_seconds"
    }
    assert (code, found["Freeze"], 890 < found["Reboot"] <= 900) == (0, 0.0, True)


async def test_a_token_that_ends_is_fetched_again(azure: FakeAzure, config_file: Path) -> None:
    azure.token_seconds = 1
    code, answer = await ask(azure, config_file)
    assert (code, answer["errors"]) == (0, {})
    assert sum("/identity/oauth2/token" in path for path in azure.requests) >= 2


async def test_answers_that_are_none(azure: FakeAzure, config_file: Path) -> None:
    """Of another shape, or none at all: each question fails by itself and soon."""
    azure.malformed = True
    code, answer = await ask(azure, config_file)
    assert (code, answer["samples"], len(answer["errors"])) == (1, [], 4)
    azure.malformed = False
    azure.faults = {"metrics": 5.0}
    config_file.write_text(config_file.read_text() + "timeout_seconds = 0.3\n")
    code, answer = await ask(azure, config_file)
    assert (code, "timed out" in answer["errors"]["vm"], len(answer["errors"])) == (1, True, 1)
    assert by_metric(answer)["azure.cost.daily"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"metrics": 403}, "metrics of the VM: answered 403"),
        ({"metrics": 500}, "metrics of the VM: answered 500"),
        ({"CostManagement": 429}, "costs: answered 429"),
        ({"workspaces": 403}, "logs of func1: answered 403"),
    ],
)
async def test_one_question_that_fails_does_not_spoil_the_others(
    azure: FakeAzure, config_file: Path, fault: dict[str, int | float], message: str
) -> None:
    azure.faults = fault
    code, answer = await ask(azure, config_file)
    assert code == 1
    assert message in next(iter(answer["errors"].values()))
    assert len(by_metric(answer)) >= 2


async def test_half_an_answer_is_none(azure: FakeAzure, config_file: Path) -> None:
    azure.partial = True
    code, answer = await ask(azure, config_file)
    assert (code, "only a part was answered" in answer["errors"]["function"]) == (1, True)


async def test_no_identity_is_said_for_each(azure: FakeAzure, config_file: Path) -> None:
    azure.faults = {"identity": 400}
    code, answer = await ask(azure, config_file)
    assert (code, answer["samples"]) == (1, [])
    assert len(answer["errors"]) == 3  # scheduled events need no login


async def test_another_certificate_is_refused(azure: FakeAzure, config_file: Path, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    config_file.write_text(config_file.read_text().replace(str(azure.ca_file), str(other.ca_file)))
    code, answer = await ask(azure, config_file)
    assert (code, answer["samples"]) == (1, [])


@pytest_asyncio.fixture
async def db(embedded_database: Database) -> AsyncIterator[Db]:
    async with connected(parse_target(await embedded_database.agent_url()), "test", 2) as found:
        yield found


async def test_the_agent_keeps_what_was_measured(
    azure: FakeAzure, config_file: Path, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    poll = CloudPoll(db, "a", CloudSettings.model_validate(azure.settings), command(config_file))
    await poll.round()
    assert (poll.health.error, poll.health.at is not None) == (None, True)
    [window] = await series.stored(db, "azure.cost.daily", 0, 4e9)
    assert window.count == 20
    assert poll.health.found == "120 CPU credits; 1.0 % of the function's requests fail"
    azure.requests.clear()
    azure.faults = {"metrics": 403}
    await poll.round()  # costs are asked rarely
    assert not any("CostManagement" in path for path in azure.requests)
    assert "answered 403" in (poll.health.error or "")


async def test_what_refuses_is_asked_more_rarely_and_the_rest_as_before(
    azure: FakeAzure, config_file: Path, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    poll = CloudPoll(db, "a", CloudSettings.model_validate(azure.settings), command(config_file))
    azure.faults = {"CostManagement": 429, "workspaces": 403}
    await poll.round()
    azure.requests.clear()
    await poll.round()
    assert {
        word for path in azure.requests for word in ("CostManagement", "workspaces", "metrics") if word in path
    } == {"metrics"}
    assert poll.health.found == "120 CPU credits"


async def test_azure_that_wants_us_to_wait_for_minutes_spoils_nothing(azure: FakeAzure, config_file: Path) -> None:
    azure.retry_after, azure.faults = 600, {"CostManagement": 429}
    async with asyncio.timeout(60):
        code, answer = await ask(azure, config_file)
    assert (code, list(answer["errors"])) == (1, ["costs"])
    assert by_metric(answer)["azure.vm.cpu_credits"] == [120.0]


async def test_a_bill_in_two_currencies_is_kept_as_two(
    azure: FakeAzure, config_file: Path, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    azure.currencies, azure.costs = ("EUR", "USD"), [1.0, 2.0, 3.0, 4.0]
    azure.events = [{"EventType": "Reboot", "Resources": ["vm1"], "NotBefore": ""}] * 2
    poll = CloudPoll(db, "a", CloudSettings.model_validate(azure.settings), command(config_file))
    await poll.round()
    assert poll.health.error is None
    found = await series.stored(db, "azure.cost.daily", 0, 4e9)
    assert {window.labels["currency"]: window.count for window in found} == {"EUR": 4, "USD": 4}


async def test_a_process_that_says_nothing_is_an_error(db: Db) -> None:
    poll = CloudPoll(db, "a", CloudSettings(), (sys.executable, "-c", "import sys; sys.exit('broken')"))
    await poll.round()
    assert "broken" in (poll.health.error or "")
