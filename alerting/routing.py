"""Who is told of an alert: the first route that fits, unless it is silenced, acknowledged or inhibited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LabelMap = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Route:
    """match: labels an alert must have, "*" is any value. Durations are seconds."""

    match: LabelMap
    channels: tuple[str, ...]
    group_by: tuple[str, ...]
    group_wait: float
    repeat: float

    def group(self, labels: LabelMap) -> str:
        """Alerts with the same group go into one message."""
        return ",".join(f"{name}={labels.get(name, '')}" for name in self.group_by)


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert fits `when`, those that fit `mute` and share the labels `equal` with it are muted."""

    when: LabelMap
    mute: LabelMap
    equal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Silence:
    """Mutes what fits its matchers until ends_at, seconds since 1970. tenant: its own alerts only; None: all."""

    silence_id: str
    matchers: LabelMap
    starts_at: float
    ends_at: float
    tenant: str | None = None

    def covers(self, labels: LabelMap, now: float) -> bool:
        own = self.tenant is None or labels.get("tenant") == self.tenant
        return own and self.starts_at <= now < self.ends_at and fits(self.matchers, labels)


def fits(match: LabelMap, labels: LabelMap) -> bool:
    """Whether labels have what match asks for; "*" is any value, but there must be one."""
    return all(name in labels if value == "*" else labels.get(name) == value for name, value in match.items())


def route_of(routes: Sequence[Route], labels: LabelMap) -> int | None:
    """Number of the first route that fits; None when nobody wants to know."""
    return next((number for number, route in enumerate(routes) if fits(route.match, labels)), None)


class Inhibitors:
    """What mutes others just now, looked up in constant time however many alerts there are."""

    def __init__(self, rules: Sequence[Inhibition], firing: Sequence[LabelMap]) -> None:
        self._rules = [
            (rule, {tuple(labels.get(name) for name in rule.equal) for labels in firing if fits(rule.when, labels)})
            for rule in rules
        ]

    def mute(self, labels: LabelMap) -> bool:
        """Whether another firing alert mutes this one. What mutes others by a rule is not muted by the same rule."""
        return any(
            tuple(labels.get(name) for name in rule.equal) in present
            and fits(rule.mute, labels)
            and not fits(rule.when, labels)
            for rule, present in self._rules
        )
