"""`python -m bench.agent CONFIG PORT`: the agent with a connection without TLS, to measure what TLS costs.

The product has no such option: this passes its own dial function to the daemon.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from agent import config, daemon, log
from agent.ingest.session import Session


def main() -> None:
    settings = config.from_process(Path(sys.argv[1]))
    port = int(sys.argv[2])

    async def dial(factory: Callable[[], Session]) -> Session:
        _, session = await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)
        return session

    log.configure("info", settings.agent.id)
    asyncio.run(daemon.serve(settings, dial))


if __name__ == "__main__":
    main()
