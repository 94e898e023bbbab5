"""lwIP uploads through a network that loses one frame in a hundred, without waiting for its timer.

Without SACK a sender learns of a loss by three duplicate ACKs. If one ACK answers a whole batch of segments behind a
hole, each loss costs a second and a half (:mod:`tests.sim.lwip_sender` is such a sender).
"""

from __future__ import annotations

from collections import Counter
from random import Random
from statistics import median

import pytest

from slirpy.testing import SimServer, Sink
from tests.sim.lwip_sender import Loss, upload
from tests.support.harness import WORLD, Net

SIZE = 600_000
SEEDS = range(10)


def served(fastpath: bool = True) -> tuple[Net, SimServer]:
    net = Net(fastpath=fastpath)
    return net, net.host.serve_tcp(WORLD, 80, Sink)


def dice(seed: int) -> Loss:
    """One in a hundred, data and ACKs alike."""
    random = Random(seed)
    return lambda _: random.random() < 0.01


def nth(**missing: set[int]) -> Loss:
    """Frames by their numbers, of each kind."""
    counts: Counter[str] = Counter()

    def lost(kind: str) -> bool:
        counts[kind] += 1
        return counts[kind] in missing.get(kind, ())

    return lost


@pytest.mark.rfc("5681", "4.2 each")
@pytest.mark.parametrize("fastpath", [True, False])
def test_an_upload_at_one_per_cent_loss_takes_less_than_a_second(fastpath: bool) -> None:
    """The median of ten; and all bytes arrive each time."""
    times, fast = [], 0
    for seed in SEEDS:
        net, _ = served(fastpath)
        seconds, sender = upload(net, dice(seed), SIZE)
        net.run(0.1)
        (flow,) = net.stack.flows()
        assert flow.bytes_in >= SIZE
        times.append(seconds)
        fast += sender.fast
    assert median(times) < 1.0, sorted(times)
    assert fast >= 2 * len(times), "losses are noticed by duplicates"


def test_without_losses_no_timer_is_waited_for() -> None:
    net, _ = served()
    seconds, sender = upload(net, lambda _: False, SIZE)
    assert seconds < 0.2
    assert (sender.fast, sender.timeouts) == (0, 0)


@pytest.mark.rfc("5681", "4.2 each")
@pytest.mark.parametrize("missing", range(20, 28))
def test_any_single_loss_in_the_middle_is_repaired_by_duplicates(missing: int) -> None:
    net, _ = served()
    seconds, sender = upload(net, nth(data={missing}), SIZE)
    assert sender.timeouts == 0, sender.una
    assert seconds < 0.2


@pytest.mark.rfc("5681", "4.2 delayed")
@pytest.mark.parametrize("missing", range(30, 40))
def test_once_data_was_lost_no_single_ack_is_waited_for(missing: int) -> None:
    """A flight in order has two ACKs from then on."""
    net, _ = served()
    seconds, sender = upload(net, nth(data={20}, ack={missing}), SIZE)
    assert sender.timeouts == 0, sender.una
    assert seconds < 0.2
