"""Variables of a runbook: where their values come from, and their places in a step. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tui.runbook.model import VARIABLE, Argument, Front

Values = Mapping[str, str]
Config = Mapping[str, str | tuple[str, ...]]


class MissingError(Exception):
    """A value that a step needs is not there; the message names it."""


@dataclass(frozen=True, slots=True)
class Filled:
    """values: known ones. asked: those that a person has to give."""

    values: dict[str, str]
    asked: tuple[str, ...]


def known(front: Front, labels: Values, config: Config, given: Values) -> Filled:
    """given wins; then the alert's labels, the config file, the default. A list of the config is not a value here."""
    values: dict[str, str] = {}
    asked = []
    for name, variable in front.vars.items():
        kind, _, rest = variable.source.partition(".")
        found: object = None
        if name in given:
            found = given[name]
        elif kind == "alert":
            found = labels.get(rest.removeprefix("labels."))
        elif kind == "config":
            found = config.get(rest)
        if found is None:
            found = variable.default
        if isinstance(found, str) and found:
            values[name] = found
        elif found is None and kind in ("ask", "alert"):
            asked.append(name)
    return Filled(values, tuple(asked))


def text(template: str, values: Values) -> str:
    """Raises MissingError."""

    def value(name: str) -> str:
        if name not in values:
            raise MissingError(name)
        return values[name]

    return VARIABLE.sub(lambda match: value(match[1]), template)


def shown(template: str, values: Values) -> str:
    """For reading: what is not known stands there by its name."""
    return VARIABLE.sub(lambda match: values.get(match[1], f"<{match[1]}>"), template)


def arguments(given: Mapping[str, Argument], values: Values) -> dict[str, Argument]:
    """Raises MissingError."""
    return {name: text(value, values) if isinstance(value, str) else value for name, value in given.items()}


def argv(words: tuple[str, ...], front: Front, values: Values, config: Config) -> list[str]:
    """A word that is only a variable whose config value is a list becomes all of its words. Raises MissingError."""
    return [part for word in words for part in _word(word, front, values, config)]


def _word(word: str, front: Front, values: Values, config: Config) -> Iterator[str]:
    whole = VARIABLE.fullmatch(word)
    variable = front.vars.get(whole[1]) if whole else None
    if variable is not None and variable.source.startswith("config."):
        found = config.get(variable.source.removeprefix("config."))
        if isinstance(found, tuple):
            yield from found
            return
        if whole is not None and whole[1] not in values:
            raise MissingError(f"{variable.source.removeprefix('config.')} of the profile")
    filled = text(word, values)
    if filled.startswith("-") and not word.startswith("-"):  # it would be taken for an option
        raise MissingError(f"a value that may stand in a command: {filled} begins with -")
    yield filled
