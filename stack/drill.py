"""Runs a drill: a healthy stack, a real fault, the message, the mending, the end; evidence of each with its time."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stack import faults
from stack.azure import FakeAzure
from stack.drill_rules import CHANNEL, quick
from stack.drills import Drill
from stack.faults import Scene
from stack.local import LocalAgent, LocalStack, Tenant, short_directory
from stack.sink import Received, Sink

RULES = Path(__file__).parent.parent / "alerts.yaml"
HEALTHY_SECONDS = 5.0
RESOLVE_SECONDS = 60.0
UNREACHABLE = "> 1e18"


@dataclass(slots=True)
class Evidence:
    """What happened, seconds since 1970 in times. passed: it fired, was told in time, and its end was told."""

    drill: str
    fault: str
    alerts: tuple[str, ...]
    within_seconds: float
    limits: dict[str, str] = field(default_factory=dict)
    t_fault: float | None = None
    t_firing: float | None = None
    t_notified: float | None = None
    t_mended: float | None = None
    t_resolved: float | None = None
    alert: str | None = None
    message: str | None = None
    unexpected: tuple[str, ...] = ()
    failure: str | None = None
    timeline: list[tuple[float, str]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return self.failure is None

    def note(self, what: str, at: float | None = None) -> float:
        moment = time.time() if at is None else at
        self.timeline.append((moment, what))
        return moment

    def as_dict(self) -> dict[str, object]:
        return {"passed": self.passed, **asdict(self)}


async def run(drill: Drill, blind: bool = False, say: Callable[[str], None] = lambda _: None) -> Evidence:
    """blind: with a limit that is never reached, so that the drill has to fail. Always cleans up.

    Raises StackError when the stack cannot be started.
    """
    directory = short_directory("iot-drill")
    evidence = Evidence(drill.name, drill.what, drill.alerts, drill.within)
    sink = Sink()
    stack = LocalStack(directory)
    azure = FakeAzure(directory / "azure", stack.authority)
    try:
        async with _scene(drill, stack, azure, sink, evidence, blind) as scene:
            say(evidence.timeline[-1][1])
            await _happen(drill, scene, sink, evidence, say)
    finally:
        await asyncio.to_thread(stack.stop)
        azure.stop()
        sink.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return evidence


@asynccontextmanager
async def _scene(
    drill: Drill, stack: LocalStack, azure: FakeAzure, sink: Sink, evidence: Evidence, blind: bool
) -> AsyncIterator[Scene]:
    """A stack on which nothing is wrong."""
    await stack.cluster.start()
    await stack.prepare([Tenant("acme", ("d1", "d2"))])
    stack.broker.authority.issue(stack.broker.directory_made(), days=60)
    stack.broker.start()
    evidence.limits = drill.limits(stack.state)
    rules = stack.state / "alerts.yaml"
    rules.write_text(quick(RULES, evidence.limits | (_blinding(drill) if blind else {})))
    agents = [_agent(stack, azure if drill.cloud else None, sink, rules, name) for name in ("agent-1", "agent-2")]
    scene = Scene(stack, agents[0], azure, agents[1] if drill.two_agents else None)
    for agent in agents[: 1 + drill.two_agents]:
        agent.start()
        await agent.ready()
    if drill.talking:
        faults.start_fleet(scene)
    evidence.note("everything runs; nothing is wrong")
    yield scene


def _agent(stack: LocalStack, azure: FakeAzure | None, sink: Sink, rules: Path, name: str) -> LocalAgent:
    settings: dict[str, object] = {
        "alerts__file": str(rules), "alerts__sample_seconds": 0.5, "alerts__tick_seconds": 0.2,
        "alerts__direct_after_seconds": 2.0, "canary__interval_seconds": 2.0, "canary__timeout_seconds": 5.0,
    }  # fmt: skip
    if azure is not None:
        settings |= azure.agent_settings
        settings |= {"cloud__poll_seconds": 2.0, "cloud__cost_seconds": 1.0}
    agent = stack.agent(name, settings)
    channel = f'[alerts.channels.{CHANNEL}]\nkind = "webhook"\nurl = "{sink.url}/{name}"\n'
    agent.config_file.write_text(agent.config_file.read_text() + channel)
    if azure is not None:
        agent.environment |= azure.environment
    return agent


async def _happen(drill: Drill, scene: Scene, sink: Sink, evidence: Evidence, say: Callable[[str], None]) -> None:
    settle = HEALTHY_SECONDS + 12.0 * drill.talking + 8.0 * drill.cloud
    await asyncio.sleep(settle)
    if _said(sink, drill, ("firing", "brief")):
        evidence.failure = "it fired before the fault"
        return
    async with drill.fault(scene):
        evidence.t_fault = evidence.note(drill.what)
        say(drill.what)
        told = await _until(lambda: _said(sink, drill, ("firing",)), drill.within)
        if told is None:
            evidence.failure = f"no message within {drill.within:g} s of the fault"
        else:
            _told(evidence, told, drill)
            say(f"{evidence.alert} was told after {told.at - evidence.t_fault:.1f} s")
    evidence.t_mended = evidence.note("mended")
    say("mended")
    if evidence.failure is not None:
        return
    over = await _until(lambda: _said(sink, drill, ("resolved",)), RESOLVE_SECONDS)
    if over is None:
        evidence.failure = f"its end was not told within {RESOLVE_SECONDS:g} s of the mending"
        return
    evidence.t_resolved = evidence.note("the end was told", over.at)
    say(f"its end was told after {over.at - evidence.t_mended:.1f} s")
    evidence.unexpected = tuple(
        sorted({a["alert"] for r in sink.received for a in r.body["alerts"]} - set(drill.alerts))
    )


def _told(evidence: Evidence, told: Received, drill: Drill) -> None:
    [first, *_] = [alert for alert in told.body["alerts"] if alert["alert"] in drill.alerts]
    evidence.alert, evidence.message = first["alert"], told.body["text"]
    evidence.t_firing = evidence.note(f"{first['alert']} fires", first["fired_at"])
    evidence.t_notified = evidence.note("the message arrived", told.at)


def _said(sink: Sink, drill: Drill, reasons: tuple[str, ...]) -> Received | None:
    for alert in drill.alerts:
        for reason in reasons:
            if found := sink.said(alert, reason):
                return found[0]
    return None


async def _until(look: Callable[[], Received | None], seconds: float) -> Received | None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if (found := look()) is not None:
            return found
        await asyncio.sleep(0.05)
    return None


def _blinding(drill: Drill) -> dict[str, str]:
    return dict.fromkeys(drill.rule_ids, UNREACHABLE)
