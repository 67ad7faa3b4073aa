# SPDX-License-Identifier: GPL-2.0-or-later
"""The largest set that at least so many hosts share: exact, by branch and bound, within a budget.

Pure numbers: a host's capabilities are the bits of an integer. The budget counts
comparisons, not seconds, so that every machine finds the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from virtProfile.frozen import record

#: Comparisons of a set with a host's; some seconds.
BUDGET = 20_000_000


@record
class Found:
    """`bits` are shared by at least as many hosts as were asked for; None where nothing is.

    `proven`: no larger set exists. `work` is the number of comparisons.
    """

    bits: int | None
    proven: bool
    work: int


def search(
    hosts: Sequence[int], least: int, budget: int = BUDGET, accept: Callable[[int], bool] | None = None
) -> Found:
    """The largest intersection of at least `least` of `hosts`.

    :param accept: tells whether an intersection will do at all; asked once for each
    """
    if not 0 < least <= len(hosts):
        return Found(None, True, 0)
    counts: Counter[int] = Counter()
    for host in hosts:
        while host:
            low = host & -host
            counts[low] += 1
            host ^= low
    # what fewer hosts have can be in no result
    common = sum(bit for bit, count in counts.items() if count >= least)
    types = sorted(
        Counter(host & common for host in hosts).items(), key=lambda pair: (-pair[0].bit_count(), -pair[0])
    )
    best: int | None = None
    weight = -1
    work = 0
    # One entry: what is shared so far, by how many, and the hosts that may still be added.
    # A branch takes a host in, the later branches leave it out: each set comes up once.
    stack: list[tuple[int, int, list[tuple[int, int, int]], list[int]]] = [
        (common, 0, [(bits.bit_count(), bits, times) for bits, times in types], [])
    ]
    while stack:
        if work >= budget:
            return Found(best, False, work)
        shared, count, open_, left_out = stack.pop()
        if shared.bit_count() <= weight:
            continue
        work += len(open_) + len(left_out)
        if any(bits & shared == shared for bits in left_out):
            continue  # it came up where that host was taken in
        rest: list[tuple[int, int, int]] = []
        for _, bits, times in open_:
            size = (bits & shared).bit_count()
            if size == shared.bit_count():
                count += times
            elif size > weight:
                rest.append((size, bits, times))
        if count >= least and (accept is None or accept(shared)):
            best, weight = shared, shared.bit_count()
            continue  # with more hosts it only shrinks
        rest.sort(reverse=True)
        branches = []
        reach, end = count, 0
        for at, (_, bits, times) in enumerate(rest):
            # the hosts that are still missing come from here on, the best of them first
            while end < len(rest) and (reach < least or end <= at):
                reach += rest[end][2]
                end += 1
            if reach < least or rest[end - 1][0] <= weight:
                break
            out = left_out + [other for _, other, _ in rest[:at]]
            branches.append((bits & shared, count, rest[at:], out))
            reach -= times
        stack.extend(reversed(branches))
    return Found(best, True, work)
