import pytest

from agent.ingest.topics import TopicTemplate, matches

DEFAULT = TopicTemplate("tenants/{tenant}/devices/{device}/{channel...}")


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("tenants/acme/devices/d1/up", ("acme", "d1", "up")),
        ("tenants/acme/devices/d1/tele/SENSOR", ("acme", "d1", "tele/SENSOR")),
        ("tenants/acme/devices/d1", ("acme", "d1", "")),
        ("tenants/acme/devices/d1/", ("acme", "d1", "")),
        ("tenants/acme/devices", None),
        ("tenants/acme/x/devices/d1/up", None),
        ("tenants//devices/d1/up", None),
        ("x/tenants/acme/devices/d1/up", None),
        ("", None),
    ],
)
def test_matches_topics_of_its_shape_only(topic: str, expected: tuple[str, str, str] | None) -> None:
    assert DEFAULT.match(topic) == expected


def test_knows_filter_and_topic() -> None:
    assert DEFAULT.filter == "tenants/+/devices/+/#"
    assert DEFAULT.topic("acme", "d1", "up") == "tenants/acme/devices/d1/up"


def test_the_channel_may_be_left_out_and_text_is_taken_literally() -> None:
    template = TopicTemplate("v1.0/{device}/{tenant}")
    assert template.filter == "v1.0/+/+"
    assert template.match("v1.0/d1/acme") == ("acme", "d1", "")
    assert template.match("v1x0/d1/acme") is None
    assert template.match("v1.0/d1/acme/more") is None


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("a/{tenant}", "needs {tenant} and {device}"),
        ("{tenant}/{tenant}/{device}", "once each"),
        ("{tenant}/dev-{device}", "whole level"),
        ("{tenant}/{channel...}/{device}", "last level"),
        ("{tenant}/{device}/+", "wildcards"),
    ],
)
def test_says_what_is_wrong_with_a_template(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        TopicTemplate(template)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("raw/#", "raw/frame/1", True),
        ("raw/#", "raw", True),
        ("#", "", True),
        ("+/LWT", "tele/LWT", True),
        ("+/LWT", "tele/x/LWT", False),
        ("raw", "raw/frame", False),
        ("raw/+", "raw", False),
    ],
)
def test_topic_filters(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected
