"""Sets of IP addresses, as ranges of numbers in their order. Pure."""

import ipaddress
from collections.abc import Sequence

Span = tuple[int, int]  # first and last
EVERYBODY = {4: "0.0.0.0/0", 6: "::/0"}
INSIDE = [ipaddress.ip_network(text) for text in (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7",
    "fe80::/10",
)]  # fmt: skip


def whole(family: int) -> Span:
    network = ipaddress.ip_network(EVERYBODY[family])
    return int(network[0]), int(network[-1])


def outside(family: int) -> list[Span]:
    inside = [(int(one[0]), int(one[-1])) for one in INSIDE if one.version == family]
    return without([whole(family)], inside)


def size(spans: Sequence[Span]) -> int:
    return sum(last - first + 1 for first, last in spans)


def together(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    found: list[Span] = []
    for first, last in sorted([*some, *others]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def without(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    left = list(some)
    for first, last in others:
        left = [
            part
            for low, high in left
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
    return together(left, [])


def common(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    return together([(max(a, c), min(b, d)) for a, b in some for c, d in others if max(a, c) <= min(b, d)], [])
