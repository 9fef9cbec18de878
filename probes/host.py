"""The machine this process runs on."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class HostSample:
    """Percent are 0..100, sizes bytes. memory_percent counts what cannot be given out without swapping."""

    host: str
    pid: int
    cores: int
    cpu_percent: float
    load_1m: float
    memory_percent: float
    memory_used: int
    memory_total: int
    swap_used: int
    disk_percent: float
    agent_memory: int


class Host:
    """Measures at most once a second, whoever asks: CPU use is only meaningful over an interval."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._process = psutil.Process()
        psutil.cpu_percent()
        self._last = self._measure()
        self._measured_at = time.monotonic()

    def sample(self) -> HostSample:
        if time.monotonic() - self._measured_at >= 1:
            self._last = self._measure()
            self._measured_at = time.monotonic()
        return self._last

    def _measure(self) -> HostSample:
        memory = psutil.virtual_memory()
        return HostSample(
            host=socket.gethostname(),
            pid=self._process.pid,
            cores=os.cpu_count() or 1,
            cpu_percent=psutil.cpu_percent(),
            load_1m=os.getloadavg()[0],
            memory_percent=memory.percent,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            swap_used=psutil.swap_memory().used,
            disk_percent=psutil.disk_usage(str(self._disk)).percent,
            agent_memory=self._process.memory_info().rss,
        )
