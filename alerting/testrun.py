"""Runs one test of rules, slot by slot through evaluation, notification and events, and says what was unexpected."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from alerting import evaluation, grouping, machine, template
from alerting.durations import words
from alerting.grouping import Alert, Policy, Reason
from alerting.machine import Kind, Labels, Memory, State
from alerting.routing import Silence, fits
from alerting.rules import NAME, Rule, RuleSet
from alerting.ruletest import AlertTest, Event, RuleTest, Simulation, differences, series_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """failures is empty when all was as expected. covered: keys of rules that fired and were expected to."""

    name: str
    failures: tuple[str, ...]
    covered: frozenset[str]


@dataclass(slots=True)
class _Run:
    rules: RuleSet
    simulation: Simulation
    memories: dict[str, Memory] = field(default_factory=dict)
    restarted: set[str] = field(default_factory=set)
    alerts: dict[str, Alert] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    told: list[tuple[float, str, str]] = field(default_factory=list)

    def evaluate(self, slot: float) -> None:
        for rule in self.rules.rules:
            memory = self.memories.get(rule.key, Memory())
            rows = self.simulation.rows(rule, slot - rule.eval_delay)
            found = evaluation.Asked((), error=rows) if isinstance(rows, str) else evaluation.asked(rule, rows)
            done = evaluation.judge(rule, memory, found, slot, rule.key in self.restarted)
            self.restarted.discard(rule.key)
            self.memories[rule.key] = done.memory
            for notice in done.notices:
                key = f"{rule.key} {notice.labels} {notice.episode}"
                if notice.kind is Kind.FIRING:
                    self.alerts[key] = Alert(key, dict(notice.labels), slot, repeat=rule.repeat)
                elif notice.kind is Kind.RESOLVED:
                    self.alerts[key] = replace(self.alerts[key], ended_at=slot)
        self._notify(slot)

    def _notify(self, now: float) -> None:
        policy = Policy(self.rules.routes, self.rules.inhibitions, self.silences)
        plan = grouping.plan(self.alerts.values(), policy, now)
        said = {(m.alert.event_id, m.reason) for message in plan.messages for m in message.mentions}
        for key, reason in sorted(said):
            alert = self.alerts[key]
            self.told.append((now, alert.labels[NAME], str(reason)))
            if reason in (Reason.NEW, Reason.REPEAT):
                self.alerts[key] = replace(alert, told_at=now, told=alert.told + 1)
        for key, alert in self.alerts.items():
            self.alerts[key] = replace(alert, muted=key in plan.muted)
        for key in plan.done:
            del self.alerts[key]

    def reload(self, rules: RuleSet, now: float) -> None:
        """State goes on for rules with the same name and labels; of others, what fires ends."""
        identities = {rule.key: rule.identity for rule in rules.rules}
        for rule in self.rules.rules:
            if identities.get(rule.key) != rule.identity:
                for notice in machine.close(self.memories.pop(rule.key, Memory())):
                    key = f"{rule.key} {notice.labels} {notice.episode}"
                    self.alerts[key] = replace(self.alerts[key], ended_at=now)
        self.rules = rules

    def happen(self, event: Event, load: Callable[[str], RuleSet]) -> None:
        match event.type:
            case "restart":
                self.restarted = set(self.memories)
            case "reload":
                assert event.rule_file is not None, "a reload names its rule_file"
                self.reload(load(event.rule_file), event.at)
            case "silence":
                ends_at = event.at + event.lasts
                self.silences.append(Silence(str(len(self.silences)), event.matchers, event.at, ends_at))
            case "ack":
                hit = {key: alert for key, alert in self.alerts.items() if fits(event.matchers, alert.labels)}
                self.alerts |= {key: replace(alert, acked=True) for key, alert in hit.items()}

    def firing(self, alertname: str, now: float) -> Iterator[tuple[Rule, Labels, Mapping[str, str]]]:
        for rule in self.rules.rules:
            if rule.alert != alertname:
                continue
            for labels, found in self.memories.get(rule.key, Memory()).instances.items():
                if found.state is State.FIRING:
                    facts = template.Facts(dict(labels), found.value, now - found.active_at)
                    yield rule, labels, {k: template.render(v, facts) for k, v in rule.annotations.items()}

    def states(self, alertname: str) -> set[State]:
        keys = [rule.key for rule in self.rules.rules if rule.alert == alertname]
        return {found.state for key in keys for found in self.memories.get(key, Memory()).instances.values()}


def run(
    test: RuleTest, rules: RuleSet, evaluation_interval: float, name: str, load: Callable[[str], RuleSet]
) -> Outcome:
    """load: rules by the name that a reload gives. Raises ValueError when the test itself cannot be read."""
    interval = test.interval or evaluation_interval
    simulation = Simulation([series_of(given, interval) for given in test.input_series], interval)
    state = _Run(_simulated(rules, evaluation_interval), simulation)
    checks = sorted(test.alert_rule_test, key=lambda check: check.eval_time)
    events = sorted(test.events, key=lambda event: event.at)
    ends_at = max([c.eval_time for c in checks] + [n.at for n in test.exp_notifications or []], default=0.0)
    failures: list[str] = []
    covered: set[str] = set()
    slot = 0.0
    while slot <= ends_at:
        while events and events[0].at <= slot:
            state.happen(events.pop(0), lambda file: _simulated(load(file), evaluation_interval))
        state.evaluate(slot)
        while checks and checks[0].eval_time < slot + evaluation_interval:
            failures += _check(state, checks.pop(0), slot, covered)
        slot += evaluation_interval
    failures += _notifications(test, state, evaluation_interval)
    return Outcome(name, tuple(failures), frozenset(covered))


def _simulated(rules: RuleSet, interval: float) -> RuleSet:
    return replace(rules, rules=tuple(replace(rule, interval=interval) for rule in rules.rules))


def _check(state: _Run, check: AlertTest, slot: float, covered: set[str]) -> Iterator[str]:
    where = f"at {words(check.eval_time)}, {check.alertname}"
    if not any(rule.alert == check.alertname for rule in state.rules.rules):
        yield f"{where}: no rule has this alert"
    fired = list(state.firing(check.alertname, slot))
    if check.exp_alerts is not None:
        found = [(labels, annotations) for _, labels, annotations in fired]
        yield from (f"{where}: {line}" for line in differences(check.exp_alerts, found))
        if check.exp_alerts:
            covered |= {rule.key for rule, _, _ in fired}
    if check.exp_state is not None:
        states = state.states(check.alertname) or {State.INACTIVE}
        if states != {State(check.exp_state)}:
            yield f"{where}: is {', '.join(sorted(states))}, expected {check.exp_state}"


def _notifications(test: RuleTest, state: _Run, interval: float) -> Iterator[str]:
    """Compared by the slot at which they are sent, for the alerts that the test names."""
    if test.exp_notifications is None:
        return
    named = {n.alertname for n in test.exp_notifications} | {c.alertname for c in test.alert_rule_test}
    expected = sorted((n.at // interval * interval, n.alertname, str(n.reason)) for n in test.exp_notifications)
    found = sorted(told for told in state.told if told[1] in named)
    for at, alert, said in (told for told in expected if told not in found):
        yield f"at {words(at)}, {alert}: {said} was not notified"
    for at, alert, said in (told for told in found if told not in expected):
        yield f"at {words(at)}, {alert}: {said} was notified and not expected"
