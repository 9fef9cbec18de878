"""Where secrets must not stand: in logs, scripts, shell histories and arguments of processes. It only looks.

What is found is told by its place, never by its value.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from probes.finding import Finding, failed, passed, unknown
from probes.redact import Redactor

AS_ROOT = "sudo iot-agent doctor --save tells"
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


def unseen(redact: Redactor, log: str, files: Sequence[Path], closed: int = 0) -> Finding:
    """No secret in the logs, nor at the end of the files, in any of the forms in which programs write them.

    closed: places that could not be looked into at all.
    """
    if not redact.secrets:
        return unknown("this agent holds no secret to look for")
    found = ["the logs of agent and broker"] if redact.holds(log) else []
    for path in files:
        text = _end(path)
        closed += text is None
        if text is not None and redact.holds(text):
            found.append(str(path))
    if found:
        more = f" and {len(found) - 1} more" if found[1:] else ""
        return failed(f"a secret stands in {found[0]}{more}", "\n".join(found))
    looked = f"{len(redact.secrets)} secrets, {log.count(chr(10))} lines of logs, {len(files)} files looked through"
    return unknown(f"{looked}; {closed} places are closed to this process: {AS_ROOT}") if closed else passed(looked)


def no_argument(redact: Redactor, proc: Path = Path("/proc")) -> Finding:
    """No process shows a secret in its arguments. Unknown when others' are hidden from this process."""
    if not redact.secrets:
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
        if redact.holds(line):
            name = redact(line.split("\0", 1)[0].rsplit("/", 1)[-1])
            return failed(f"process {process.name} ({name}) shows a secret in its arguments")
    if not (proc / "1" / "cmdline").exists():
        return unknown(f"other processes are hidden from this one: {AS_ROOT}")
    return passed(f"{seen} processes looked at")


def no_insecure(directories: Sequence[Path], own: Sequence[Path] = ()) -> Finding:
    """No file below them switches verification off."""
    found, looked, closed = [], 0, 0
    for path in _files(directories, own):
        text = _end(path)
        looked, closed = looked + (text is not None), closed + (text is None)
        for number, line in enumerate((text or "").splitlines(), 1):
            if not line.lstrip().startswith(("#", "//")) and INSECURE.search(line):
                found.append(f"{path}:{number}")
    if found:
        return failed(f"verification is switched off in {found[0]}", "\n".join(found))
    if closed or not looked:
        return unknown(f"{looked} files looked through, {closed} are closed to this process: {AS_ROOT}")
    return passed(f"{looked} files looked through")


def histories(homes: Sequence[Path]) -> tuple[list[Path], int]:
    """(files of shells of everybody who may log in, homes that cannot be looked into). homes: of root, and where
    those of others are."""
    found, closed = [], 0
    for place in homes:
        try:
            below = [one for one in place.iterdir() if one.is_dir()] if place.is_dir() else []
            for home in (place, *below):
                found += [home / name for name in HISTORIES if (home / name).is_file()]
        except OSError:
            closed += 1
    return found, closed


def scripts(directories: Sequence[Path], own: Sequence[Path] = ()) -> list[Path]:
    """own: where secrets belong, which are left out."""
    return list(_files(directories, own))


def _files(directories: Sequence[Path], own: Sequence[Path]) -> Iterator[Path]:
    """Text files of a reasonable number; links are not followed out."""
    count = 0
    for directory in directories:
        for folder, below, names in os.walk(directory):
            below[:] = [name for name in below if Path(folder, name) not in own]
            for name in sorted(names):
                path = Path(folder, name)
                if path in own or path.is_symlink() or not path.is_file():
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
