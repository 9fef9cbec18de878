"""Does the steps of an installation, or says what it would do. Below another root, only files are made."""

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from agent.setup.steps import Command, Folder, Gone, Link, Outcome, Step, Text
from probes.program import last_line

SECONDS = 600
NEW = ".new"  # beside a file of somebody's own, what this version ships


class StepFailed(Exception):
    """The message names the step, and what the system said."""


class Performer:
    """root: of the file system that is worked on. Names of users need not exist below another one."""

    def __init__(self, root: Path, dry: bool) -> None:
        self._root = root
        self._here = root == Path("/")
        self._dry = dry

    def run(self, steps: Sequence[Step]) -> Iterator[tuple[Step, Outcome]]:
        """Each step with what came of it, as it comes. Raises StepFailed."""
        for step in steps:
            try:
                yield step, self._one(step)
            except (OSError, LookupError) as error:
                raise StepFailed(f"{step.words}: {getattr(error, 'strerror', None) or error}") from error

    def _one(self, step: Step) -> Outcome:
        match step:
            case Folder():
                return self._folder(step)
            case Text():
                return self._text(step)
            case Link():
                return self._link(step)
            case Gone():
                return self._gone(step)
            case Command():
                return self._command(step)

    def _folder(self, step: Folder) -> Outcome:
        path = self._at(step.path)
        if path.is_dir() and self._owned(path, step) and path.stat().st_mode & 0o7777 == step.mode:
            return Outcome.SAME

        def make() -> None:
            path.mkdir(parents=True, exist_ok=True)
            if self._here:
                shutil.chown(path, step.owner, step.group)
            path.chmod(step.mode)

        return self._do(make)

    def _owned(self, path: Path, step: Folder) -> bool:
        if not self._here:
            return True
        found = path.stat()
        try:
            return (pwd.getpwnam(step.owner).pw_uid, grp.getgrnam(step.group).gr_gid) == (found.st_uid, found.st_gid)
        except KeyError:
            return False  # the user is made by a step before

    def _text(self, step: Text) -> Outcome:
        path = self._at(step.path)
        if _visible(path):
            if path.read_text() == step.text and path.stat().st_mode & 0o7777 == step.mode:
                return Outcome.SAME
            if step.keep:
                return self._beside(path, step)
        return self._do(lambda: _write(path, step))

    def _beside(self, path: Path, step: Text) -> Outcome:
        """What people have changed stays; what is shipped now lies beside it, once."""
        if path.read_text() == step.text:
            return Outcome.KEPT
        new = path.with_name(path.name + NEW)
        if not new.exists() or new.read_text() != step.text:
            self._do(lambda: new.write_text(step.text))
        return Outcome.DIFFERS

    def _link(self, step: Link) -> Outcome:
        path = self._at(step.path)
        if path.is_symlink() and str(path.readlink()) == step.target:
            return Outcome.SAME

        return self._do(lambda: point(path, step.target))

    def _gone(self, step: Gone) -> Outcome:
        path = self._at(step.path)
        if not path.exists() and not path.is_symlink():
            return Outcome.SAME
        if path.is_dir() and not path.is_symlink():
            if step.whole:
                return self._do(lambda: shutil.rmtree(path))
            if any(path.iterdir()):
                return Outcome.KEPT
            return self._do(path.rmdir)
        return self._do(path.unlink)

    def _command(self, step: Command) -> Outcome:
        if not step.needed:
            return Outcome.SAME
        return self._do(lambda: call(step.argv) if self._here else None)

    def _do(self, work: Callable[[], object]) -> Outcome:
        if not self._dry:
            work()
        return Outcome.DONE

    def _at(self, path: str) -> Path:
        return below(self._root, path)


def below(root: Path, path: str) -> Path:
    """An absolute path, as it is in another root."""
    return root / path.lstrip("/")


def point(link: Path, target: str | Path) -> None:
    """Make a symbolic link, or have it point elsewhere. Atomic: whoever follows it finds one target or the other."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(link)


def _visible(path: Path) -> bool:
    """It exists, as far as one may see: who only asks for a plan may not look into every directory."""
    try:
        return path.exists() and os.access(path, os.R_OK)
    except PermissionError:
        return False


def _write(path: Path, step: Text) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(step.text)
    temporary.chmod(step.mode)
    temporary.rename(path)


def call(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a program without input. environment: on top of ours. Raises StepFailed with its last line."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
            env=os.environ | dict(environment or {}),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StepFailed(f"{argv[0]}: {getattr(error, 'strerror', None) or error}") from error
    if done.returncode:
        said = last_line(done.stderr or done.stdout, "no reason given")
        raise StepFailed(f"{' '.join(argv)} failed ({done.returncode}): {said}")
