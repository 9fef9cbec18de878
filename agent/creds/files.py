"""The broker's files on disk: replaced as a whole, with the former sets kept."""

import hashlib
import os
import shutil
from pathlib import Path

from agent.creds.render import ACL_FILE, PASSWORD_FILE, Files

HISTORY = "history"
KEEP = 5
MODE = 0o640  # the broker's group reads; the directory is setgid


class FileError(Exception):
    """A file cannot be read or written; the message names it and the remedy."""


class FileStore:
    """directory: creds.directory, writable for us and readable for the broker."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self) -> Files | None:
        """What is there now; None when a file is missing or not text. Raises FileError when it may not be read."""
        try:
            return Files((self.directory / PASSWORD_FILE).read_text(), (self.directory / ACL_FILE).read_text())
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        except OSError as error:
            raise self._error(error) from error

    def publish(self, files: Files) -> None:
        """Put both in place, each by an atomic rename.

        In between, the broker may see the new ACL with the old passwords: that gives nobody anything new, because it
        names topics only for users who can log in. Raises FileError.
        """
        try:
            self.write(ACL_FILE, files.acl)
            self.write(PASSWORD_FILE, files.passwd)
        except OSError as error:
            raise self._error(error) from error

    def keep(self, files: Files, generation: int) -> None:
        """Remember a set that was proved good, so that it can be restored without the database."""
        place = self.directory / HISTORY / f"{generation:012}"
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, text in ((PASSWORD_FILE, files.passwd), (ACL_FILE, files.acl)):
                (place / name).touch(mode=0o600)
                (place / name).write_text(text)
            for old in sorted(place.parent.iterdir())[:-KEEP]:
                shutil.rmtree(old)
        except OSError as error:
            raise self._error(error) from error

    def kept(self, before: int | None = None) -> tuple[int, Files] | None:
        """Number and files of the newest set that was proved good; of those older than `before`, if that is given."""
        for place in sorted((self.directory / HISTORY).glob("*"), reverse=True):
            files = FileStore(place).read()
            if files is not None and (before is None or int(place.name) < before):
                return int(place.name), files
        return None

    def write(self, name: str, text: str, mode: int = MODE) -> None:
        """Replace one file atomically and durably. Raises OSError."""
        path = self.directory / name
        temporary = path.with_name(f".{name}.new")
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(file, "w") as stream:
            os.fchmod(stream.fileno(), mode)  # the umask may have taken the group's right
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _error(self, error: OSError) -> FileError:
        return FileError(
            f"creds.directory: {error.filename or self.directory}: {error.strerror}; "
            "the agent needs to write there, and the broker's group to read"
        )


def fingerprint(files: Files | None) -> str:
    """SHA-256 over both files."""
    return hashlib.sha256(f"{files.passwd}\0{files.acl}".encode() if files else b"").hexdigest()
