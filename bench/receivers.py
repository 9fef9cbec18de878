"""`python -m bench.receivers N`: aiomqtt alone, counting N messages and storing none, as a yardstick."""

import asyncio
import os
import sys
from pathlib import Path

from agent.simulate.fleet import client
from probes.broker import BrokerLogin
from probes.tls import verifying_context


async def receive(count: int) -> None:
    tls = verifying_context(Path(os.environ["CA_FILE"]), os.environ["TLS_NAME"])
    login = BrokerLogin("127.0.0.1", int(os.environ["PORT"]), tls, os.environ["MQTT_USER"], os.environ["MQTT_PASSWORD"])
    async with client(login) as connected:
        await connected.subscribe("tenants/+/devices/+/#", qos=1)
        print("ready", flush=True)
        seen = 0
        async for _ in connected.messages:
            seen += 1
            if seen >= count:
                return


asyncio.run(receive(int(sys.argv[1])))
