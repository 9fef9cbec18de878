"""Which messages are due: new alerts after group_wait, ends at once, reminders after repeat.

The contract: whoever was told that an alert fires is told that it ended, whatever was muted in between. An alert that
began and ended before anybody was told is mentioned once, as both. Pure; times are seconds since 1970.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alerting.routing import Inhibition, Inhibitors, Route, Silence, route_of


class Reason(StrEnum):
    """Why a message is sent. BRIEF: it began and ended within the waiting time."""

    NEW = "firing"
    RESOLVED = "resolved"
    REPEAT = "repeat"
    BRIEF = "brief"


@dataclass(frozen=True, slots=True)
class Alert:
    """An episode as the notifier sees it. event_id: of its firing event, a name for the episode.

    told_at: when somebody was last told that it fires, None if never; told: how often. ended_at None: it still fires.
    muted: nobody was to be told when it was last looked at. acked: somebody takes care of it. repeat None: as the
    route says.
    """

    event_id: str
    labels: Mapping[str, str]
    fired_at: float
    ended_at: float | None = None
    told_at: float | None = None
    told: int = 0
    acked: bool = False
    repeat: float | None = None
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Mention:
    """One alert in a message. seq: how often this was said of it before, so that each is said exactly once."""

    alert: Alert
    reason: Reason
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """For one channel. Mentions are sorted: what fires first, then what ended."""

    channel: str
    group: str
    mentions: tuple[Mention, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """messages to send now. done: episodes that ended and need no word any more. muted: episodes that fire and of
    which nobody is told now. next_at: when to look again."""

    messages: tuple[Message, ...]
    done: tuple[str, ...]
    muted: tuple[str, ...]
    next_at: float | None


@dataclass(frozen=True, slots=True)
class Policy:
    routes: Sequence[Route]
    inhibitions: Sequence[Inhibition]
    silences: Sequence[Silence]


def plan(alerts: Iterable[Alert], policy: Policy, now: float) -> Plan:
    """What is to be said of these episodes, all that are open or not yet told to be over."""
    known = list(alerts)
    inhibitors = Inhibitors(policy.inhibitions, [alert.labels for alert in known if alert.ended_at is None])
    groups: dict[tuple[int, str], list[Alert]] = {}
    done: list[str] = []
    quiet: list[str] = []
    for alert in known:
        number = route_of(policy.routes, alert.labels)
        if number is not None:
            groups.setdefault((number, policy.routes[number].group(alert.labels)), []).append(alert)
        elif alert.ended_at is not None:
            done.append(alert.event_id)
    messages: list[Message] = []
    later = [silence.ends_at for silence in policy.silences if silence.ends_at > now]
    for (number, name), members in groups.items():
        route = policy.routes[number]
        muted = {a.event_id for a in members if _muted(a, policy.silences, inhibitors, now)}
        group = _Group(route, muted, now, members)
        mentions = sorted(group.mentions(), key=lambda m: (m.reason is Reason.RESOLVED, m.alert.fired_at))
        quiet += [alert.event_id for alert in members if alert.event_id in muted and alert.ended_at is None]
        done += [alert.event_id for alert in members if alert.ended_at is not None and not group.waits(alert)]
        later += group.later
        if mentions:
            messages += [Message(channel, name, tuple(mentions)) for channel in route.channels]
    return Plan(tuple(messages), tuple(done), tuple(quiet), min(later, default=None))


def _muted(alert: Alert, silences: Sequence[Silence], inhibitors: Inhibitors, now: float) -> bool:
    """Silenced, or inhibited by another. An acknowledged alert that nobody was told of needs no word either, and one
    that was muted until its end needs none afterwards."""
    if alert.told_at is None and (alert.acked or (alert.muted and alert.ended_at is not None)):
        return True
    return any(silence.covers(alert.labels, now) for silence in silences) or inhibitors.mute(alert.labels)


class _Group:
    """Alerts that go into one message. later: when there may be more to say."""

    def __init__(self, route: Route, muted: set[str], now: float, members: Sequence[Alert]) -> None:
        self.later: list[float] = []
        self._route = route
        self._muted = muted
        self._now = now
        self._members = members
        fresh = [a.fired_at for a in members if self._fresh(a)]
        opened = any(a.told_at is not None and a.ended_at is None for a in members)  # the group had its message
        self._opens_at = now if opened else min(fresh, default=now) + route.group_wait

    def mentions(self) -> Iterator[Mention]:
        for alert in self._members:
            if self._fresh(alert):
                if self._now >= self._opens_at:
                    yield Mention(alert, Reason.NEW if alert.ended_at is None else Reason.BRIEF)
                else:
                    self.later.append(self._opens_at)
            elif alert.told_at is not None and alert.ended_at is not None:
                yield Mention(alert, Reason.RESOLVED)
            elif alert.told_at is not None and not alert.acked and alert.event_id not in self._muted:
                again_at = alert.told_at + (self._route.repeat if alert.repeat is None else alert.repeat)
                if self._now >= again_at:
                    yield Mention(alert, Reason.REPEAT, alert.told)
                else:
                    self.later.append(again_at)

    def waits(self, alert: Alert) -> bool:
        """It is over, and its only word is still to come."""
        return self._fresh(alert) and self._now < self._opens_at

    def _fresh(self, alert: Alert) -> bool:
        return alert.told_at is None and alert.event_id not in self._muted
