"""The way of a message through the agent, put together: session, inbox, pipeline, writer, spool."""

import time
from dataclasses import dataclass

from agent import build
from agent.config import Settings
from agent.creds.identity import Identity
from agent.heartbeat import load_horizon
from agent.ingest.inbox import Inbox
from agent.ingest.link import Dial, Link
from agent.ingest.pipeline import Pipeline
from agent.ingest.places import Places
from agent.ingest.redelivery import Horizon, first_horizon
from agent.ingest.spool import Spool
from agent.ingest.topics import TopicTemplate
from agent.ingest.writer import Names, Writer
from store.db import Db


@dataclass(frozen=True, slots=True)
class Intake:
    horizon: Horizon
    spool: Spool
    inbox: Inbox
    writer: Writer
    pipeline: Pipeline
    link: Link


def intake(settings: Settings, db: Db, names: Names, own: Identity | None, dial: Dial, leaving: bool = False) -> Intake:
    """Opens the spool, and nothing else. leaving: take what the broker still has for us, and ask for no more.

    Raises SpoolError.
    """
    ingest, state_dir = settings.ingest, settings.agent.state_dir
    saved = load_horizon(state_dir)
    horizon = first_horizon(time.time(), saved, settings.mqtt.broker_memory_seconds)
    spool = Spool(state_dir / "spool.sqlite", settings.spool.max_bytes)
    inbox = Inbox(ingest.batch_rows, ingest.batch_bytes, ingest.linger_ms / 1000)
    places = Places(db, ingest.unknown_devices)
    template = TopicTemplate(settings.mqtt.topic_template)
    writer = Writer(db, names, template, ingest.raw_channels, build.limits(settings), places)
    pipeline = Pipeline(inbox, writer, spool, ingest.write_timeout_seconds)
    options = build.session_options(settings, own, leaving)
    address = f"{settings.mqtt.host}:{settings.mqtt.port}"
    link = Link(dial, address, options, pipeline, horizon, saved is not None)
    return Intake(horizon, spool, inbox, writer, pipeline, link)
