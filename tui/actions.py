"""Everything the console can do, once: keys, footer, help, `:` words, greying and the keymap file go by this table.

Lower case looks, or can be undone; a capital changes the world. A letter means the same on every pane.
"""

from dataclasses import dataclass

from store.members import Role

TITLES = {
    "overview": ("Overview", "Over"),
    "devices": ("Devices", "Dev"),
    "alerts": ("Alerts", "Alert"),
    "runbooks": ("Runbooks", "Run"),
    "rules": ("Rules", "Rule"),
    "users": ("Users", "User"),
    "doctor": ("Doctor", "Doc"),
}
PANES = tuple(TITLES)


@dataclass(frozen=True, slots=True)
class Action:
    """keys in Textual's notation, the first one is shown. short: the footer's word, "" keeps it out of there.

    places: PANE/VIEW where it is, or none for everywhere. role: needed at least. argument: may follow its `:` word.
    """

    id: str
    keys: tuple[str, ...]
    short: str
    help: str
    places: tuple[str, ...] = ()
    role: Role | None = None
    argument: str = ""

    @property
    def word(self) -> str:
        """What stands behind `:`."""
        return self.id.replace("_", "-")

    def here(self, place: str) -> bool:
        return not self.places or place in self.places


NOW, LETTERS = "overview/now", "overview/letters"
DEVICES, GENERATIONS = "devices/devices", "devices/generations"
FIRING, ENDED, SILENCES = "alerts/firing", "alerts/ended", "alerts/silences"
RULES, PEOPLE = "rules/rules", "users/people"
RUNBOOKS, RUNS, RUN = "runbooks/runbooks", "runbooks/runs", "runbooks/run"
CHECKS, HARDENING = "doctor/checks", "doctor/hardening"
SEVERAL = (
    NOW,
    LETTERS,
    DEVICES,
    GENERATIONS,
    "devices/brokers",
    FIRING,
    ENDED,
    SILENCES,
    "alerts/messages",
    RUNBOOKS,
    RUNS,
    RUN,
    CHECKS,
    HARDENING,
)
LISTS = (*(place for place in SEVERAL if place != RUN), RULES, PEOPLE)
OPERATOR, OWNER = Role.OPERATOR, Role.OWNER

OF_PLACES = (
    Action("metric", ("m",), "metric", "what the chart shows: rate, dead letters, CPU, memory", (NOW,)),
    Action("acknowledge", ("a",), "ack", "say that you take care of it: reminders stop", (NOW, FIRING), OPERATOR),
    Action("comment", ("c",), "comment", "acknowledge, and say what you do about it", (FIRING,), OPERATOR, "TEXT"),
    Action("silence", ("s",), "silence", "mute what is known, for a time", (FIRING,), OPERATOR, "2h REASON"),
    Action("runbook", ("b",), "runbook", "what to do about it", (NOW, FIRING, ENDED, RULES, CHECKS, HARDENING)),
    Action("examine", ("e",), "examine", "try them now, all or the marked ones", (HARDENING,), None, "quick or IDS"),
    Action("history", ("h",), "history", "earlier alerts of this name", (FIRING, ENDED)),
    Action("ingest_again", ("i",), "take again", "have an agent take the message again; mend its cause first",
           (LETTERS,), OPERATOR),
    Action("new", ("n",), "follow", "follow this runbook; `:new drill` as an exercise, `:new manual` without executing",
           (RUNBOOKS,), None, "[drill|manual]"),
    Action("comment", ("c",), "note", "write a note into the timeline", (RUN,), None, "TEXT"),
    Action("edit", ("e",), "correct", "correct an entry of the timeline; the old one stays on record", (RUN,), None,
           "NUMBER TEXT"),
    Action("text", ("v",), "all of it", "the whole step with its evidence; again closes it", (RUN,)),
    Action("new", ("n",), "new", "register a device; a rule of a tenant; a person",
           (DEVICES, RULES, PEOPLE), OWNER),
    Action("edit", ("e",), "edit", "a rule as a form; a person's role", (RULES, PEOPLE), OWNER),
    Action("text", ("v",), "as text", "the message as it came; a rule as text", (LETTERS, RULES)),
    Action("duplicate", ("d",), "duplicate", "a new rule from this one", (RULES,), OWNER),
    Action("evaluate", ("t",), "test now", "have an agent evaluate the rule now", (RULES,), OPERATOR),
    Action("moving", ("w",), "not moved", "only devices that have not logged in with their new credential", (DEVICES,)),
    Action("rotate", ("R",), "rotate", "a new secret: a device's credential, a person's password",
           (DEVICES, PEOPLE), OWNER),
    Action("disable", ("D",), "disable", "shut out, until enabled again", (DEVICES, PEOPLE), OWNER),
    Action("enable", ("E",), "enable", "let in again", (DEVICES, PEOPLE), OWNER),
    Action("end_sessions", ("S",), "end sessions", "cut a person's open connections", (PEOPLE,), OWNER),
    Action("rollback", ("B",), "roll back", "the credentials of this generation again", (GENERATIONS,), OWNER),
    Action("approve", ("A",), "approve", "allow brokers to take many devices away with it", (GENERATIONS,), OWNER),
    Action("remove", ("X",), "revoke", "a device's credentials, for ever", (DEVICES,), OWNER),
    Action("remove", ("X",), "remove", "a rule; a person", (RULES, PEOPLE), OWNER),
    Action("remove", ("X",), "discard", "a dead letter that nobody wants", (LETTERS,), OPERATOR),
    Action("remove", ("X",), "end", "a silence before its time", (SILENCES,), OPERATOR),
)  # fmt: skip

OF_LISTS = (
    Action("open", ("enter",), "open", "the whole of it; again or esc closes it", LISTS),
    Action("open", ("enter",), "do it", "do what the cursor is at; what changes the world is asked first", (RUN,)),
    Action("view", ("tab",), "view", "the next view of the pane", SEVERAL),
    Action("view_back", ("shift+tab",), "", "the view before", SEVERAL),
    Action("filter", ("slash",), "filter", "words, column:text, column<30m, !what must not be", LISTS, None, "FILTER"),
    Action("mark", ("space",), "mark", "mark for an action on many", LISTS),
    Action("mark_all", ("ctrl+a",), "", "mark all that are shown, or none", LISTS),
    Action("sort", ("o",), "sort", "order by a column; the same again turns it round", LISTS, None, "COLUMN"),
    Action("columns", ("f",), "", "which columns are shown", LISTS, None, "COLUMN..."),
    Action("export", ("x",), "export", "the shown rows into a CSV or JSON file; a run as Markdown", (), None, "FILE"),
    Action("up", ("up", "k"), "", "a row up"),
    Action("down", ("down", "j"), "", "a row down"),
    Action("page_up", ("pageup",), "", "a page up"),
    Action("page_down", ("pagedown",), "", "a page down"),
    Action("top", ("home", "g"), "", "the first row"),
    Action("bottom", ("end", "G"), "", "the last row"),
    Action("window_less", ("left_square_bracket",), "", "a shorter window of the chart: 15, 60, 180 minutes", (NOW,)),
    Action("window_more", ("right_square_bracket",), "", "a longer window of the chart", (NOW,)),
)  # fmt: skip

EVERYWHERE = (
    Action("help", ("question_mark", "f1"), "help", "this page; again or esc closes it"),
    Action("command", ("colon", "ctrl+p"), "command", "any action by its word; tab completes, up is the history"),
    *(
        Action(name, (str(n),), "", f"the pane {title}", (), None, "FILTER")
        for n, (name, (title, _)) in enumerate(TITLES.items(), 1)
    ),
    Action("previous", ("minus",), "", "the pane before"),
    Action(
        "undo", ("u",), "", "take back: what the line above the footer offers; an acknowledgement; a discarded letter"
    ),
    Action("copy", ("y",), "copy", "copy what the row is called"),
    Action("copy_all", ("Y",), "", "copy all that is known of the row"),
    Action("freeze", ("p",), "freeze", "hold the picture; new data keeps arriving behind it"),
    Action("refresh", ("r",), "", "ask the database now; when it is lost, try at once"),
    Action("local_time", ("z",), "", "times in UTC (marked Z) or in your own zone"),
    Action("report", ("exclamation_mark",), "", "a redacted report of the screen, for an incident or a bug"),
    Action("messages", (), "", "what was said above the footer"),
    Action("profile", (), "", "another environment of the config file", (), None, "NAME"),
    Action("theme", (), "", "colours: auto, dark, light, contrast, deuteranopia, mono", (), None, "NAME"),
    Action("redraw", ("ctrl+l",), "", "draw the whole screen again"),
    Action("suspend", ("ctrl+z",), "", "back to the shell; `fg` returns"),
    Action("back", ("escape",), "", "close, clear the filter, go on after a freeze"),
    Action(
        "quit", ("q", "ctrl+q", "ctrl+c"), "quit", "close what is open; with nothing open, leave: the agent goes on"
    ),
)

ACTIONS = (*OF_PLACES, *OF_LISTS, *EVERYWHERE)
IDS = tuple(dict.fromkeys(action.id for action in ACTIONS))


def find(action_id: str, place: str) -> Action | None:
    """The action of that name that is there."""
    return next((action for action in ACTIONS if action.id == action_id and action.here(place)), None)


def words(place: str) -> list[str]:
    """What may stand behind `:` there, in order."""
    return [action.word for action in ACTIONS if action.here(place)]


def by_word(word: str, place: str) -> Action | None:
    """An action by its word, or by a beginning that only it has."""
    here = {action.word: action for action in ACTIONS if action.here(place)}
    found = [action for name, action in here.items() if name.startswith(word)]
    return here.get(word) or (found[0] if word and len(found) == 1 else None)
