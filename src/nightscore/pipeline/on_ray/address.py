"""Where the head of a Ray cluster is, and whether it answers; ray itself is not used."""

import socket

from nightscore.common import Broken, NightscoreError, NotYet, first_line

ADDRESS, AUTO = "RAY_ADDRESS", "auto"
CONNECT_SECONDS = 5.0


def answers(address: str) -> bool:
    """Whether something listens at HOST:PORT."""
    try:
        _reach(address)
    except OSError:
        return False
    return True


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def unconnected(address: str, error: Exception) -> NightscoreError:
    """What is said where Ray finds no cluster."""
    if address == AUTO:
        return Broken(
            f"--on ray: {ADDRESS} is not set, and this machine is no node of a Ray cluster; set it "
            "(head:6379), or join one: ray start --address=head:6379"
        )
    return NotYet(f"{ADDRESS}={address}: {first_line(error)}")


def refuse_unreachable(address: str) -> None:
    """Ray would try for half a minute, and end the process.

    Raises:
        Broken: the address is none of a cluster's head.
        NotYet: nothing listens there.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        shown = "…" if set(address) & set("@?#") else address  # of what may hold a password
        raise Broken(
            f"{ADDRESS}={shown}: is no address of a cluster's head; allowed: HOST:PORT, as head:6379, or "
            "auto (from a machine outside of the cluster, submit the command as a Ray job)"
        )
    try:
        _reach(address)
    except OSError as error:
        raise NotYet(f"{ADDRESS}={address}: no Ray cluster answers there: {error}") from error
