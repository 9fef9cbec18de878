"""The shape of alerts.yaml. Also the source of its JSON Schema."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from alerting import durations, template
from alerting.threshold import limit_of

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
ALERT = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a duration is text such as 90s, 5m, 1h30m")
    return durations.seconds(str(value)) if isinstance(value, str) or value == 0 else _unitless(value)


def _unitless(value: float) -> float:
    raise ValueError(f"{value} has no unit: write {value}s or {value}m")


def _limit(text: str) -> str:
    limit_of(text)
    return text


def _template(text: str) -> str:
    found = template.mistakes(text)
    if found:
        raise ValueError("; ".join(found))
    return text


def _plain(text: str) -> str:
    if "{{" in text:
        raise ValueError("a label must not change with the value: it would be another alert each time; use annotations")
    return text


DURATION = {"type": "string", "pattern": r"^(0|(\d+(ms|[smhdwy]))+)$", "examples": ["30s", "5m", "1h30m"]}
Duration = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(DURATION)]
LimitText = Annotated[str, AfterValidator(_limit)]
TemplateText = Annotated[str, AfterValidator(_template)]
Label = Annotated[str, AfterValidator(_plain)]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Match = dict[LabelName, str]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RuleModel(Part):
    """One rule. Same meaning as in Prometheus where the name is the same."""

    id: str = Field(pattern=NAME)
    """Its name for ever: state, history and silences hang on it."""
    alert: str = Field(pattern=ALERT)
    """What people read."""
    expr: str
    """For example avg(vm.cpu_percent[2m]) > 90"""
    hold: Duration = Field(0.0, alias="for")
    """The condition must hold this long before the alert fires."""
    keep_firing_for: Duration = 0.0
    """It fires this long after the condition was last true."""
    recover: LimitText | None = None
    """A second limit such as "< 75": the alert fires until the value is there."""
    no_data: Literal["ok", "keep", "alerting"] | None = None
    on_error: Literal["keep", "alerting"] | None = None
    limit: int | None = Field(None, ge=0)
    """Most instances; above it new ones are refused and old ones kept."""
    repeat: Duration | None = None
    """How often people are reminded; otherwise as the route says."""
    runbook: str = Field(pattern=NAME)
    labels: dict[LabelName, Label] = {}
    annotations: dict[LabelName, TemplateText] = {}


class Param(Part):
    """A number that each tenant may set for itself."""

    default: float
    min: float | None = None
    max: float | None = None


class TemplateModel(RuleModel):
    """A rule for every tenant. `{{ param.NAME }}` in expr is the tenant's own number."""

    params: dict[LabelName, Param] = {}


class Group(Part):
    """Rules that are evaluated together."""

    name: str = Field(pattern=NAME)
    interval: Duration | None = None
    eval_delay: Duration = 0.0
    """Look at the state of this long ago, because data comes late."""
    limit: int = Field(0, ge=0)
    rules: Annotated[list[RuleModel], BeforeValidator(lambda given: given or [])]


class RouteModel(Part):
    """Where notifications go; the first route that fits is taken."""

    match: Match = {}
    """Labels an alert must have; "*" is any value."""
    channels: list[str] = Field(min_length=1)
    """Names of channels in the agent's settings."""
    group_by: list[LabelName] = ["alertname"]
    group_wait: Duration = 10.0
    """Wait this long for more alerts of the group before the first message."""
    repeat: Duration = 14_400.0


class Inhibit(Part):
    """While an alert fits `when`, those that fit `mute` are not notified. equal: labels both must share."""

    when: Match
    mute: Match
    equal: list[LabelName] = []


class Defaults(Part):
    interval: Duration = 30.0
    no_data: Literal["ok", "keep", "alerting"] = "ok"
    on_error: Literal["keep", "alerting"] = "keep"


class RulesFile(Part):
    """alerts.yaml"""

    model_config = ConfigDict(title="alerts.yaml")

    version: Literal[1]
    defaults: Defaults = Defaults()
    routes: list[RouteModel] = []
    inhibit: list[Inhibit] = []
    groups: list[Group] = []
    templates: list[TemplateModel] = []


def json_schema() -> dict[str, Any]:
    """For editors: `# yaml-language-server: $schema=alerts.schema.json` on the first line."""
    return RulesFile.model_json_schema()
