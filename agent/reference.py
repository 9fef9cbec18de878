"""The configuration reference, made from the settings themselves."""

from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agent.alert_settings import Section
from agent.config import CREDENTIALS, LEGACY_ENVIRONMENT, Settings

HEAD = """# Settings

Made by `iot-agent settings`. A setting `key` of section `[section]` is given in the TOML file, or in the environment as
`IOT_SECTION__KEY` (lists with commas), which wins. Secrets can also be files in systemd's credentials directory.
`iot-agent check-config` reports every mistake at once.
"""


def markdown() -> str:
    """One table a section."""
    out = [HEAD]
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, Section)
        out.append(f"\n## [{section}]\n\n{(model.__doc__ or '').strip()}\n")
        out.append("| key | default | meaning |\n| --- | --- | --- |")
        out += [
            f"| `{key}` | {_default(info)} | {_meaning(section, key, info)} |"
            for key, info in model.model_fields.items()
        ]
    return "\n".join(out) + "\n"


def _default(info: FieldInfo) -> str:
    if info.default_factory is not None:
        return "this host's name"
    value: Any = info.default
    if value is PydanticUndefined:
        return "required"
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`"


def _meaning(section: str, key: str, info: FieldInfo) -> str:
    parts = [" ".join((info.description or "").split()).rstrip(".")]
    bounds = {type(item).__name__: item for item in info.metadata}
    low = next((f"> {b.gt:g}" if n == "Gt" else f">= {b.ge:g}" for n, b in bounds.items() if n in ("Gt", "Ge")), "")
    high = next((f"<= {b.le:g}" for n, b in bounds.items() if n == "Le"), "")
    parts.append(", ".join(bound for bound in (low, high) if bound))
    names = [name for name, place in LEGACY_ENVIRONMENT.items() if place == (section, key)]
    names += [f"credential {name}" for name, place in CREDENTIALS.items() if place == (section, key)]
    if names:
        parts.append(f"also {', '.join(names)}")
    if info.annotation is SecretStr:
        parts.append("secret")
    return "; ".join(part for part in parts if part)
