# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service says of itself: that it is there, and what it counts, as Prometheus reads it.

Labels are routes and status codes, so bounded.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from virtProfile.service.pool import Pool
from virtProfile.service.route import Counters, Route, add
from virtProfile.version import VERSION
from virtProfile.wire.calls import NOTHING, TEXT, Call
from virtProfile.wire.shapes import Object

#: Upper bounds of the histogram, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one service process.

    :param pool: the workers, which are counted too
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def count(self, route: str, status: int, seconds: float) -> None:
        """A request is done.

        :param route: the route's pattern, never what the caller wrote
        """
        self._requests[route, status] += 1
        self._buckets[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        pool = self._pool
        yield from _head("requests_total", "counter", "Requests by route and status")
        for (route, status), count in sorted(self._requests.items()):
            yield f'virt_profile_requests_total{{route="{route}",status="{status}"}} {count}'
        yield from _head("request_seconds", "histogram", "Time from a request's first byte to its answer")
        total = 0
        for bound, count in zip((*BOUNDS, None), self._buckets, strict=True):
            total += count
            label = "+Inf" if bound is None else f"{bound:g}"
            yield f'virt_profile_request_seconds_bucket{{le="{label}"}} {total}'
        yield f"virt_profile_request_seconds_sum {self._seconds:.6f}"
        yield f"virt_profile_request_seconds_count {total}"
        for name, kind, text, value in (
            ("workers", "gauge", "Worker processes", len(pool.pids())),
            ("workers_busy", "gauge", "Worker processes at a request", pool.busy),
            ("requests_running", "gauge", "Requests that have a worker", pool.running),
            ("waiting", "gauge", "Requests that wait for a worker", pool.waiting),
            ("worker_restarts_total", "counter", "Worker processes that were replaced", pool.restarts),
        ):
            yield from _head(name, kind, text)
            yield f"virt_profile_{name} {value}"
        yield from _head("build_info", "gauge", "The version that runs")
        yield f'virt_profile_build_info{{version="{VERSION}"}} 1'


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP virt_profile_{name} {text}."
    yield f"# TYPE virt_profile_{name} {kind}"


def _health(counters: Counters) -> str:
    return json.dumps({"status": "ok", "version": VERSION}, separators=(",", ":"))


def _counters(counters: Counters) -> str:
    return counters.text()


_HEALTH = Object({"status": TEXT, "version": TEXT})
add(
    Route(
        Call("healthz", NOTHING, _HEALTH, method="GET", at="/healthz"), "Is the service there?", front=_health
    )
)
add(
    Route(
        Call("metrics", NOTHING, TEXT, method="GET", at="/metrics"),
        "Counters for Prometheus",
        front=_counters,
        media=MEDIA_TYPE,
    )
)
