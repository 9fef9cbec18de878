"""A handle on the parts of a running stack, for commands of the agent and of the console: as systemctl is on a server.

`python -m stack.remote SOCKET NAME` asks the process that holds the stack; its exit code is the answer's.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from stack.process import give

Deed = Callable[[], Awaitable[object]]
SECONDS = 60.0


@asynccontextmanager
async def served(path: Path, deeds: Mapping[str, Deed], user: str | None = None) -> AsyncIterator[None]:
    """Listens on a Unix socket of this user's, or another one's. A deed that raises answers with its words, and fails.

    Its answer is a line; a line break in it is told as \\n.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = (await reader.readline()).decode().strip()
        try:
            said = await deeds[name]()
            text = f"0 {said or 'done'}".replace("\n", "\\n")
        except KeyError:
            text = f"2 no such part: {name}"
        except Exception as error:
            text = f"1 {error}"
        with contextlib.suppress(OSError):
            writer.write(text.encode() + b"\n")
            await writer.drain()
            writer.close()

    server = await asyncio.start_unix_server(answer, path)
    path.chmod(0o600)
    give(path, user)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def command(path: Path, name: str, python: str = sys.executable) -> tuple[str, ...]:
    """The argv that asks for a deed."""
    return (python, "-m", "stack.remote", str(path), name)


def main() -> int:
    path, name = sys.argv[1:3]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(path)
        client.sendall(name.encode() + b"\n")
        code, _, said = client.makefile().readline().partition(" ")
    print(said.strip().replace("\\n", "\n"))
    return int(code or 1)


if __name__ == "__main__":
    sys.exit(main())
