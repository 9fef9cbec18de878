"""Taking care of alerts: acknowledge, silence, and back. No question where `u` is enough."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from alerting import durations
from store import alert_views
from store.alert_views import EpisodeRow, SilenceView
from store.db import Db
from store.errors import Conflict
from store.members import PLATFORM
from tui.effects import Ask, Done, Effect, Level, Prompt, Say, Write
from tui.panes.pane import same

SHORT = timedelta(hours=2)  # a longer silence is asked about


def acknowledge(rows: Sequence[EpisodeRow], note: str) -> Effect:
    if not rows:
        return Say("acknowledged already, or nothing chosen", "warn")
    ids = [row.event_id for row in rows]
    names = same([row.alert for row in rows], "alerts")

    async def run(db: Db) -> Done:
        done, over = await each(ids, lambda event_id: alert_views.ack(db, event_id, note, None))
        said = f"{names}: yours until it ends, reminders stop" if not over else f"{len(done)} are yours; {over}"
        return Done(said, _unacknowledge(done, names) if done else None)

    return Write(f"acknowledging {names}", run)


def unacknowledge(rows: Sequence[EpisodeRow]) -> Effect:
    if not rows:
        return Say("nothing chosen is acknowledged", "warn")
    return _unacknowledge([row.event_id for row in rows], same([row.alert for row in rows], "alerts"))


def _unacknowledge(ids: Sequence[str], names: str) -> Write:
    async def run(db: Db) -> Done:
        _, over = await each(ids, lambda event_id: alert_views.unack(db, event_id))
        return Done(f"{names}: nobody's again{f'; {over}' if over else ''}")

    return Write(f"taking back the acknowledgement of {names}", run)


async def each(ids: Sequence[str], do: Callable[[str], Awaitable[None]]) -> tuple[list[str], str]:
    """Do it for all; one that is over does not keep the rest from it. Returns those done, and what of the rest."""
    done, refused = [], []
    for event_id in ids:
        try:
            await do(event_id)
            done.append(event_id)
        except Conflict as error:
            refused.append(str(error))
    if refused and not done:
        raise Conflict(refused[0])
    return done, f"{len(refused)} not: {refused[0]}" if refused else ""


def comment(rows: Sequence[EpisodeRow], text: str) -> Effect:
    if not rows:
        return Say("choose an alert first", "warn")

    def given(note: str) -> Effect:
        if not note.strip():
            raise ValueError("say what you do about it; others read it")
        return acknowledge(rows, note.strip())

    return given(text) if text else Prompt("Comment", "what you do about it; it is acknowledged with it", given)


def silence(rows: Sequence[EpisodeRow], argument: str, now: datetime) -> Effect:
    """Asks how long and why. The matchers are the alert's labels, so that it is this one and no other."""
    if not rows:
        return Say("choose an alert first", "warn")
    if len(rows) > 1:
        return Say("one at a time: a silence goes by labels", "warn")
    row = rows[0]
    matchers = {name: value for name, value in row.labels.items() if name != "severity"}

    def given(text: str) -> Effect:
        return silenced(row, matchers, text)

    of = " ".join(f"{name}={value}" for name, value in sorted(matchers.items()))
    return (
        given(argument) if argument else Prompt(f"Silence {of}", "how long and why, as in 2h new battery", given, "2h ")
    )


def silenced(row: EpisodeRow, matchers: dict[str, str], text: str) -> Effect:
    """Raises ValueError unless it is a duration and a reason."""
    lasts_text, _, reason = text.strip().partition(" ")
    lasts = timedelta(seconds=durations.seconds(lasts_text))
    if not lasts:
        raise ValueError("how long? as in 2h new battery")
    if not reason.strip():
        raise ValueError("why? others read it, as in 2h new battery")
    tenant = row.labels.get("tenant", PLATFORM)

    async def run(db: Db) -> Done:
        number = await alert_views.silence(db, tenant, matchers, lasts, reason.strip())
        return Done(f"silence {number} for {durations.words(lasts.total_seconds())}: it stays visible", _end([number]))

    write = Write("silencing", run)
    if lasts <= SHORT:
        return write
    of = " ".join(f"{name}={value}" for name, value in sorted(matchers.items()))
    question = f"Silence {of} for {durations.words(lasts.total_seconds())}?"
    return Ask(Level.NOTICED, question, ("Nobody is told of it before that is over.",), write)


def end_silences(rows: Sequence[SilenceView]) -> Effect:
    if not rows:
        return Say("there is no silence to end", "warn")
    numbers = [row.silence_id for row in rows]
    question = f"End {same([f'silence {n}' for n in numbers], 'silences')} now? What still fires is told."
    return Ask(Level.NOTICED, question, (), _end(numbers))


def _end(numbers: Sequence[int]) -> Write:
    async def run(db: Db) -> Done:
        for number in numbers:
            await alert_views.end_silence(db, number)
        return Done(f"{same([f'silence {n}' for n in numbers], 'silences')}: over")

    return Write("ending", run)
