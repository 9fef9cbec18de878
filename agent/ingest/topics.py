"""Topic templates and topic filters. Pure."""

import re
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\{(tenant|device|channel\.\.\.)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """What a topic says about its message. channel may be empty; raw: store the payload as it is."""

    tenant: str
    device: str
    channel: str
    raw: bool


class TopicTemplate:
    """Such as `tenants/{tenant}/devices/{device}/{channel...}`; channel... is optional and comes last.

    Raises ValueError when a placeholder is missing, repeated or shares its level with text.
    """

    def __init__(self, template: str) -> None:
        levels = template.split("/")
        names = [name for level in levels for name in PLACEHOLDER.findall(level)]
        if sorted(n for n in names if n != "channel...") != ["device", "tenant"]:
            raise ValueError("the topic template needs {tenant} and {device}, once each")
        if any(PLACEHOLDER.search(level) and not PLACEHOLDER.fullmatch(level) for level in levels):
            raise ValueError("a placeholder of the topic template must fill its whole level, as in a/{tenant}/b")
        if "channel..." in names and (names.count("channel...") > 1 or levels[-1] != "{channel...}"):
            raise ValueError("{channel...} must be the last level of the topic template")
        if any(c in level for level in levels for c in "+#"):
            raise ValueError("the topic template holds placeholders, not the wildcards + and #")
        self.text = template
        self._pattern = re.compile("/".join(_level_pattern(level) for level in levels).replace("/(?:/", "(?:/"))

    @property
    def filter(self) -> str:
        """The MQTT topic filter to subscribe to."""
        return "/".join(
            "#" if x == "{channel...}" else "+" if PLACEHOLDER.match(x) else x for x in self.text.split("/")
        )

    def match(self, topic: str) -> tuple[str, str, str] | None:
        """(tenant, device, channel) of a topic, or None when it has another shape."""
        found = self._pattern.fullmatch(topic)
        if found is None:
            return None
        parts = found.groupdict()
        return parts["tenant"], parts["device"], parts.get("channel") or ""

    def topic(self, tenant: str, device: str, channel: str) -> str:
        """The topic a device publishes a channel to."""
        values = {"tenant": tenant, "device": device, "channel...": channel}
        return PLACEHOLDER.sub(lambda found: values[found[1]], self.text)


def _level_pattern(level: str) -> str:
    match level:
        case "{tenant}":
            return "(?P<tenant>[^/]+)"
        case "{device}":
            return "(?P<device>[^/]+)"
        case "{channel...}":
            return "(?:/(?P<channel>.*))?"
        case _:
            return re.escape(level)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT topic filter with + and # matches a topic (MQTT 5, section 4.7)."""
    wanted, found = topic_filter.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(found) or level not in ("+", found[i]):
            return False
    return len(wanted) == len(found)
