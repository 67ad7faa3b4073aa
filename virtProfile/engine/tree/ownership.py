# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wants a value: writers with their priority, and what is asked besides values."""

from __future__ import annotations

from virtProfile.language.profile import DEFINITION_PRIORITY, MIN_PRIORITY
from virtProfile.result import DEFINITION, Origin
from virtProfile.version import VERSION

#: What the origins of what is taken back say in the place of an action.
WITHDRAW = "withdraw"


class Writer:
    """One action of one selected profile, with the weight it has; each is only itself."""

    __slots__ = ("origin", "priority", "hard", "is_default", "number", "cause")

    def __init__(
        self,
        origin: Origin,
        priority: int,
        hard: bool,
        is_default: bool = False,
        number: int = 0,
        cause: Writer | None = None,
    ) -> None:
        self.origin = origin
        self.priority = priority
        self.hard = hard
        #: judged after everything else, yields to every other writer
        self.is_default = is_default
        #: of the action in its profile: several may stand on one line
        self.number = number
        #: of what is completed: the action whose device needs it; else itself
        self.cause = cause or self

    def __repr__(self) -> str:
        return f"<Writer {self.origin} {self.priority}>"

    @property
    def constraint(self) -> str:
        return "hard" if self.hard else "soft"


#: The owner of everything that the input said.
THE_DEFINITION = Writer(Origin(DEFINITION, "", "", "", 0), DEFINITION_PRIORITY, False)

#: Writes the list and the record of profiles into the metadata: bookkeeping, no change.
BOOKKEEPER = Writer(Origin("virt-profile", "", "record", "", 0), 0, False)
#: In whose name a whole guest is completed: it is the definition's from then on (decision 108).
COMPLETER = Writer(Origin("virt-profile", VERSION, "complete", "--complete", 0), MIN_PRIORITY, False, True)


class _Crowd(list[Writer]):
    """Many owners of one value, as of a controller that thousands of disks need: found by identity.

    :ivar places: of writers in this list and in those that were made of it
    """

    __slots__ = ("places",)
    places: dict[int, int]


#: So many owners are looked through one by one.
_FEW = 16


def joined(owners: list[Writer], writer: Writer) -> list[Writer]:
    """The owners, highest priority first, with one more; the same list where it is one of them.

    The list itself stays as it is.
    """
    if len(owners) < _FEW:
        return owners if writer in owners else sorted([*owners, writer], key=lambda owner: -owner.priority)
    places = (
        owners.places
        if isinstance(owners, _Crowd)
        else {id(owner): place for place, owner in enumerate(owners)}
    )
    place = places.get(id(writer))
    if place is not None and (owners[place : place + 1] == [writer] or writer in owners):
        return owners
    found = _Crowd(owners)
    if owners[-1].priority >= writer.priority:
        places[id(writer)] = len(owners)
        found.append(writer)
        found.places = places
    else:
        found.append(writer)
        found.sort(key=lambda owner: -owner.priority)
        found.places = {id(owner): place for place, owner in enumerate(found)}
    return found


class Asked:
    """What is asked for an element, and who does, highest priority first."""

    __slots__ = ("value", "said", "writers", "lines")

    def __init__(self, value: str, said: str) -> None:
        self.value = value  # without its spelling
        self.said = said
        self.writers: list[Writer] = []
        self.lines: list[int] = []

    def copy(self) -> Asked:
        """The same, with lists of its own."""
        made = Asked(self.value, self.said)
        made.writers, made.lines = list(self.writers), list(self.lines)
        return made
