"""Secrets out of text, in every encoding in which programs print them; and whom a network security group lets in."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from probes.redact import CUT, HIDDEN, Redactor

SECRET = 'p@ss/w0rd+"x y'
redact = Redactor([SECRET])


@pytest.mark.parametrize(
    "form",
    [
        SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), json.dumps(SECRET), SECRET.encode().hex(),
        *(base64.b64encode(f"{'a' * n}{SECRET}{'z' * m}".encode()).decode() for n in range(4) for m in range(3)),
        *(base64.urlsafe_b64encode(f"{'a' * n}{SECRET}".encode()).decode() for n in range(3)),
    ],
)  # fmt: skip
def test_a_known_secret_is_hidden_in_every_encoding(form: str) -> None:
    text = redact(f"before {form} after")
    assert HIDDEN in text
    assert form.strip('"') not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql://anna:hunter2@db/iot", "@db/iot"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", ""),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- rest", "rest"),
        ("u:$7$101$c2FsdHNhbHRzYWx0$aGFzaA==", "u:"),
        ("https://x.blob/?sv=1&sig=AbCd%2F123&se=2", "&se=2"),
        ("AccountName=a;AccountKey=abcdef123==;X=y", ";X=y"),
        ("password=hunter22 next", "password="),
        ('{"api_key": "abcdefgh", "n": 1}', '"n": 1'),
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: Bearer "),
        ("PGPASSWORD=hunter22 psql", "PGPASSWORD="),
        ("dbpassword=hunter22", "dbpassword="),
        ('{"accessToken": "hunter22"}', '"accessToken": '),
        ("mysql --password hunter22 -h x", "-h x"),
        ("Server=x;Pwd=hunter22;Y=z", ";Y=z"),
        ("Authorization: Basic aHVudGVyMjI=", "Authorization: Basic "),
        ("postgres://u:hunter22/ss@h/db", "@h/db"),
        ('password = "hunter22 horse battery" next', " next"),
        ("password: 'hunter22;adour&3' next", " next"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, kept: str) -> None:
    clean = Redactor()(text)
    assert HIDDEN in clean
    assert kept in clean
    for word in ("hunter2", "MIIE", "AbCd", "abcdef123", "abcdefgh", "horse", "adour", "aHVudGVy"):
        assert word not in clean, clean


def test_words_about_passwords_stay() -> None:
    text = "password authentication failed for user iot; the secret is shown once; token expired"
    assert Redactor()(text) == text


def test_a_cut_leaves_no_half_of_a_secret() -> None:
    text = "x" * 50 + SECRET + "y" * 95
    tail = redact.tail(text, 100)
    assert tail.startswith(CUT)
    assert SECRET[-5:] not in tail


@pytest.mark.parametrize("part", ["ü", "-", "pass", "token-", "://a:", "://a.", "eyJ-", "a.", "'", "="])
def test_a_long_text_is_read_once(part: str) -> None:
    """Where a pattern begins again at each letter, this goes on for hours: the same text must come out, and soon."""
    text = part * (2**20 // len(part))
    assert redact(text) == text
