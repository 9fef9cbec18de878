"""When rules are due: at whole multiples of their interval, by the database's clock, the same for every agent."""

from collections.abc import Iterable

from alerting.rules import Rule

Shape = tuple[float, float]


class Slots:
    """missed counts slots that were left out because an evaluation took too long; they are not made up for."""

    def __init__(self) -> None:
        self.missed = 0
        self._last: dict[Shape, float] = {}

    def due(self, rules: Iterable[Rule], now: float) -> list[tuple[float, list[Rule]]]:
        """(slot, rules) of those that have a new slot; with a delay, rules look at the state of so long ago."""
        groups: dict[Shape, list[Rule]] = {}
        for rule in rules:
            groups.setdefault((rule.interval, rule.eval_delay), []).append(rule)
        found = []
        for (interval, delay), members in groups.items():
            slot = now // interval * interval
            last = self._last.get((interval, delay))
            if last is not None and slot <= last:
                continue
            if last is not None:
                self.missed += max(0, round((slot - last) / interval) - 1)
            self._last[interval, delay] = slot
            found.append((slot - delay, members))
        return found
