"""Everything the console can do, once: keys, footer and help are made from this table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """keys in Textual's notation, the first one is shown; short is the footer's word, help the sentence of `?`."""

    id: str
    keys: tuple[str, ...]
    short: str
    help: str


ACTIONS = (
    Action("help", ("question_mark", "f1"), "help", "this page; again or esc closes it"),
    Action("metric", ("m",), "metric", "what the chart shows: rate, dead letters, CPU, memory"),
    Action("window_less", ("left_square_bracket",), "window", "a shorter window of the chart: 15, 60, 180 minutes"),
    Action("window_more", ("right_square_bracket",), "", "a longer window of the chart"),
    Action("freeze", ("p",), "freeze", "hold the picture; new data keeps arriving behind it"),
    Action("refresh", ("r",), "refresh", "ask the database now; when it is lost, try at once"),
    Action("local_time", ("z",), "UTC/local", "times in UTC (marked Z) or in your own zone"),
    Action("redraw", ("ctrl+l",), "", "draw the whole screen again"),
    Action("back", ("escape",), "", "close the help, go on after a freeze"),
    Action("quit", ("q", "ctrl+c", "ctrl+q"), "quit", "leave; the agent goes on"),
)

NAMES = {"question_mark": "?", "left_square_bracket": "[", "right_square_bracket": "]", "escape": "esc"}


def key_name(key: str) -> str:
    """As it stands on the keyboard."""
    return NAMES.get(key, key)


def footer(cells: int) -> str:
    """Keys and words that fit, short ones first dropped from the right."""
    text = ""
    for action in ACTIONS:
        entry = f" {key_name(action.keys[0])} {action.short} " if action.short else ""
        if len(text) + len(entry) > cells:
            break
        text += entry
    return text


def help_lines() -> list[tuple[str, str]]:
    """(keys, what they do) of every action."""
    return [(" ".join(key_name(key) for key in action.keys), action.help) for action in ACTIONS]
