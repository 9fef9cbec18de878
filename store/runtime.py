"""What a process that runs for long asks of Python: docs/adr/0016-little-at-a-time.md, 0017-spare-the-collector.md."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

READ_BYTES = 16 * 1024  # one record of TLS
READERS = (("asyncio.sslproto", "SSLProtocol"), ("asyncio.selector_events", "_SelectorSocketTransport"))


def read_little() -> None:
    """Let connections read so much at a time. asyncio's own 256 KiB are taken from the top of the heap for each read
    and cut to what came: whatever is allocated meanwhile stays above, and the heap grows for as long as one looks."""
    for module, reader in READERS:
        if (found := getattr(import_module(module), reader, None)) is not None:
            found.max_size = READ_BYTES


def spare_the_collector() -> None:
    """A batch makes thousands of tuples that die by reference count; looking for cycles among them costs an eighth
    of the CPU. What exists now lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@contextmanager
def spared() -> Iterator[None]:
    """Nothing is looked through in here, and what exists at the end never is: for imports, whose objects live as long
    as the process."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
