"""The fixed cost of a message is measured through real sockets and a real relay."""

from __future__ import annotations

import asyncio

import pytest

from airloom.runtime.handling import measure_handling


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_message_costs_something_and_not_the_world(kind) -> None:
    handling_s = asyncio.run(measure_handling(kind, messages=20))
    # The relay's delay of 1 ms is not in it; a machine under test may be very busy.
    assert 20e-6 < handling_s < 0.1
