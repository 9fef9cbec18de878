"""Secrets out of text, before it reaches a screen, a disk or a database. Always on. Pure.

Known values go in every encoding in which programs print them; what only looks like a secret goes by its shape.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"
SHORTEST = 6  # a shorter value would take half of a text with it
MOST = 8 * 1024
CUT = "[… cut …]\n"
SHAPES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\$[0-9a-z]{1,2}\$[^\s:\"']{16,}"),  # crypt and Mosquitto hashes
    re.compile(r"SCRAM-SHA-256\$\S+"),
    re.compile(r"(?<=[?&]sig=)[^\s&\"']+"),
    re.compile(r"(?<=AccountKey=)[^\s;\"']+"),
    re.compile(r"(?<=SharedAccessKey=)[^\s;\"']+"),
    re.compile(r"(?i)(?<=bearer )[\w.~+/-]{12,}=*"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/]{8,}=*"),
)
# What stands in group 1 stays. Each begins where a word does and tries the first place that fits, no other: were a long
# word read again from each of its letters, a page of output would take minutes (tests/test_redact.py).
BEHIND = (
    re.compile(r"(?<![^\s@])(?>([^\s@]*?://)(?=[^\s/@:]*:[^\s@]))[^\s@]++(?=@)"),  # user and password of a URL
    re.compile(r"(?<![\w-])(?>([\w-]*?)\b(?=eyJ))[\w-]{11,}+\.[\w-]+\.[\w-]+"),  # JSON web token
    re.compile(  # a value with a name: a quoted one goes up to its closing quote
        r"""(?ix)
        ( (?<![\w-])[\w-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key)["']?\s*[=:]\s*
          | --(?:pass(?:word|wd)?|token|secret)[ \t]+ )
        (?!\[hidden\])
        ( "(?:[^"\\\n]|\\.)+" | '[^'\n]+' | [^\s"'&;]{4,} )"""
    ),
)


class Redactor:
    """secrets: values that this process has ever held. What is shorter than six characters cannot be kept out of text
    without taking half of it away, and is no secret worth the name: it is left."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.know(*secrets)

    def know(self, *secrets: str) -> None:
        for secret in secrets:
            if len(secret) >= SHORTEST:
                self._secrets.add(secret)
                self._forms |= set(_forms(secret))
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    @property
    def secrets(self) -> list[str]:
        """All that are known, to look for them elsewhere."""
        return sorted(self._secrets)

    def holds(self, text: str) -> bool:
        """Whether a known secret stands in it, in any of its forms."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def __call__(self, text: str) -> str:
        text = text.replace("\0", "")  # no database takes it
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        for shape in SHAPES:
            text = shape.sub(HIDDEN, text)
        for shape in BEHIND:
            text = shape.sub(rf"\1{HIDDEN}", text)
        return text

    def tail(self, text: str, most: int = MOST) -> str:
        """Redacted first and cut then, so that no half of a secret stays."""
        clean = self(text)
        return clean if len(clean) <= most else CUT + clean[-most:]


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode()
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield raw.hex()
    yield raw.hex().upper()
    for shift in range(3):  # base64 of a longer text that the secret stands in: three ways it may be aligned
        whole = base64.b64encode(b"\0" * shift + raw).decode()
        inner = whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]  # what does not depend on its neighbours
        for text in (inner, inner.replace("+", "-").replace("/", "_")):
            if len(text) >= SHORTEST:
                yield text
