from pathlib import Path

import pytest
from pydantic import SecretStr

from agent import reference
from agent.config import ConfigError, Settings, load
from store.people import login_url
from store.target import parse_target

ROOT = Path(__file__).parent.parent
URL = "postgresql://iot_agent_a:s3cret@db.example.net:5432/iot"
COMPLETE = {
    "IOT_MQTT__HOST": "mqtt.example.net",
    "IOT_MQTT__USERNAME": "_ingest",
    "MQTT_BROKER_PASSWORD": "pw",
    "DATABASE_URL": URL,
}


def loaded(tmp_path: Path, text: str = "", **environment: str) -> Settings:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    return load(file, COMPLETE | environment)


def mistakes(tmp_path: Path, text: str = "", **environment: str) -> str:
    with pytest.raises(ConfigError) as found:
        loaded(tmp_path, text, **environment)
    return str(found.value)


def test_the_names_of_the_service_before_are_honoured(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings.mqtt.password == SecretStr("pw")
    assert settings.target.host == "db.example.net"
    old = {k: v for k, v in COMPLETE.items() if k != "DATABASE_URL"} | {"EXTERNAL_DATABASE_CONNECTION_STRING": URL}
    assert load(None, old).target.user == "iot_agent_a"
    both = load(None, COMPLETE | {"EXTERNAL_DATABASE_CONNECTION_STRING": URL.replace("db.", "old.")})
    assert both.target.host == "db.example.net"


def test_environment_beats_credentials_beats_file(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mqtt-password").write_text("from credentials\n")
    text = '[mqtt]\npassword = "from file"\nport = 1\nhost = "from-file"'
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "IOT_MQTT__PORT": "8884", "MQTT_BROKER_PASSWORD": ""}
    settings = loaded(tmp_path, text, **environment)
    assert settings.mqtt.password == SecretStr("from credentials")
    assert (settings.mqtt.port, settings.mqtt.host) == (8884, "mqtt.example.net")


def test_lists_come_with_commas(tmp_path: Path) -> None:
    assert loaded(tmp_path, IOT_INGEST__RAW_CHANNELS="raw/#,+/LWT").ingest.raw_channels == ("raw/#", "+/LWT")
    assert loaded(tmp_path, '[ingest]\nraw_channels = ["a"]').ingest.raw_channels == ("a",)


def test_every_mistake_is_reported_at_once_with_its_names() -> None:
    with pytest.raises(ConfigError) as found:
        load(None, {"IOT_INGEST__BATCH_ROWS": "0", "IOT_MQTT__PROT": "1"})
    text = str(found.value)
    for words in (
        "mqtt.host: Field required (in the file: [mqtt] host; in the environment: IOT_MQTT__HOST)",
        "mqtt.password: Field required (in the file: [mqtt] password; in the environment: IOT_MQTT__PASSWORD or MQTT_BROKER_PASSWORD)",
        "database.url: Field required",
        "EXTERNAL_DATABASE_CONNECTION_STRING or DATABASE_URL",
        "ingest.batch_rows: Input should be greater than or equal to 1",
        "mqtt.prot: Extra inputs are not permitted",
    ):
        assert words in text, text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[mqtt", "agent.toml: "),
        ("[nonsense]\na = 1", "nonsense: Extra inputs are not permitted"),
        ("mqtt = 3", "mqtt: is a section, [mqtt]"),
        (
            '[mqtt]\ntopic_template = "a/{tenant}"',
            "mqtt.topic_template: the topic template needs {tenant} and {device}",
        ),
        ("[ingest]\nretention_days = 8", "ingest.retention_days must be at least 8"),
        ("[ingest]\nmax_payload_bytes = 1048576\n[mqtt]\nmax_packet_bytes = 2048", "such messages never arrive"),
        ('[agent]\nid = "a b"', "agent.id: String should match pattern"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, words: str) -> None:
    if "retention_days" in text:
        text += "\nmax_past_hours = 180"
        words = "ingest.retention_days must be at least"
    assert words in mistakes(tmp_path, text)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "missing.toml", COMPLETE)


def test_secrets_are_in_no_message_and_no_repr(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    for text in (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        repr(settings.target),
        str(settings.target),
    ):
        assert "s3cret" not in text
    assert "s3cret" not in mistakes(tmp_path, DATABASE_URL=URL.replace("postgresql", "mysql"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u@h/d", "not a PostgreSQL URL"),
        ("postgresql://u@h/d?sslmode=disable", "always verified"),
        ("postgresql://u@h/d?sslmode=prefer", "always verified"),
        ("postgresql://h/d", "names no user"),
        ("postgresql://u:p@/d", "names no host"),
        ("postgresql://u@h:port/d", "port of the URL is not a number"),
    ],
)
def test_bad_urls_say_what_is_wrong(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_target(url)


def test_urls_are_read_as_libpq_does() -> None:
    target = parse_target("postgres://iot%40x:p%2Fw@db.example.net:6543/app?sslmode=require&sslrootcert=/ca.crt")
    assert (target.user, target.password, target.port, target.database) == ("iot@x", "p/w", 6543, "app")
    assert (target.ca_file, target.session_mode, target.local_socket) == (Path("/ca.crt"), False, False)
    socket = parse_target("postgresql://u@/d?host=/run/postgresql")
    assert (socket.local_socket, socket.tls()) == (True, None)


def test_tcp_is_always_verified() -> None:
    context = parse_target("postgresql://u@h/d?sslmode=require").tls()
    assert context is not None
    assert context.check_hostname


def test_a_login_url_keeps_server_options_and_pooler_suffix() -> None:
    url = login_url("postgresql://postgres.ref:pw@h:5432/d?sslrootcert=/x", "iot_agent_a", "a/b")
    assert url == "postgresql://iot_agent_a.ref:a%2Fb@h:5432/d?sslrootcert=/x"


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference.markdown()


def test_the_shipped_file_is_valid() -> None:
    settings = load(ROOT / "deploy" / "agent.toml", {"DATABASE_URL": URL, "MQTT_BROKER_PASSWORD": "x"})
    assert settings.mqtt.port == 8884


def test_an_agent_with_its_own_logins_needs_none_in_its_settings(tmp_path: Path) -> None:
    without = {k: v for k, v in COMPLETE.items() if k not in ("IOT_MQTT__USERNAME", "MQTT_BROKER_PASSWORD")}
    with pytest.raises(ConfigError, match=r"mqtt\.password: Field required"):
        load(None, without)
    assert load(None, without | {"IOT_CREDS__ENABLED": "true"}).creds.enabled
    with pytest.raises(ConfigError, match=r"creds\.enabled needs an mqtt\.topic_template"):
        load(
            None, without | {"IOT_CREDS__ENABLED": "1", "IOT_MQTT__TOPIC_TEMPLATE": "x/{tenant}/{device}/{channel...}"}
        )
