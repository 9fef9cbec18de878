"""The shape of a runbook's front matter and of its steps. Also the source of the steps' JSON Schema. Pure.

Nothing in here is a language: values are compared with recorded results only, and the only template is `{{name}}`.
"""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from alerting import durations

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
VARIABLE = re.compile(r"\{\{\s*([a-z_][a-z0-9_.]*)\s*\}\}")
TARGET = re.compile(r"next|goto (runbook:)?[a-z0-9][a-z0-9-]{0,62}")
PLACE = re.compile(r"(runbook:)?[a-z0-9][a-z0-9-]{0,62}")
SOURCES = ("ask", "alert.labels.", "config.", "run.")
Argument = str | int | float | bool


def _duration(text: str) -> str:
    durations.seconds(text)
    return text


def _target(text: str) -> str:
    if not TARGET.fullmatch(text):
        raise ValueError(f"{text!r} is `next`, `goto STEP` or `goto runbook:ID`")
    return text


def _place(text: str) -> str:
    if not PLACE.fullmatch(text):
        raise ValueError(f"{text!r} is a step's id, or runbook:ID")
    return text


def _source(text: str) -> str:
    if text != "ask" and not text.startswith(SOURCES[1:]):
        raise ValueError(f"{text!r} is ask, alert.labels.NAME, config.NAME or run.NAME")
    return text


Name = Annotated[str, Field(pattern=NAME)]
Duration = Annotated[str, AfterValidator(_duration)]
Target = Annotated[str, AfterValidator(_target)]
Place = Annotated[str, AfterValidator(_place)]
Source = Annotated[str, AfterValidator(_source)]
Where = Literal["console", "agent", "both"]
Arguments = dict[str, Argument]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)


class Variable(Part):
    """A value that is filled in. from: where it comes from; it is asked for when that has none."""

    source: Source = Field("ask", alias="from")
    default: str | None = None
    secret: bool = False


class Probe(Part):
    """One named check of the catalogue. It only reads."""

    check: str
    arguments: Arguments = Field({}, alias="with")
    id: Name | None = None


class Front(Part):
    """The front matter."""

    schema_name: Literal["runbook/1"] = Field(alias="schema")
    id: Name
    title: str
    severity: Literal["sev1", "sev2", "sev3", "change"]
    summary: str
    alerts: tuple[str, ...] = ()
    owner: str
    last_reviewed: date
    review_every_days: int = Field(90, gt=0)
    est_minutes: int | None = Field(None, gt=0)
    vars: dict[str, Variable] = {}
    done_when: tuple[Name, ...] = ()


class Instruct(Part):
    """Something to do by hand."""

    kind: Literal["instruct"] = "instruct"
    goto: Place | None = None


class Check(Part):
    """Questions about the world. Three results: pass, fail, unknown; unknown is never taken for pass."""

    kind: Literal["check"]
    where: Where = "console"
    check: str | None = None
    arguments: Arguments = Field({}, alias="with")
    all: tuple[Probe, ...] = ()
    capture: Probe | None = None
    timeout: Duration = "30s"
    on_pass: Target = Field("next", alias="pass")
    on_fail: Target = Field("next", alias="fail")
    on_unknown: Target = Field("next", alias="unknown")

    @model_validator(mode="after")
    def _one_or_all(self) -> "Check":
        if (self.check is None) == (not self.all):
            raise ValueError("give either check: or all:")
        return self

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Each of them, with an id."""
        one = () if self.check is None else (Probe.model_validate({"check": self.check, "with": self.arguments}),)
        return self.all or one


class Command(Part):
    """Something that changes the world: a named action of the agent, or an argv on the operator's machine."""

    kind: Literal["command", "rollback"]
    where: Literal["console", "agent"]
    action: str | None = None
    run: tuple[str, ...] = ()
    arguments: Arguments = Field({}, alias="with")
    confirm: str = Field(min_length=10)
    """What it does to whom, in a sentence: it is shown with the exact parameters."""
    timeout: Duration = "1m"
    verify: Probe | None = None
    rollback: Name | None = None
    undo: tuple[str, ...] = ()
    goto: Place | None = None
    on_fail: Target = Field("next", alias="fail")

    @model_validator(mode="after")
    def _action_or_argv(self) -> "Command":
        if self.where == "agent" and (self.action is None or self.run):
            raise ValueError("on the agent an action is named; run: is for the console")
        if self.where == "console" and (not self.run or self.action is not None):
            raise ValueError("on the console run: is an argv list; action: is for the agent")
        return self


class Option(Part):
    """A case. when: recorded results that make it likely, such as `inside.unit: fail`."""

    label: str
    when: dict[str, Literal["pass", "fail", "unknown"]] = {}
    goto: Place


class Decide(Part):
    kind: Literal["decide"]
    question: str
    options: tuple[Option, ...] = Field(min_length=2)


class Wait(Part):
    """Until a check passes."""

    kind: Literal["wait"]
    where: Where = "console"
    until: Probe
    every: Duration = "10s"
    timeout: Duration
    on_pass: Target = Field("next", alias="pass")
    on_fail: Target = Field("next", alias="fail")


class Handoff(Part):
    """Somebody else goes on; the questions are answered in writing first."""

    kind: Literal["handoff"]
    ask: tuple[str, ...] = Field(min_length=1)
    goto: Place | None = None
    """Where whoever accepts goes on."""


class Note(Part):
    kind: Literal["note"]
    ask: tuple[str, ...] = Field(min_length=1)
    goto: Place | None = None


Action = Annotated[Instruct | Check | Command | Decide | Wait | Handoff | Note, Field(discriminator="kind")]
ACTION: TypeAdapter[Any] = TypeAdapter(Action)


def json_schema() -> dict[str, Any]:
    """For editors: of one fenced step."""
    return ACTION.json_schema(by_alias=True)


def variables(action: BaseModel) -> set[str]:
    """Names that stand in `{{ }}` anywhere in a step."""
    return set(VARIABLE.findall(action.model_dump_json(by_alias=True)))
