"""Where secrets must not stand: in logs, scripts, shell histories and arguments of processes. It only looks.

What is found is told by its place, never by its value.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from probes.finding import Finding, failed, passed, unknown

SHORTEST = 8  # a shorter one stands in many texts by chance
MOST_BYTES = 4 * 2**20  # of the end of a file
MOST_FILES = 2000
HISTORIES = (".bash_history", ".zsh_history", ".ash_history", ".psql_history", ".python_history")
# how programs switch the verification of certificates off
INSECURE = re.compile(
    r"""--insecure\b | tls_insecure | \bcurl\b[^\n|;]*\s-k\b | CERT_NONE | sslmode=(?:disable|allow|prefer|require)\b
    | verify=False | rejectUnauthorized:\s*false | check_hostname\s*=\s*False | ssl_verify\s*=?\s*(?:false|0)\b
    | StrictHostKeyChecking[= ]no\b | bridge_insecure\s+true | GIT_SSL_NO_VERIFY""",
    re.VERBOSE,
)


def unseen(secrets: Iterable[str], log: str, files: Sequence[Path]) -> Finding:
    """No secret in the logs, nor at the end of the files."""
    wanted = _wanted(secrets)
    if not wanted:
        return unknown("this agent holds no secret to look for")
    found = ["the logs of agent and broker"] if any(secret in log for secret in wanted) else []
    closed = 0
    for path in files:
        text = _end(path)
        closed += text is None
        if text is not None and any(secret in text for secret in wanted):
            found.append(str(path))
    looked = f"{len(wanted)} secrets, {log.count(chr(10))} lines of logs, {len(files) - closed} files"
    if found:
        return failed(
            f"a secret stands in {found[0]}{f' and {len(found) - 1} more' if found[1:] else ''}", "\n".join(found)
        )
    return passed(f"{looked} looked through" + (f"; {closed} could not be read" if closed else ""))


def no_argument(secrets: Iterable[str], proc: Path = Path("/proc")) -> Finding:
    """No process shows a secret in its arguments. Unknown when others' are hidden from this process."""
    wanted = _wanted(secrets)
    if not wanted:
        return unknown("this agent holds no secret to look for")
    seen = 0
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        seen += 1
        if any(secret in line for secret in wanted):
            name = line.split("\0", 1)[0].rsplit("/", 1)[-1]
            return failed(f"process {process.name} ({name}) shows a secret in its arguments")
    if not (proc / "1" / "cmdline").exists():
        return unknown("other processes are hidden from the agent: sudo iot-agent doctor --save")
    return passed(f"{seen} processes looked at")


def no_insecure(directories: Sequence[Path]) -> Finding:
    """No file below them switches verification off."""
    found, looked = [], 0
    for path in _files(directories):
        text = _end(path)
        looked += text is not None
        for number, line in enumerate((text or "").splitlines(), 1):
            if not line.lstrip().startswith(("#", "//")) and INSECURE.search(line):
                found.append(f"{path}:{number}")
    if found:
        return failed(f"verification is switched off in {found[0]}", "\n".join(found))
    return passed(f"{looked} files looked through") if looked else unknown("there is nothing to look through")


def histories(homes: Path = Path("/home"), root: Path = Path("/root")) -> list[Path]:
    """Of the shells of everybody who may log in, as far as this process sees them."""
    places = [root, *(homes.iterdir() if homes.is_dir() else ())]
    return [place / name for place in places for name in HISTORIES if _there(place / name)]


def scripts(directories: Sequence[Path]) -> list[Path]:
    return list(_files(directories))


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _files(directories: Sequence[Path]) -> Iterator[Path]:
    """Text files of a reasonable size; links are not followed out."""
    count = 0
    for directory in directories:
        for folder, _, names in os.walk(directory):
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_symlink() or not path.is_file():
                    continue
                count += 1
                if count > MOST_FILES:
                    return
                yield path


def _end(path: Path) -> str | None:
    """The end of a file; None when it may not be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - MOST_BYTES))
            return stream.read().decode(errors="replace")
    except OSError:
        return None


def _wanted(secrets: Iterable[str]) -> list[str]:
    return sorted({secret for secret in secrets if len(secret) >= SHORTEST})
