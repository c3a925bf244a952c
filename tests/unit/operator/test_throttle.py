"""The token bucket: a burst, then the rate, and a hold for everybody."""

from __future__ import annotations

from nbhd_operator.throttle import Bucket


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    now = [0.0]
    bucket = Bucket(rate=10, burst=3, clock=lambda: now[0])
    assert [bucket.reserve() for _ in range(3)] == [0, 0, 0]
    assert [round(bucket.reserve(), 3) for _ in range(2)] == [0.1, 0.2]
    now[0] = 10
    assert [bucket.reserve() for _ in range(3)] == [0, 0, 0]


def test_a_hold_counts_for_all_and_ends() -> None:
    now = [0.0]
    bucket = Bucket(rate=10, burst=10, clock=lambda: now[0])
    bucket.hold(5)
    assert bucket.reserve() == 5
    now[0] = 5
    assert bucket.reserve() == 0
    bucket.hold(9999)
    assert bucket.reserve() == 120
