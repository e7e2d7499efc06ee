"""A part of a job.yaml that is one of several kinds: small classes in one mapping, name to class.

    KINDS: Mapping[str, type[...]] = {"daily": Daily, "exchange": Exchange, ...}
    Schedule = one_of("a schedule", KINDS)

What a new kind needs is its class and its line in the mapping: the JSON Schema, the message for a value of
no kind, and where its mistakes stand follow from them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Union

from pydantic import Discriminator, Tag


class Kind:
    """What a kind has beside its fields, which are the keys of job.yaml (a pydantic model says them)."""

    example: ClassVar[str]  # how it is written, for whoever wrote something of no kind

    @classmethod
    def is_meant(cls, name: str, value: Any) -> bool:
        """Whether a value of job.yaml is of this kind: a mapping with the kind's name among its keys."""
        return isinstance(value, dict) and name in value


def one_of(noun: str, kinds: Mapping[str, type[Kind]]) -> Any:
    """The type of a value that is of one of some kinds, in their order; `noun` is `a schedule`, for messages.

    A mistake of a value is reported as one of its kind, not as one of every kind that it could have been.
    """
    examples = [kind.example for kind in kinds.values()]
    return Annotated[
        Union[tuple(Annotated[kind, Tag(name)] for name, kind in kinds.items())],  # noqa: UP007 - of a tuple
        Discriminator(
            lambda value: _name_of(value, kinds),
            custom_error_type=noun.rsplit(maxsplit=1)[-1],
            custom_error_message=f"{noun} is {', '.join(examples[:-1])} or {examples[-1]}",
        ),
    ]


def _name_of(value: Any, kinds: Mapping[str, type[Kind]]) -> str | None:
    for name, kind in kinds.items():
        if isinstance(value, kind) or kind.is_meant(name, value):
            return name
    return None
