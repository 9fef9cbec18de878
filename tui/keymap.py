"""Keys of actions: the built-in ones, and those of a person's own file. Pure, but for reading that file."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tui.actions import ACTIONS, IDS, Action

NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "slash": "/",
    "minus": "-",
    "colon": ":",
    "escape": "esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
}
TEXTUAL = {shown: name for name, shown in NAMES.items()}
Keymap = Mapping[str, tuple[str, ...]]


def key_name(key: str) -> str:
    """As it stands on the keyboard."""
    return NAMES.get(key, key)


def keys(action: Action, keymap: Keymap) -> tuple[str, ...]:
    return keymap.get(action.id, action.keys)


def load(path: Path) -> dict[str, tuple[str, ...]]:
    """A file of lines such as `acknowledge = "A"` or `up = ["up", "k"]`.

    Raises ValueError with every mistake, OSError.
    """
    try:
        written = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    mistakes: list[str] = []
    found: dict[str, tuple[str, ...]] = {}
    for name, value in written.items():
        action_id = name.replace("-", "_")
        wanted = [value] if isinstance(value, str) else value
        if action_id not in IDS:
            mistakes.append(f"{name}: there is no such action; see `?` or `iot-console keys`")
        elif not isinstance(wanted, list) or not all(isinstance(key, str) and key for key in wanted):
            mistakes.append(f'{name}: a key such as "a", or a list of keys')
        else:
            found[action_id] = tuple(TEXTUAL.get(str(key), str(key)) for key in wanted)
    mistakes += clashes(found)
    if mistakes:
        raise ValueError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return found


def clashes(keymap: Keymap) -> list[str]:
    """Keys that would do two things in one place."""
    places = dict.fromkeys(place for action in ACTIONS for place in action.places)
    return list(dict.fromkeys(clash for place in places for clash in _clashes(keymap, place)))


def _clashes(keymap: Keymap, place: str) -> Iterator[str]:
    taken: dict[str, str] = {}
    for action in ACTIONS:
        for key in keys(action, keymap) if action.here(place) else ():
            if taken.setdefault(key, action.id) != action.id:
                yield f"{key_name(key)} is both {taken[key]} and {action.id} in {place}"
