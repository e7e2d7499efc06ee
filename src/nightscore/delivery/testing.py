"""What every channel is held to: `check_channel`, for ours and for plug-ins."""

import dataclasses
from collections.abc import Callable
from typing import Any

from nightscore.common import NotYet
from nightscore.delivery.contract import Channel, Parcel


def check_channel(open_channel: Callable[[], Channel], first: Parcel, read: Callable[[], Any]) -> None:
    """Hold a channel to `Channel`; raises AssertionError where it does not keep to it.

    Args:
        open_channel: opens the channel anew, as another process does.
        first: a day with some rows. A second run of it with fewer rows is made of it.
        read: what a reader sees of the day at the target, in any form that compares; falsy where nothing.
    """
    assert not read(), "the target holds something before anything is delivered"
    assert isinstance(open_channel().check(first.schema), str)
    sent = open_channel().deliver(first)
    assert sent.rows == first.rows, "the rows that were counted are not those that were sent"
    seen = read()
    assert seen, "nothing is there after a delivery"
    assert open_channel().deliver(first) == sent and read() == seen, "a second delivery is not the same"
    assert open_channel().deliver(first, again=True).rows == first.rows and read() == seen

    second = dataclasses.replace(first, run_id=f"{first.run_id}-2", run_number=first.run_number + 1)
    assert open_channel().deliver(second).rows == second.rows
    _refuses_older(open_channel(), first)

    back = open_channel().withdraw(second, first)
    assert back.rows == first.rows and read() == seen, "the run before does not stand again"
    assert open_channel().withdraw(first, None).rows == 0
    assert not read(), "something is there of a day that was withdrawn"
    assert open_channel().deliver(second, again=True).rows == second.rows and read()


def _refuses_older(channel: Channel, older: Parcel) -> None:
    """A channel whose target knows runs refuses one that is older; others leave it to the records."""
    try:
        channel.deliver(older)
    except NotYet:
        return
    assert not getattr(channel, "knows_runs", False), "an older run took the place of a newer one"
