"""Waiting for confirmations: published constants of RFC 6298, limits, and doubling."""

import random

import pytest

from devices.patience import STALL_LEAST_S, STALL_MOST_S, Patience


def test_without_knowledge_it_waits_the_least() -> None:
    assert Patience().wait_s() == STALL_LEAST_S == 5


def test_the_first_round_trip_gives_three_times_itself() -> None:
    patience = Patience()  # RFC 6298, 2.2: RTO = R + 4 * R / 2
    patience.on_round_trip(8.0)
    assert patience.wait_s() == pytest.approx(24.0)


def test_the_second_is_smoothed_by_an_eighth_and_a_quarter() -> None:
    patience = Patience()  # RFC 6298, 2.3 with R = 8, R' = 16
    patience.on_round_trip(8.0)
    patience.on_round_trip(16.0)
    assert patience.wait_s() == pytest.approx((7 / 8 * 8 + 16 / 8) + 4 * (3 / 4 * 4 + 8 / 4))


def test_a_fast_server_is_still_given_the_least() -> None:
    patience = Patience()
    for _ in range(50):
        patience.on_round_trip(0.01)
    assert patience.wait_s() == STALL_LEAST_S


def test_each_stall_doubles_up_to_the_most_until_a_round_trip() -> None:
    patience = Patience()
    waits = []
    for _ in range(8):
        waits.append(patience.wait_s())
        patience.on_stall()
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60]
    assert patience.stalls == 8
    patience.on_round_trip(1.0)
    assert patience.wait_s() == STALL_LEAST_S
    assert patience.stalls == 0


def test_a_new_link_forgets_stalls_but_not_the_round_trip() -> None:
    patience = Patience()
    patience.on_round_trip(8.0)
    patience.on_stall()
    patience.restart()
    assert patience.wait_s() == pytest.approx(24.0)


def test_it_is_never_below_a_steady_round_trip_and_its_noise() -> None:
    rng = random.Random(5)
    patience = Patience()
    for _ in range(200):
        patience.on_round_trip(rng.uniform(9.0, 11.0))
    assert all(rng.uniform(9.0, 11.0) < patience.wait_s() < STALL_MOST_S for _ in range(200))
