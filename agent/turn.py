"""One at a time, among the tasks of this process and among processes: the agent and a doctor beside it."""

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

AGAIN_SECONDS = 0.1


class Turn:
    """An asynchronous lock. path: a file that is made; without it, for this process only.

    Where the file cannot be had, one waits for this process only: a canary must not depend on it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._file = -1

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            await self._hold()
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    async def _hold(self) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            owner = self._path.parent.stat()
            os.fchown(self._file, owner.st_uid, owner.st_gid)  # root may come first
        while self._file >= 0:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                await asyncio.sleep(AGAIN_SECONDS)

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release()
