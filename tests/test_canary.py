"""The canary's verdict when something happens that nobody expected."""

import asyncio
from typing import cast

import pytest

from agent.canary import Canary
from agent.config import MqttSettings
from agent.ingest.topics import TopicTemplate
from agent.turn import Turn
from probes.broker import BrokerLogin
from probes.tls import verifying_context
from stack.broker import CANARY_USER, Broker
from store.db import Db


async def test_a_round_that_fails_unexpectedly_is_no_arrival(broker: Broker) -> None:
    tls = verifying_context(broker.authority.ca_file, broker.server_name)
    login = BrokerLogin("127.0.0.1", broker.device_port, tls, CANARY_USER, broker.passwords[CANARY_USER])
    template = TopicTemplate(MqttSettings.model_fields["topic_template"].default)
    nowhere = cast("Db", None)  # to publish works; to look for the row cannot
    canary = Canary(nowhere, login, template, "a", 10, 10.0, Turn())
    async with asyncio.timeout(20):
        with pytest.raises(AttributeError):
            await canary.round()
    assert canary.health.error is not None
    assert canary.health.error.startswith("AttributeError: ")
    assert canary.health.at is not None
    canary.use(CANARY_USER, "wrong")
    await canary.round()
    assert canary.health.error == f"publish: 127.0.0.1:{broker.device_port} refused user {CANARY_USER}"
