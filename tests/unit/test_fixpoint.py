# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixpoint: which profiles apply in the end, and what it says where none is stable."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from staging import BASE_SCHEMA, tree_of, written
from strategies import MemoryStore

from virtProfile.engine.selection.conditions import Conditions
from virtProfile.engine.selection.fixpoint import Fixpoint, State
from virtProfile.engine.selection.selector import Selector
from virtProfile.errors import CycleError, ProfileError
from virtProfile.host.context import Context
from virtProfile.language.requests import Request


class Completion:
    """Stands in for the completion of a whole guest, after which no mask is exact."""

    whole = True

    @staticmethod
    def run(*_: object) -> None:
        """Completes nothing."""


def fixpoint_of(
    profiles: Sequence[str],
    priorities: Sequence[int],
    body: str = "",
    whole: bool = False,
    asked: Sequence[str] | None = None,
) -> Fixpoint:
    """A fixpoint of profiles a, b, c, … with these contents and priorities.

    :param whole: judge by rendering again instead of by masks
    :param asked: which of them the caller asks for; all
    """
    names = "abcdef"[: len(profiles)]
    texts = [
        f"<profile name='{name}' version='1'>{text}</profile>"
        for name, text in zip(names, profiles, strict=True)
    ]
    requests = [
        Request(name, None, priority)
        for name, priority in zip(names, priorities, strict=True)
        if asked is None or name in asked
    ]
    tree = tree_of(body)
    conditions = Conditions(BASE_SCHEMA, Context(), tree.document)
    selector = Selector(MemoryStore(texts), requests, [])
    return Fixpoint(tree, selector, conditions, Completion() if whole else None)


def stable(fixpoint: Fixpoint) -> State:
    state = fixpoint.run()
    assert state is not None, f"these flip: {fixpoint.flipping}"
    return state


TITLE = "<add><title>t</title></add>"
DESCRIPTION = "<add><description>d</description></add>"


def match(test: str, more: str = "") -> str:
    return f'<match test="{test}" {more}/>'


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("body", "profiles", "priorities", "selected"),
    [
        ("", [TITLE], [0], "a"),
        # a condition on the definition
        ("<title>x</title>", [match("title") + DESCRIPTION], [0], "a"),
        ("", [match("title") + DESCRIPTION], [0], ""),
        ("", [match("title", "not='yes'") + DESCRIPTION], [0], "a"),
        # a condition on what another profile makes, of any priority
        ("", [TITLE, match("title") + DESCRIPTION], [10, 5], "ab"),
        ("", [TITLE, match("title") + DESCRIPTION], [5, 10], "ab"),
        ("", [TITLE, match("title") + DESCRIPTION], [5, 5], "ab"),
        # over two steps
        (
            "",
            [TITLE, match("title") + DESCRIPTION, match("description") + "<add><cpu mode='maximum'/></add>"],
            [0, 5, 10],
            "abc",
        ),
        # a profile does not see what it makes itself
        ("", [match("title", "not='yes'") + TITLE], [0], "a"),
        ("", [match("title") + TITLE], [0], ""),
        # but what another one makes with it
        ("", [match("title") + TITLE, TITLE], [0, 5], "ab"),
        # of two that keep each other out the higher priority applies
        (
            "",
            [
                match("description", "not='yes'") + TITLE,
                match("title", "not='yes'") + DESCRIPTION,
            ],
            [10, 5],
            "a",
        ),
        # a profile sees what lost to it
        ("", [match("title = 'u'") + TITLE, "<add><title>u</title></add>"], [10, 5], "ab"),
    ],
)
def test_which_profiles_apply(
    whole: bool, body: str, profiles: list[str], priorities: list[int], selected: str
) -> None:
    state = stable(fixpoint_of(profiles, priorities, body, whole))
    assert "".join(sorted(state.selected)) == selected


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("profiles", "result"),
    [
        # a condition of an action, on what another profile makes
        ([TITLE, "<add when='title'><description>d</description></add>"], "<title>t</title><description>d</description>"),
        (["<add when='title'><description>d</description></add>"], ""),
        # an expression in a value
        ([TITLE, "<add><description>{title}!</description></add>"], "<title>t</title><description>t!</description>"),
        # an action does not see what it makes, other actions of its profile do
        (["<add when='not(title)'><title>t</title></add>"], "<title>t</title>"),
        ([TITLE + "<add when='title'><description>d</description></add>"], "<title>t</title><description>d</description>"),
    ],
)  # fmt: skip
def test_actions_with_conditions(whole: bool, profiles: list[str], result: str) -> None:
    fixpoint = fixpoint_of(profiles, [10, 5][: len(profiles)], whole=whole)
    stable(fixpoint)
    assert "".join(written(fixpoint.tree).split()) == result


@pytest.mark.parametrize(
    ("profiles", "asked", "selected"),
    [
        (["<requires profile='b'/>" + TITLE, DESCRIPTION], "a", "ab"),
        # who does not apply requires nothing
        ([match("cpu") + "<requires profile='b'/>", DESCRIPTION], "a", ""),
        ([TITLE, DESCRIPTION], "a", "a"),
        # ... nor does who applied in an earlier round only
        ([match("title", "not='yes'") + "<requires profile='b'/>", DESCRIPTION, TITLE], "ac", "c"),
    ],
)
def test_what_is_required_applies(profiles: list[str], asked: str, selected: str) -> None:
    state = stable(fixpoint_of(profiles, [10, 7, 5][: len(profiles)], asked=asked))
    assert "".join(sorted(state.selected)) == selected


def test_what_the_outcome_says() -> None:
    """The order of the selected profiles, and why the others do not apply."""
    profiles = [match("cpu") + TITLE, DESCRIPTION, TITLE, TITLE]
    fixpoint = fixpoint_of(profiles, [5, 5, 10, 5])
    selection = fixpoint.selection(stable(fixpoint))
    assert [one.name for one in selection.selected] == ["c", "b", "d"]
    assert [(one.name, one.reason, one.detail) for one in selection.skipped] == [
        ("a", "match", "its <match> at p1.xml:1 does not hold: there is no cpu")
    ]


OS_UNKNOWN = "the guest OS is not known, which "


@pytest.mark.parametrize(
    ("profiles", "messages"),
    [
        # in a condition of a profile
        ([match("vp:os-id() = 'x'") + TITLE], [OS_UNKNOWN + "'vp:os-id() = 'x'' needs"]),
        # ... of an action, and in a value
        (["<add when='vp:os-id()'><title>a</title></add>"], [OS_UNKNOWN + "'vp:os-id()' needs"]),
        (["<add><title>{vp:os-id()}</title></add>"], [OS_UNKNOWN + "'vp:os-id()' needs"]),
        # a profile whose params are wrong has one error, whatever it says with them
        (
            ["<param name='x' type='int'/><add><title>{$x}</title></add>"],
            ["profile 'a' needs its param 'x'"],
        ),
        # all at once, each profile's
        (
            [match("vp:os-id()"), match("vp:machine('pc')")],
            [
                OS_UNKNOWN + "'vp:os-id()' needs",
                "the machine type is not known, which 'vp:machine('pc')' needs",
            ],
        ),
    ],
)
def test_errors_of_conditions(profiles: list[str], messages: list[str]) -> None:
    fixpoint = fixpoint_of(profiles, [5] * len(profiles))
    state = stable(fixpoint)
    with pytest.raises(ProfileError) as caught:
        fixpoint.selection(state)
    problem = caught.value
    assert [one.message for one in (problem, *problem.others)] == messages


@pytest.mark.parametrize(
    ("profile", "selected", "result"),
    [
        (match("vp:os-id()", "unknown='skip'") + TITLE, "", ""),
        (match("vp:os-id()", "unknown='apply'") + TITLE, "a", "<title>t</title>"),
        ("<add when='vp:os-id()' unknown='skip'><title>t</title></add>", "a", ""),
        ("<add when='vp:os-id()' unknown='apply'><title>t</title></add>", "a", "<title>t</title>"),
    ],
)
def test_what_is_unknown_and_no_error(profile: str, selected: str, result: str) -> None:
    fixpoint = fixpoint_of([profile], [5])
    selection = fixpoint.selection(stable(fixpoint))
    assert "".join(one.name for one in selection.selected) == selected
    assert written(fixpoint.tree) == result


NOT_EACH_OTHER = [
    match("description", "not='yes'") + TITLE,
    match("title", "not='yes'") + DESCRIPTION,
]


@pytest.mark.parametrize("whole", [False, True])
def test_no_stable_selection(whole: bool) -> None:
    """Two of equal priority that keep each other out: no order is right, and a step of priority is."""
    fixpoint = fixpoint_of(NOT_EACH_OTHER, [5, 5], whole=whole)
    assert fixpoint.run() is None
    assert fixpoint.flipping == ["a", "b"]
    problem = fixpoint.unstable()
    assert isinstance(problem, CycleError)
    assert [one.value for one in problem.conflicts[0].values] == ["a", "b"]
    each = [f"--profile {name},priority={priority}" for name in "ab" for priority in (6, 4)]
    assert problem.conflicts[0].fixes == tuple(each)


def test_a_profile_that_ends_its_own_condition_through_another() -> None:
    """b holds while a's title is there, and takes from a what it applies for."""
    fixpoint = fixpoint_of([match("description", "not='yes'") + TITLE, match("title") + DESCRIPTION], [5, 10])
    assert fixpoint.run() is None
    assert fixpoint.flipping == ["a", "b"]
    problem = fixpoint.unstable()
    assert problem.conflicts[0].fixes == ()
    assert problem.hint == "change their conditions, which exclude each other"


def test_the_next_run_starts_anew() -> None:
    fixpoint = fixpoint_of(NOT_EACH_OTHER, [5, 5])
    assert fixpoint.run() is None
    state = fixpoint.run({"b": 6})
    assert state is not None
    assert list(state.selected) == ["b"]
    assert written(fixpoint.tree) == "<description>d</description>"


@pytest.mark.parametrize(
    ("profiles", "pairs"),
    [
        ([TITLE, "<conflicts profile='a'/>"], [["a", "b"]]),
        # each says it of the other: one conflict
        (["<conflicts profile='b'/>", "<conflicts profile='a'/>"], [["a", "b"]]),
        ([TITLE, "<conflicts profile='a' version='2'/>"], []),
        ([TITLE, match("cpu") + "<conflicts profile='a'/>"], []),
        ([TITLE, DESCRIPTION], []),
    ],
)
def test_profiles_that_do_not_go_together(profiles: list[str], pairs: list[list[str]]) -> None:
    fixpoint = fixpoint_of(profiles, [5] * len(profiles))
    clashes = fixpoint.clashes(stable(fixpoint))
    assert [[side.value for side in one.values] for one in clashes] == pairs


def test_what_clashes_all_the_while_is_the_reason() -> None:
    """Where profiles flip while two that exclude each other stand, their conflict is the error."""
    fixpoint = fixpoint_of(
        [*NOT_EACH_OTHER, "<conflicts profile='d'/>", "<add><cpu mode='maximum'/></add>"], [5, 5, 50, 50]
    )
    assert fixpoint.run() is None
    problem = fixpoint.unstable()
    assert [[side.value for side in one.values] for one in problem.conflicts] == [["c", "d"]]


@pytest.mark.parametrize("whole", [False, True])
def test_what_a_skipped_profile_required_leaves_the_tree(whole: bool) -> None:
    """b applies in the first round and brings c; a then keeps b out, and nobody asks for c any more."""
    fixpoint = fixpoint_of(
        [TITLE, match("not(title)") + "<requires profile='c'/>", DESCRIPTION],
        [0, 0, 0],
        whole=whole,
        asked="ab",
    )
    state = stable(fixpoint)
    assert set(state.selected) == {"a"}
    assert "<description>" not in written(fixpoint.tree)
