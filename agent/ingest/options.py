"""How a session with the broker is opened, and the packets that say so."""

from dataclasses import dataclass, field

import mqtt5

SUBSCRIBE_ID, UNSUBSCRIBE_ID = 1, 2


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to open a session. Sizes are bytes, times seconds. share_group: the messages are dealt out among its members.
    leaving: ends the subscription, and takes what is queued.
    """

    client_id: str
    username: str
    password: str = field(repr=False)
    topic_filter: str
    receive_maximum: int
    max_packet: int
    buffer_limit: int
    keepalive: int
    session_expiry: int
    share_group: str | None = None
    leaving: bool = False

    @property
    def subscription(self) -> str:
        return self.topic_filter if self.share_group is None else f"$share/{self.share_group}/{self.topic_filter}"

    def connect_packet(self) -> bytes:
        # 65535 is the default, so the codec would leave it out, and Mosquitto then sends 20 at a time
        return mqtt5.ConnectPacket(
            self.client_id,
            username=self.username,
            password=self.password.encode(),
            clean_start=False,
            keep_alive=self.keepalive,
            session_expiry_interval=self.session_expiry,
            receive_max=min(self.receive_maximum, 65_534),
            max_packet_size=self.max_packet,
        ).write()

    def subscribe_packet(self) -> bytes:
        # SEND_NEVER: a retained message is old news that would come back as a new row on each subscribe
        wanted = mqtt5.TopicFilter(
            self.subscription,
            max_qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain_handling=mqtt5.RetainHandling.SEND_NEVER,
        )
        return mqtt5.SubscribePacket(SUBSCRIBE_ID, [wanted]).write()

    def unsubscribe_packet(self) -> bytes | None:
        """What a session of before may still have: the whole, when there is a group now; everything, when we leave."""
        wanted = [] if self.share_group is None and not self.leaving else [self.topic_filter]
        if self.leaving and self.share_group is not None:
            wanted.append(self.subscription)
        return mqtt5.UnsubscribePacket(UNSUBSCRIBE_ID, wanted).write() if wanted else None
