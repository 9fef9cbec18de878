"""Conformance cases for the state machine: format alert-state-machine-cases/1, run through the code that is in use.

A case is a rule, samples and events; the outcome lists states after each evaluation and what the notifier was handed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from alerting import durations, machine
from alerting.machine import NO_LABELS, Evaluation, Kind, Labels, Memory, NoData, Notice, Result, State, Timing
from alerting.threshold import Limit, Threshold, limit_of

FORMAT = "alert-state-machine-cases/1"
Case = Mapping[str, Any]


class CaseError(Exception):
    """A case that cannot be read; the message names it."""


def run_all(document: Any) -> Iterator[dict[str, Any]]:
    """One outcome a case. Raises CaseError."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CaseError(f'not a case file: "format" must be "{FORMAT}"')
    for number, case in enumerate(document.get("cases", ())):
        name = case.get("name", f"case {number}") if isinstance(case, dict) else f"case {number}"
        try:
            yield run(case)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CaseError(f"{name}: {error!r}") from error


def run(case: Case) -> dict[str, Any]:
    """The outcome of one case: name, states, notifications."""
    run = _Run(dict(case["rule"]))
    _threshold(run.rule)
    waiting = sorted(case.get("events", ()), key=lambda event: float(event["t"]))
    samples = list(case.get("samples", ()))
    series = list(dict.fromkeys(sample.get("series") for sample in samples)) or [None]
    for slot in dict.fromkeys(float(sample["t"]) for sample in samples):
        while waiting and float(waiting[0]["t"]) <= slot:
            run.happen(waiting.pop(0))
        run.evaluate(slot, [sample for sample in samples if float(sample["t"]) == slot], series)
    return {"name": case.get("name"), "states": run.states, "notifications": run.notifications}


@dataclass(slots=True)
class _Run:
    rule: dict[str, Any]
    memory: Memory = field(default_factory=Memory)
    restarted: bool = False
    states: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)

    def happen(self, event: Mapping[str, Any]) -> None:
        kind = event["type"]
        if kind == "restart":
            self.restarted = True
        elif kind != "reload":
            raise ValueError(f"unknown event type {kind!r}")
        new = self.rule | dict(event.get("rule") or {})
        if (new.get("labels") or {}) != (self.rule.get("labels") or {}):  # another identity: another alert
            self._tell(float(event["t"]), machine.close(self.memory))
            self.memory = Memory(last_slot=self.memory.last_slot)
        self.rule = new

    def evaluate(self, slot: float, samples: list[Any], series: list[str | None]) -> None:
        found: Result | str
        if any(sample.get("error") for sample in samples):
            found = "the evaluation failed"
        else:
            values = [(_labels(s.get("series")), float(s["v"])) for s in samples if s.get("v") is not None]
            found = Result(_threshold(self.rule).rows(self.memory, values))
            named = frozenset(_labels(s.get("series")) for s in samples)
            if _timing(self.rule).no_data is NoData.ALERTING:
                self.memory = Memory(self.memory.instances, self.memory.last_slot, self.memory.seen | named)
        done = machine.evaluate(_timing(self.rule), self.memory, found, slot, self.restarted)
        if not done.skipped:
            self.restarted = False
        self.memory = done.memory
        self.states += [self._state(slot, name, done) for name in series]
        self._tell(slot, done.notices)

    def _state(self, slot: float, name: str | None, done: Evaluation) -> dict[str, Any]:
        known = self.memory.instances.get(_labels(name))
        state: dict[str, Any] = {"t": _number(slot)}
        if name is not None:
            state["series"] = name
        state["state"] = str(known.state if known else State.INACTIVE)
        if known is not None and known.state is not State.INACTIVE:
            state["active_at"] = _number(known.active_at)
            if known.fired_at is not None:
                state["fired_at"] = _number(known.fired_at)
        if done.error is not None or _labels(name) in done.refused:
            state["error"] = True
        return state

    def _tell(self, slot: float, notices: Iterable[Notice]) -> None:
        for notice in notices:
            if notice.kind is not Kind.RULE_CHANGED:
                name = {"series": notice.labels[0][1]} if notice.labels else {}
                self.notifications.append({"t": _number(slot), **name, "kind": str(notice.kind)})


def _labels(series: str | None) -> Labels:
    return NO_LABELS if series is None else (("series", series),)


def _timing(rule: Mapping[str, Any]) -> Timing:
    resend = rule.get("resend_delay")
    return Timing(
        hold=_seconds(rule.get("for")),
        keep_firing=_seconds(rule.get("keep_firing_for")),
        no_data=NoData(rule.get("no_data") or "ok"),
        limit=int(rule.get("limit") or 0),
        resend=None if resend is None else _seconds(resend),
        outage_tolerance=_seconds(rule.get("outage_tolerance"), 3600.0),
        grace=_seconds(rule.get("grace_period")),
    )


def _threshold(rule: Mapping[str, Any]) -> Threshold:
    recover = rule.get("recover")
    if isinstance(recover, str):
        recover = limit_of(recover)
    elif recover is not None:
        recover = Limit(recover["op"], float(recover["threshold"]))
    return Threshold(Limit(rule["op"], float(rule["threshold"])), recover)


def _seconds(value: Any, default: float = 0.0) -> float:
    if value is None:
        return default
    return durations.seconds(value) if isinstance(value, str) else float(value)


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value
