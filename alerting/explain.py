"""A rule in words. Pure."""

from alerting import catalogue, durations
from alerting.expression import Query, queries
from alerting.machine import NoData
from alerting.rules import Rule

NO_DATA = {
    NoData.OK: "A series without data counts as fine.",
    NoData.KEEP: "A series without data stays as it is.",
    NoData.ALERTING: "A series without data counts as an alert.",
}


def words(rule: Rule) -> str:
    """Several lines of text."""
    timing = rule.timing
    every = durations.words(rule.interval)
    checks = max(1, round(timing.hold / rule.interval) + 1)
    lines = [
        f"{rule.alert} ({rule.key}), runbook {rule.runbook}",
        f"  {rule.expr}",
        f"Looked at every {every}. Fires when that holds for {durations.words(timing.hold)}: {checks} checks in a row."
        if timing.hold
        else f"Looked at every {every}. Fires at the first check at which that holds.",
    ]
    if rule.recover is not None:
        lines.append(f"Once firing, it ends only when the value is {rule.recover.op} {rule.recover.value:g}.")
    if timing.keep_firing:
        lines.append(f"It fires for {durations.words(timing.keep_firing)} after that stopped being true.")
    lines.append(NO_DATA[timing.no_data])
    if timing.limit:
        lines.append(f"At most {timing.limit} alerts; more are refused, the old ones stay.")
    lines += [_measured(query) for query in queries(rule.node)]
    return "\n".join(lines)


def _measured(query: Query) -> str:
    metric = catalogue.metric_of(query.metric)
    assert metric is not None
    labels = catalogue.labels_of(query)
    each = f", one for each {', '.join(labels)}" if labels else ""
    window = "" if query.window is None else f" over {durations.words(query.window)}"
    return f"  {query.function}({query.metric}){window}: {metric.help}{each}; from the {metric.scope}"
