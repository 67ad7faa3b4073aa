# SPDX-License-Identifier: GPL-2.0-or-later
"""Selection and conditions: the language's sentences on them, one test each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import virtProfile
from virtProfile.errors import (
    CycleError,
    InvalidDomainError,
    MissingContextError,
    NotFoundError,
    ParamError,
    ProfileError,
    ProfileSyntaxError,
    UsageError,
    VersionError,
)
from virtProfile.format.document import VIRTUNED_NS

DOMAIN = """<domain type='kvm'>
  <name>vp</name>
{metadata}  <memory unit='KiB'>1048576</memory>
  <vcpu>4</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <source file='/vp.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    {devices}
  </devices>
</domain>
"""


def domain(devices: str = "", listed: str = "") -> str:
    metadata = ""
    if listed:
        metadata = (
            f"  <metadata>\n    <virtuned:virtuned xmlns:virtuned='{VIRTUNED_NS}'>\n      {listed}\n"
            "    </virtuned:virtuned>\n  </metadata>\n"
        )
    return DOMAIN.format(metadata=metadata, devices=devices)


class Shop:
    """A directory of profiles, and calls on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0

    def put(self, *texts: str) -> Shop:
        for text in texts:
            self.count += 1
            (self.directory / f"p{self.count}.xml").write_text(text)
        return self

    def apply(self, *wishes: Any, xml: str = "", **options: Any) -> virtProfile.Result:
        store = virtProfile.ProfileStore([self.directory], check_owner=False)
        return virtProfile.apply(xml or domain(), wishes, store=store, **options)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


SOUND = "<devices><sound model='ich9'/></devices>"
WATCHDOG = "<devices><watchdog model='i6300esb' action='reset'/></devices>"


def the_list(result: virtProfile.Result) -> str:
    """The list of profiles in the result's metadata."""
    found = re.search(r"<virtuned:virtuned.*?</virtuned:virtuned>", result.xml, re.DOTALL)
    return found.group() if found else ""


def names(result: virtProfile.Result) -> list[str]:
    return [one.name for one in result.applied]


# --- what a condition sees -------------------------------------------------------


def test_when_sees_the_other_actions_of_its_profile(shop: Shop) -> None:
    shop.put(
        f"<profile name='a'><add>{SOUND}</add><add when='devices/sound'>{WATCHDOG}</add></profile>",
        f"<profile name='b'><add when='devices/sound'>{WATCHDOG}</add><add>{SOUND}</add></profile>",
    )
    assert "<watchdog" in shop.apply("a").xml
    assert "<watchdog" in shop.apply("b").xml


def test_when_does_not_see_its_own_action(shop: Shop) -> None:
    shop.put(f"<profile name='a'><add when='not(devices/sound)'>{SOUND}</add></profile>")
    result = shop.apply("a")
    assert "<sound" in result.xml
    assert shop.apply("a", xml=result.xml).xml == result.xml


def test_the_definition_is_as_it_is_without_any_profile(shop: Shop) -> None:
    shop.put(
        "<profile name='more'><add><vcpu>8</vcpu></add></profile>",
        f"<profile name='sound'><add>{SOUND}</add></profile>",
        "<profile name='title'>"
        "<add><title>{$definition/vcpu} of {vcpu}, {count($definition//sound)} of {count(//sound)}</title>"
        "</add></profile>",
    )
    wishes = [{"name": "more", "priority": 150}, "sound", "title"]
    result = shop.apply(*wishes)
    assert "<title>4 of 8, 0 of 1</title>" in result.xml
    assert shop.apply(xml=result.xml).xml == result.xml
    edited = result.xml.replace("<devices>", "<devices><sound model='ac97'/>")
    assert "<title>4 of 8, 1 of 2</title>" in shop.apply(xml=edited).xml


def test_nothing_of_the_definition_can_be_removed_through_its_variable(shop: Shop) -> None:
    shop.put("<profile name='a'><remove select='$definition/devices/disk'/></profile>")
    with pytest.raises(ProfileSyntaxError, match="selects something outside the domain"):
        shop.apply("a")


def test_match_does_not_see_its_own_profile(shop: Shop) -> None:
    shop.put(f"<profile name='a'><match not='yes'>{SOUND}</match><add>{SOUND}</add></profile>")
    assert "<sound" in shop.apply("a").xml


def test_match_relies_on_what_another_profile_brings_in_any_order(shop: Shop) -> None:
    shop.put(
        f"<profile name='a'><match>{SOUND}</match><add>{WATCHDOG}</add></profile>",
        f"<profile name='b'><add>{SOUND}</add></profile>",
    )
    for priority in (-1, 0, 1):
        assert names(shop.apply("a", {"name": "b", "priority": priority})) in (["a", "b"], ["b", "a"])
    assert shop.apply("a").skipped[0].reason == "match"


def test_a_value_that_was_displaced_shows(shop: Shop) -> None:
    shop.put(
        "<profile name='a'><match test='vcpu = 4'/><add multiple='no'><vcpu>2</vcpu></add></profile>",
        "<profile name='b'><add multiple='no' when='vcpu = 4'><vcpu>{vcpu - 1}</vcpu></add></profile>",
    )
    assert "<vcpu>2</vcpu>" in shop.apply({"name": "a", "priority": 100}).xml
    assert "<vcpu>3</vcpu>" in shop.apply({"name": "b", "priority": 100}).xml


RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        # what somebody else's default filled into what the profile made goes with it
        (
            f"<match not='yes'><devices><rng/></devices></match><add><devices>{RNG}</devices></add>",
            "<default><devices><rng><rate bytes='1024'/></rng></devices></default>",
            "<rate bytes='1024'/>",
        ),
        # what has lost to the profile shows where the profile does not count
        (
            "<match test='iothreads = 4'/><add><iothreads>2</iothreads></add>",
            "<add><iothreads>4</iothreads></add>",
            "<iothreads>2</iothreads>",
        ),
        (
            "<match test='iothreads = 4'/><add><iothreads>2</iothreads></add>",
            "<default><iothreads>4</iothreads></default>",
            "<iothreads>2</iothreads>",
        ),
        (
            "<add when='iothreads = 4'><iothreads>2</iothreads></add>",
            "<add><iothreads>4</iothreads></add>",
            "<iothreads>2</iothreads>",
        ),
        (
            "<add><iothreads>{iothreads * 2}</iothreads></add>",
            "<add><iothreads>4</iothreads></add>",
            "<iothreads>8</iothreads>",
        ),
        (
            "<match test='iothreads'/><remove><iothreads/></remove><add><title>gone</title></add>",
            "<add><iothreads>4</iothreads></add>",
            "<title>gone</title>",
        ),
        (
            "<match test='iothreads'/><remove select='iothreads'/><add><title>gone</title></add>",
            "<default><iothreads>4</iothreads></default>",
            "<title>gone</title>",
        ),
    ],
)
def test_what_others_would_make_shows(shop: Shop, mine: str, theirs: str, wanted: str) -> None:
    shop.put(f"<profile name='a'>{mine}</profile>", f"<profile name='b'>{theirs}</profile>")
    result = shop.apply({"name": "a", "priority": 5}, "b", record=False)
    assert names(result) == ["a", "b"]
    assert wanted in result.xml
    assert wanted.startswith("<iothreads") or "<iothreads" not in result.xml


def test_of_two_that_exclude_each_other_the_higher_stays(shop: Shop) -> None:
    shop.put(
        f"<profile name='a'><match not='yes'>{WATCHDOG}</match><add>{SOUND}</add></profile>",
        f"<profile name='b'><match not='yes'>{SOUND}</match><add>{WATCHDOG}</add></profile>",
    )
    assert names(shop.apply("a", {"name": "b", "priority": 1})) == ["b"]
    assert names(shop.apply({"name": "a", "priority": 1}, "b")) == ["a"]


def test_a_cycle_names_who_flips_with_fixes_that_help(shop: Shop) -> None:
    shop.put(
        f"<profile name='a'><match not='yes'>{WATCHDOG}</match><add>{SOUND}</add></profile>",
        f"<profile name='b'><match not='yes'>{SOUND}</match><add>{WATCHDOG}</add></profile>",
        "<profile name='c'><add><iothreads>1</iothreads></add></profile>",
    )
    with pytest.raises(CycleError) as caught:
        shop.apply("a", "b", "c")
    error = caught.value
    assert error.code == "cycle" and error.exit_status == 3
    (conflict,) = error.conflicts
    assert conflict.path == ""
    assert [side.value for side in conflict.values] == ["a", "b"]
    assert conflict.fixes
    for fix in conflict.fixes:
        name, _, priority = fix.removeprefix("--profile ").partition(",priority=")
        wishes = [{"name": one, "priority": int(priority) if one == name else 0} for one in ("a", "b", "c")]
        assert shop.apply(*wishes).changed


def test_a_cycle_of_three_names_all_three(shop: Shop) -> None:
    shop.put(
        "<profile name='a'><match test=\"not(title = 'c') and not(title = 'b')\"/>"
        "<add><iothreads>1</iothreads></add></profile>",
        "<profile name='b'><match test='iothreads'/><add><title>b</title></add></profile>",
    )
    with pytest.raises(CycleError) as caught:
        shop.apply("a", "b")
    assert [side.value for side in caught.value.conflicts[0].values] == ["a", "b"]


def test_test_and_not_and_several_matches(shop: Shop) -> None:
    shop.put(
        "<profile name='a'><match test='vcpu = 4' not='yes'/><add><title>a</title></add></profile>",
        "<profile name='b'><match test='vcpu = 4'/><match test='vcpu = 5'/><add><title>b</title></add></profile>",
        "<profile name='c'><match test='vcpu = 4'/><match test='name'/><add><title>c</title></add></profile>",
    )
    assert names(shop.apply("a", "b", "c")) == ["c"]


def test_two_equal_siblings_of_a_match_need_two(shop: Shop) -> None:
    disk = "<disk device='disk'/>"
    shop.put(f"<profile name='a'><match><devices>{disk}{disk}</devices></match><add>{SOUND}</add></profile>")
    assert not shop.apply("a").changed
    second = "<disk type='file' device='disk'><target dev='vdb' bus='virtio'/></disk>"
    assert shop.apply("a", xml=domain(second)).changed


# --- values ----------------------------------------------------------------------


def test_braces_and_several_expressions(shop: Shop) -> None:
    shop.put(
        "<profile name='a'><add><title>{{{vcpu}}} of {name} {vp:if(vcpu &gt; 3, 'a}b', '{')}</title></add></profile>"
    )
    assert "<title>{4} of vp a}b</title>" in shop.apply("a").xml


def test_an_expression_is_judged_in_the_last_round_only(shop: Shop) -> None:
    shop.put(
        "<profile name='a'><add><title>{iothreads}</title></add></profile>",
        "<profile name='b'><add><iothreads>7</iothreads></add></profile>",
    )
    for priority in (-1, 0, 1):
        result = shop.apply("a", {"name": "b", "priority": priority})
        assert "<title>7</title>" in result.xml
    with pytest.raises(ProfileSyntaxError, match=r"'\{iothreads\}' selects nothing") as caught:
        shop.apply("a")
    assert caught.value.where.endswith("p1.xml:1")


# --- params ----------------------------------------------------------------------

PARAMS = """<profile name='p'>
  <param name='n' type='int' default='2'/>
  <param name='s' type='size' default='1 MiB'/>
  <param name='b' type='bool' default='no'/>
  <param name='t'/>
  <add><title>{$n + 1} {$s} {vp:if($b, 'yes!', 'no!')} {$t}</title></add>
</profile>"""


def test_params_have_types(shop: Shop) -> None:
    shop.put(PARAMS)
    assert "<title>3 1024 no! x</title>" in shop.apply({"name": "p", "params": {"t": "x"}}).xml
    given = {"n": "5", "s": "1025 b", "b": "yes", "t": "y"}
    assert "<title>6 2 yes! y</title>" in shop.apply({"name": "p", "params": given}).xml


def test_everything_wrong_with_params_at_once(shop: Shop) -> None:
    shop.put(PARAMS)
    with pytest.raises(ParamError) as caught:
        shop.apply({"name": "p", "params": {"n": "many", "b": "maybe", "x": "1"}})
    told = [str(one) for one in (caught.value, *caught.value.others)]
    assert len(told) == 4
    for fact in ("has no param 'x'", "needs its param 't'", "n='many' is not of type int", "b='maybe'"):
        assert any(fact in one for one in told), fact


def test_the_entry_says_what_the_caller_does_not(shop: Shop) -> None:
    shop.put(PARAMS, "<profile name='p' version='1.5'><add><title>new</title></add></profile>")
    listed = (
        "<virtuned:profile name='p' priority='7' version='0'>"
        "<virtuned:param name='t'>z</virtuned:param></virtuned:profile>"
    )
    result = shop.apply({"name": "p", "params": {"n": "8"}}, xml=domain(listed=listed))
    assert "<title>9 1024 no! z</title>" in result.xml
    assert (result.applied[0].priority, result.applied[0].version) == (7, "0")
    assert result.applied[0].source == "caller"


# --- unknown context -------------------------------------------------------------


@pytest.mark.parametrize(
    ("unknown", "outcome"),
    [("", "error"), ("unknown='error'", "error"), ("unknown='skip'", False), ("unknown='apply'", True)],
)
def test_an_unknown_condition(shop: Shop, unknown: str, outcome: Any) -> None:
    supported = "vp:supports('graphics')"
    shop.put(
        f'<profile name="m"><match test="{supported}" {unknown}/><add>{SOUND}</add></profile>',
        f'<profile name="n"><match test="{supported}" not="yes" {unknown}/><add>{SOUND}</add></profile>',
        f'<profile name="w"><add when="{supported}" {unknown}>{SOUND}</add></profile>',
    )
    for name in ("m", "n", "w"):
        if outcome == "error":
            with pytest.raises(MissingContextError, match="domain capabilities are not known"):
                shop.apply(name)
        else:
            result = shop.apply(name)
            assert result.changed is outcome
            assert bool(result.skipped) == (not outcome and name != "w")


def test_an_unknown_value_knows_error_and_skip_only(shop: Shop) -> None:
    for name, unknown in (("e", ""), ("a", "unknown='apply'"), ("s", "unknown='skip'")):
        shop.put(f"<profile name='{name}'><add {unknown}><title>{{vp:os-id()}}</title></add></profile>")
    assert not shop.apply("s").changed
    for name in ("e", "a"):
        with pytest.raises(MissingContextError, match="the guest OS is not known"):
            shop.apply(name)


def test_an_unknown_selection(shop: Shop) -> None:
    select = "devices/disk[vp:os-supports('usb3')]"
    shop.put(
        f'<profile name="e"><remove select="{select}"/></profile>',
        f'<profile name="s"><remove select="{select}" unknown="skip"/></profile>',
    )
    assert not shop.apply({"name": "s", "priority": 100}).changed
    with pytest.raises(MissingContextError):
        shop.apply({"name": "e", "priority": 100})


# --- select ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "fact"),
    [
        ("1 + 1", "gives a value"),
        (".", "is the domain itself"),
        ("*", "selects metadata"),
        ("//*[@name]", "selects metadata"),
        ("$host", "selects something outside the domain"),
    ],
)
def test_what_cannot_be_selected(shop: Shop, select: str, fact: str) -> None:
    shop.put(f"<profile name='s'><remove select='{select}'/></profile>")
    context = virtProfile.Context(capabilities=("<capabilities><host/></capabilities>",))
    listed = "<virtuned:profile name='s' priority='100'/>"
    with pytest.raises(ProfileSyntaxError, match=fact):
        shop.apply(xml=domain(listed=listed), context=context)


def test_select_takes_attributes_texts_and_elements_only(shop: Shop) -> None:
    shop.put(
        "<profile name='a'><remove select='devices/disk/target/@bus'/></profile>",
        "<profile name='b'><remove select='devices/text() | description/text()'/></profile>",
    )
    result = shop.apply({"name": "a", "priority": 100})
    assert [one.path for one in result.changes if one.op == "remove"][0].endswith("@bus")
    assert "<target dev='vda'/>" in result.xml
    xml = domain().replace("  <memory", "  <description>vp</description>\n  <memory")
    result = shop.apply({"name": "b", "priority": 100}, xml=xml)
    assert "<disk type='file'" in result.xml and "<description></description>" in result.xml


# --- who asks --------------------------------------------------------------------


def test_versions(shop: Shop) -> None:
    for version in ("1.9", "1.10", "2.0", "1.2"):
        shop.put(f"<profile name='v' version='{version}'><add><title>{version}</title></add></profile>")
    assert "<title>2.0</title>" in shop.apply("v").xml
    assert "<title>1.10</title>" in shop.apply({"name": "v", "version": "1"}).xml
    assert "<title>1.2</title>" in shop.apply({"name": "v", "version": "1.2"}).xml
    with pytest.raises(VersionError) as caught:
        shop.apply({"name": "v", "version": "3"})
    assert caught.value.hint.startswith("there is 2.0, 1.10, 1.9, 1.2; searched: ")
    assert " version='1'" in the_list(
        shop.apply({"name": "v", "version": "1"})
    )  # the wish, not what it led to
    assert "name='v'/>" in the_list(shop.apply("v"))


def test_required_versions_hold(shop: Shop) -> None:
    shop.put(
        "<profile name='v' version='1.0'><add><title>1</title></add></profile>",
        "<profile name='v' version='2.0'><add><title>2</title></add></profile>",
        "<profile name='a'><requires profile='v' version='1'/></profile>",
        "<profile name='b'><requires profile='v' version='2'/></profile>",
    )
    assert "<title>1</title>" in shop.apply("a").xml
    for wishes in (("a", "b"), ("b", "a"), ("a", "v"), ("a", {"name": "v", "version": "2"})):
        with pytest.raises(VersionError, match="requires 'v' version"):
            shop.apply(*wishes)
    assert "<title>1</title>" in shop.apply("a", {"name": "v", "version": "1"}).xml


def test_requires_takes_the_priority_and_the_highest_of_several(shop: Shop) -> None:
    shop.put(
        "<profile name='c'><add><title>c</title></add></profile>",
        "<profile name='a'><requires profile='c'/></profile>",
        "<profile name='b'><requires profile='c'/></profile>",
    )
    result = shop.apply({"name": "a", "priority": 5}, {"name": "b", "priority": 9})
    assert [(one.name, one.priority, one.source) for one in result.applied] == [
        ("b", 9, "caller"),
        ("c", 9, "requires"),
        ("a", 5, "caller"),
    ]
    result = shop.apply("a", xml=domain(listed="<virtuned:profile name='c' priority='3'/>"))
    assert ("c", 3, "metadata") in [(one.name, one.priority, one.source) for one in result.applied]
    assert "name='b'" not in the_list(result)
    assert "name='c'" not in the_list(shop.apply("a", "b"))


def test_a_required_profile_that_does_not_match_is_skipped_alone(shop: Shop) -> None:
    shop.put(
        "<profile name='c'><match test='vcpu = 1'/><add><title>c</title></add></profile>",
        f"<profile name='a'><requires profile='c'/><add>{SOUND}</add></profile>",
    )
    result = shop.apply("a")
    assert names(result) == ["a"] and [one.name for one in result.skipped] == ["c"]


def test_requires_of_a_missing_profile(shop: Shop) -> None:
    shop.put("<profile name='a'>\n<requires profile='soond'/></profile>", "<profile name='sound'/>")
    with pytest.raises(ProfileError) as caught:
        shop.apply("a")
    assert caught.value.code == "not-found"
    assert "profile 'a' requires 'soond'" in caught.value.message
    assert "'sound'" in caught.value.hint
    assert caught.value.where.endswith("p1.xml:2")


def test_conflicts_are_judged_on_the_final_selection(shop: Shop) -> None:
    shop.put(
        f"<profile name='a'><conflicts profile='b'/><add>{SOUND}</add></profile>",
        "<profile name='b'><match test='vcpu = 1'/><add><title>b</title></add></profile>",
    )
    assert names(shop.apply("a", "b")) == ["a"]  # b does not match
    with pytest.raises(ProfileError) as caught:
        shop.apply("a", "b", xml=domain().replace("<vcpu>4", "<vcpu>1"))
    assert (caught.value.code, caught.value.exit_status) == ("conflict", 3)


def test_exclude(shop: Shop) -> None:
    shop.put(
        f"<profile name='a'><requires profile='b'/><add>{SOUND}</add></profile>",
        "<profile name='b'><add><title>b</title></add></profile>",
        f"<profile name='c' autoselect='yes'><match test='vcpu'/><add>{WATCHDOG}</add></profile>",
    )
    xml = domain(
        listed="<virtuned:profile name='b' exclude='yes' priority='4'/><virtuned:profile name='c' exclude='yes'/>"
    )
    result = shop.apply("a", xml=xml, auto=True)
    assert not result.applied
    assert [(one.name, one.reason) for one in result.skipped] == [("a", "requires"), ("c", "excluded")]
    assert "'b'" in result.skipped[0].detail
    with pytest.raises(UsageError) as caught:
        shop.apply("b", xml=xml)
    assert "b,include=yes" in caught.value.hint
    result = shop.apply({"name": "b", "include": True}, "a", xml=xml)
    assert names(result) == ["b", "a"]
    assert result.applied[0].priority == 4  # what the caller does not say is taken from the entry
    assert "name='b' priority='4'/>" in the_list(result)


def test_replaced_by(shop: Shop) -> None:
    shop.put(
        "<profile name='old' replaced-by='new'/>",
        "<profile name='new'><param name='pw' secret='yes' default=''/><add><title>n</title></add></profile>",
    )
    result = shop.apply({"name": "old", "params": {"pw": "hush"}})
    assert names(result) == ["new"]
    assert [one.code for one in result.warnings] == ["replaced"]
    assert "hush" not in result.xml
    with pytest.raises(UsageError, match="both profile 'new'"):
        shop.apply("old", {"name": "new", "priority": 3})
    # The caller goes before the metadata, under whatever name.
    result = shop.apply({"name": "old", "priority": 3}, xml=domain(listed="<virtuned:profile name='new'/>"))
    assert [(one.name, one.priority, one.source) for one in result.applied] == [("new", 3, "caller")]
    excluded = domain(listed="<virtuned:profile name='new' exclude='yes'/>")
    with pytest.raises(UsageError):
        shop.apply("old", xml=excluded)
    result = shop.apply(xml=domain(listed="<virtuned:profile name='old'/>"))
    assert names(result) == ["new"]
    shop.put("<profile name='needs' autoselect='yes'><requires profile='old'/><match test='vcpu'/></profile>")
    result = shop.apply(xml=domain(listed="<virtuned:profile name='old' exclude='yes'/>"), auto=True)
    assert names(result) == [] and result.skipped[0].name == "needs"  # out with its other name too
    shop.put("<profile name='w' replaced-by='nobody'/>")
    with pytest.raises(NotFoundError, match="'w' is replaced by 'nobody': no profile 'nobody'"):
        shop.apply("w")
    shop.put("<profile name='x' replaced-by='y'/>", "<profile name='y' replaced-by='x'/>")
    with pytest.raises(ProfileSyntaxError, match="a cycle: x -> y -> x"):
        shop.apply("x")


def test_autoselect_only_with_auto_and_a_match(shop: Shop) -> None:
    shop.put(
        f"<profile name='a' autoselect='yes' priority='7'><match test='vcpu &gt; 2'/><add>{SOUND}</add></profile>",
        "<profile name='b' autoselect='yes'><match test='vcpu &gt; 9'/><add><title>b</title></add></profile>",
        "<profile name='c' autoselect='yes'><add><title>c</title></add></profile>",
    )
    assert shop.apply().xml == domain()
    result = shop.apply(auto=True)
    assert [(one.name, one.priority, one.source) for one in result.applied] == [("a", 7, "auto")]
    assert not the_list(result)


def test_an_entry_stands_once(shop: Shop) -> None:
    shop.put("<profile name='a'/>")
    with pytest.raises(InvalidDomainError, match="has 'a' twice"):
        shop.apply(xml=domain(listed="<virtuned:profile name='a'/><virtuned:profile name='a' priority='3'/>"))


def test_override_is_for_those_that_name_no_priority(shop: Shop) -> None:
    shop.put("<profile name='a'/>", "<profile name='b'/>", "<profile name='c'/>")
    listed = "<virtuned:profile name='b' priority='3'/><virtuned:profile name='c'/>"
    result = shop.apply({"name": "a", "priority": 5}, "b", xml=domain(listed=listed), override=True)
    assert {one.name: one.priority for one in result.applied} == {"a": 5, "b": 100, "c": 0}


# --- drop-ins --------------------------------------------------------------------


def test_drop_ins_extend_in_order_from_every_directory(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first / "a.d", second / "a.d"):
        directory.mkdir(parents=True)
    (second / "a.xml").write_text(
        "<profiles><profile name='a' version='1'><param name='n' default='x'/><add><title>{$n}</title></add></profile>"
        "<profile name='a' version='2'><param name='n' default='x'/><add><title>{$n}</title></add></profile></profiles>"
    )
    plain = virtProfile.ProfileStore([second], check_owner=False).get("a").digest
    (second / "a.d" / "20-late.xml").write_text(
        "<profile xmlns:m='http://example.org/m'>\n\n"
        "<add when='not(metadata/m:x)'><description>{$n} {iothreads}</description></add></profile>"
    )
    (first / "a.d" / "10-early.xml").write_text(
        "<profile><param name='n' default='y'/><add><iothreads>3</iothreads></add></profile>"
    )
    store = virtProfile.ProfileStore([first, second], check_owner=False)
    for version in ("1", "2"):
        result = virtProfile.apply(domain(), [{"name": "a", "version": version}], store=store)
        assert "<title>y</title>" in result.xml
        assert "<description>y 3</description>" in result.xml
    assert store.get("a").digest != plain
    (first / "a.d" / "10-early.xml").write_text("<profile/>")
    with pytest.raises(ProfileSyntaxError, match="selects nothing") as caught:
        virtProfile.apply(domain(), ["a"], store=store)
    assert caught.value.where == f"{second / 'a.d' / '20-late.xml'}:3"
    (first / "a.d" / "10-early.xml").write_text("<profile><match test='vcpu'/></profile>")
    with pytest.raises(ProfileSyntaxError, match="<match> in a drop-in"):
        virtProfile.apply(domain(), ["a"], store=store)


def test_an_earlier_directory_replaces_the_same_version(tmp_path: Path) -> None:
    for name, title in (("first", "mine"), ("second", "theirs")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.xml").write_text(
            f"<profile name='a' version='1'><add><title>{title}</title></add></profile>"
        )
    store = virtProfile.ProfileStore([tmp_path / "first", tmp_path / "second"], check_owner=False)
    assert "<title>mine</title>" in virtProfile.apply(domain(), ["a"], store=store).xml
    assert [(Path(one.directory).name, one.shadowed) for one in store.listing()] == [
        ("first", False),
        ("second", True),
    ]
