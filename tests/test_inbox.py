import asyncio

from agent.ingest.accounting import Accounting
from agent.ingest.delivery import Delivery
from agent.ingest.inbox import Inbox
from agent.ingest.latency import Latency
from agent.ingest.redelivery import GRACE_SECONDS, first_horizon


def deliveries(count: int, size: int = 10) -> list[Delivery]:
    return [Delivery("t", b"x" * (size - 1), 1, n, 1, float(n), None) for n in range(count)]


def put(inbox: Inbox, items: list[Delivery]) -> None:
    inbox.put(items, sum(d.size for d in items))


async def test_a_full_batch_is_handed_out_at_once() -> None:
    inbox = Inbox(3, 1000, linger_seconds=3600)
    put(inbox, deliveries(7))
    async with asyncio.timeout(60):
        assert [d.packet_id for d in await inbox.take()] == [0, 1, 2]
        assert [d.packet_id for d in await inbox.take()] == [3, 4, 5]
    assert len(inbox) == 1
    assert inbox.bytes == 10


async def test_a_batch_is_limited_in_bytes_but_never_empty() -> None:
    inbox = Inbox(100, 25, linger_seconds=3600)
    put(inbox, deliveries(4))
    assert len(await inbox.take()) == 2
    put(inbox, deliveries(1, size=500))
    assert len(await inbox.take()) == 2
    assert len(await inbox.take()) == 1


async def test_a_lone_message_waits_for_the_linger_time_only() -> None:
    inbox = Inbox(100, 1000, linger_seconds=0.05)
    took = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    put(inbox, deliveries(1))
    async with asyncio.timeout(60):
        assert len(await took) == 1


async def test_what_a_lost_connection_delivered_is_forgotten() -> None:
    inbox = Inbox(2, 1000, linger_seconds=0.01)
    put(inbox, deliveries(5))
    assert inbox.drop(epoch=0) == 0, "of another connection"
    assert inbox.drop(epoch=1) == 5
    assert (len(inbox), inbox.bytes, inbox.oldest()) == (0, 0, None)
    took = asyncio.create_task(inbox.take())
    await asyncio.sleep(0.03)  # longer than the linger: an emptied inbox must not hand out an empty batch
    assert not took.done()
    put(inbox, deliveries(2))
    assert len(await took) == 2


async def test_closing_hands_out_the_rest_without_lingering() -> None:
    inbox = Inbox(100, 1000, linger_seconds=3600)
    put(inbox, deliveries(5))
    took = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    inbox.close()
    async with asyncio.timeout(60):
        assert len(await took) == 5
        assert await inbox.take() == []


def test_the_horizon_stays_while_redeliveries_can_still_come() -> None:
    horizon = first_horizon(1000.0, saved=700.0, broker_memory=10.0)
    horizon.advance(1010.0, 10.0, connected_at=None, confirmed=None)
    horizon.advance(1020.0, 20.0, connected_at=1015.0, confirmed=1018.0)
    horizon.advance(1015.0 + GRACE_SECONDS, 15.0 + GRACE_SECONDS, connected_at=1015.0, confirmed=None)
    assert horizon.at == 700.0
    horizon.advance(1015.0 + GRACE_SECONDS, 15.0 + GRACE_SECONDS, connected_at=1015.0, confirmed=1040.0)
    assert horizon.at == 1030.0
    horizon.advance(1200.0, 200.0, connected_at=1015.0, confirmed=1020.0)
    assert horizon.at == 1030.0


def test_a_clock_that_was_ahead_does_not_leave_the_horizon_blind() -> None:
    """What arrived in the broker's memory before the first look after the step is still looked for."""
    horizon = first_horizon(5000.0, saved=4900.0, broker_memory=60.0)
    horizon.advance(4700.0, 4.0, connected_at=4600.0, confirmed=4690.0)
    assert horizon.at == 4640.0


def test_a_clock_set_forward_holds_the_horizon_until_the_broker_has_forgotten() -> None:
    """What arrived a second before the step seems to be an hour old, and a crashed broker may send it again."""
    horizon = first_horizon(1000.0, saved=900.0, broker_memory=30.0)
    horizon.advance(1100.0, 100.0, connected_at=1000.0, confirmed=1099.0)
    assert horizon.at == 1069.0
    for steady in (104.0, 150.0, 193.0):
        horizon.advance(4600.0 + steady, steady, connected_at=1000.0, confirmed=4599.0 + steady)
        assert horizon.at == 1069.0
    horizon.advance(4794.0, 194.0, connected_at=1000.0, confirmed=4793.0)
    assert horizon.at == 4763.0


def test_without_a_saved_horizon_an_hour_is_looked_back() -> None:
    assert first_horizon(10_000.0, saved=None, broker_memory=0).at == 6400.0
    assert first_horizon(10_000.0, saved=20_000.0, broker_memory=60.0).at == 9940.0


def test_accounting_balances() -> None:
    count = Accounting(received=10, inserted=4, duplicates=2, dead_letters=1, spooled=1, dropped=1)
    assert count.unsettled() == 1
    assert Accounting(drained=5, drained_inserted=3, drained_duplicates=1, drained_dead_letters=1).drain_balance() == 0


def test_latency_is_a_percentile_of_the_last() -> None:
    latency = Latency(size=100)
    assert latency.p95_ms() is None
    for n in range(200):
        latency.add(n / 1000)
    assert latency.p95_ms() == 195.0
