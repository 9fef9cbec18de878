"""The lines above the footer: what was said, what is asked, and secrets that are shown once. Pure."""

from dataclasses import dataclass, field, replace

from tui.effects import Ask, Level, Secret, Work, Write
from tui.render import Line, Span, clock, fit, literal, rule, wrapped

FLASH_SECONDS = 12.0
KEPT = 200
MOST_SECRETS = 4
THINK_SECONDS = 5.0
MOST_LINES = 3
REACH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Flash:
    """A sentence, its style, when it was said, and the change it can take back."""

    text: str
    style: str
    at: float
    undo: Write | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that is made when nobody thinks again until due."""

    write: Write | Work
    due: float


@dataclass(slots=True)
class Bar:
    """What stands there now. told: all that was said in this session, the newest last."""

    flash: Flash | None = None
    ask: Ask | None = None
    pending: Pending | None = None
    secrets: tuple[Secret, ...] = ()
    prompt: str = ""
    hint: str = ""
    told: list[Flash] = field(default_factory=list)

    def say(self, text: str, style: str, now: float) -> None:
        self.flash = Flash(literal(text), style, now)
        self.told = [*self.told[1 - KEPT :], self.flash]

    def offer(self, undo: Write | None) -> None:
        """Let the line that was just said take a change back."""
        if self.flash is not None and undo is not None:
            self.flash = replace(self.flash, undo=undo)

    def undo(self, now: float) -> Write | None:
        """The change that the shown line offers to take back; it can be taken once."""
        flash = self.flash
        if flash is None or flash.undo is None or now - flash.at > FLASH_SECONDS:
            return None
        self.flash = None
        return flash.undo

    def undo_just_ended(self, now: float) -> bool:
        """The offer went while somebody reached for the key; it is told once."""
        flash = self.flash
        if flash is None or flash.undo is None or not FLASH_SECONDS < now - flash.at <= FLASH_SECONDS + REACH_SECONDS:
            return False
        self.flash = None
        return True

    def lines(self, cells: int, now: float, environment: str, login: str, ascii_only: bool) -> list[Line]:
        """As many as are needed."""
        if self.secrets:
            said = [fit((Span(f" {self.flash.text}", self.flash.style),), cells)] if self.flash else []
            return self._secrets(cells, ascii_only) + said
        if self.ask is not None:
            return self._question(self.ask, cells, environment, login, ascii_only)
        if self.pending is not None:
            left = max(0.0, self.pending.due - now)
            return [
                fit((Span(f" {self.pending.write.doing} in {left:.0f} s", "warn"), Span("   u: keep it", "key")), cells)
            ]
        if self.prompt:
            return self._prompt(cells)
        flash = self.flash
        if flash is not None and now - flash.at <= FLASH_SECONDS:
            undo = (Span("   u: undo", "key"),) if flash.undo else ()
            first, *rest = wrapped(flash.text, cells - (12 if undo else 2))
            lines = [fit((Span(f" {first}", flash.style), *undo), cells)]
            return lines + [fit((Span(f" {part}", flash.style),), cells) for part in rest[: MOST_LINES - 1]]
        return []

    def _question(self, ask: Ask, cells: int, environment: str, login: str, ascii_only: bool) -> list[Line]:
        lines = [rule(f"confirm · {environment} · as {login}", cells, ascii_only)]
        lines += [fit((Span(f"  {part}", "strong"),), cells) for part in wrapped(ask.question, cells - 4)]
        for consequence in ask.consequences:
            lines += [fit((Span(f"  {part}", "warn"),), cells) for part in wrapped(consequence, cells - 4)]
        if ask.level is Level.NOTICED:
            lines.append(fit((Span("  y", "key"), Span(": yes   "), Span("esc", "key"), Span(": no")), cells))
        else:
            lines.append(
                fit(
                    (Span(f"  Type {ask.expected} and enter to confirm", "title"), Span(f", esc: no   {self.hint}")),
                    cells,
                )
            )
        return lines

    def _prompt(self, cells: int) -> list[Line]:
        """On one line, or two when that is too narrow: what is wrong must not be pushed out of sight."""
        label, style = Span(f" {self.prompt}", "title"), "crit" if self.hint.startswith("✗") else "dim"
        if len(self.prompt) + len(self.hint) + 5 <= cells:
            return [fit((label, Span(f"   {self.hint}", style)), cells)]
        return [
            fit((label,), cells),
            *(fit((Span(f" {part}", style),), cells) for part in wrapped(self.hint, cells - 2)[:2]),
        ]

    def _secrets(self, cells: int, ascii_only: bool) -> list[Line]:
        """A name, and below it the value, whole: there is no second time."""
        lines = [rule("shown once, hand it over now · y: copy · x: into a file · esc: gone", cells, ascii_only)]
        for secret in self.secrets[:MOST_SECRETS]:
            lines.append(fit((Span(f"  {secret.name}"),), cells))
            lines += [fit((Span(f"    {part}", "strong"),), cells) for part in wrapped(secret.value, cells - 5)]
        if len(self.secrets) > MOST_SECRETS:
            more = f"  and {len(self.secrets) - MOST_SECRETS} more: x writes all of them into a file, y copies them"
            lines.append(fit((Span(more, "warn"),), cells))
        return lines

    def messages(self, local: bool) -> list[Line]:
        """All that was said, the newest first."""
        return [
            (Span(f" {clock(told.at, local)} ", "dim"), Span(told.text, told.style)) for told in reversed(self.told)
        ]
