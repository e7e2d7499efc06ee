"""Kinds of deliveries: ours, and by an entry point of the group `nightscore.deliveries` another package's."""

import difflib
from importlib.metadata import EntryPoint, entry_points

from nightscore.common import Broken, Workspace
from nightscore.delivery.connections import address_of
from nightscore.delivery.contract import Channel
from nightscore.job import Delivery, Files, Postgres

GROUP = "nightscore.deliveries"
OURS = ("postgres", "files")


def open_channel(workspace: Workspace, delivery: Delivery) -> Channel:
    """The channel of a delivery.

    Raises:
        Broken: there is no such kind, what it needs is not installed, or its settings are wrong.
    """
    settings: object = delivery.settings
    if isinstance(settings, Postgres):
        try:
            from nightscore.delivery.postgres import PostgresChannel
        except ModuleNotFoundError as error:
            raise Broken(
                f"delivery {delivery.called} needs the extra: pip install 'nightscore[postgres]'"
            ) from error
        return PostgresChannel(settings)
    if isinstance(settings, Files):
        from nightscore.delivery.files import FilesChannel

        return FilesChannel(settings, workspace)
    return _plugged_in(delivery)


def _plugged_in(delivery: Delivery) -> Channel:
    point = _point(delivery.kind)
    try:
        opens = point.load()
        channel: Channel = opens(dict(delivery.settings), address_of)
    except Broken:
        raise
    except Exception as error:  # other people's code
        raise Broken(
            f"delivery {delivery.called}: plug-in {delivery.kind} ({point.value}) can't be opened: "
            f"{type(error).__name__}: {error}"
        ) from error
    return channel


def _point(kind: str) -> EntryPoint:
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if kind in installed:
        return installed[kind]
    allowed = [*OURS, *sorted(installed)]
    near = difflib.get_close_matches(kind, [*allowed, "name", "from", "late"], 1)
    hint = f"did you mean {near[0]}?" if near else f"kinds here: {', '.join(allowed)}"
    raise Broken(f"unknown kind of delivery {kind!r}; {hint}")
