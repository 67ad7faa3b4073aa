# SPDX-License-Identifier: GPL-2.0-or-later
"""What expressions may cost: bounded by what they examine, texts included, before they are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from lxml import etree

import virtProfile
from virtProfile.errors import PolicyError, ProfileError, ProfileSyntaxError, UsageError
from virtProfile.host.context import Context
from virtProfile.language.expression import Environment, compile_expression
from virtProfile.language.place import At
from virtProfile.language.xpath import parse_xpath
from virtProfile.language.xpath_budget import MAX_TOTAL, Budget
from virtProfile.language.xpath_cost import MAX_STEPS, Size, steps_of
from virtProfile.service.handlers import _SIMPLE_PATH

TEXT = "x" * 1_500_000
DISKS = "".join(
    f"<disk type='file'><source file='/i/{n}'/><target dev='vd{n}' bus='virtio'/></disk>" for n in range(300)
)
LARGE = (
    f"<domain type='kvm'><name>x</name><description>{TEXT}</description><memory>1024</memory>"
    f"<vcpu>2</vcpu><os><type>hvm</type></os><devices>{DISKS}</devices></domain>"
)
TEN_ALL = f"concat({','.join(['string(/)'] * 10)})"
TOO_MUCH = {
    "contains": "count(devices/disk[count(/domain/devices/disk[contains(string(/),'zz')])>0])>0",
    "concat": f"string-length(concat({','.join(['string(/)'] * 95)})) > 0",
    "nested concat": f"string-length(concat({','.join([TEN_ALL] * 10)})) > 0",
    "translate": "translate(/, string(/), string(/)) = ''",
    "needle": f"contains(/, '{'x' * 1000}b')",
    "needle of the document": "contains(string(/), description)",
    "context": "devices/disk[contains(/, 'y')]",
    "without argument": "devices/disk/ancestor::domain[string-length() > 1] and devices/disk[number(..)]",
    "pairs": "//node()[.//node() = //node()]",
    "numbers": "sum(//node()[string() > number(/)])",
    "declarations": "count(devices/disk/namespace::*)",
    "names": "devices/disk[../disk[../disk]]",
    "choice": f"vp:if(vcpu, {TEN_ALL}, 'a') = vp:if(vcpu, 'a', {TEN_ALL})",
}


def environment() -> Environment:
    return Environment({}, Context())


def compiled(text: str):  # type: ignore[no-untyped-def]
    return compile_expression(text, file="p.xml", line=1)


@pytest.mark.parametrize("name", TOO_MUCH)
def test_is_refused_before_it_is_evaluated(name: str) -> None:
    root = etree.fromstring(LARGE)
    try:
        expression = compiled(TOO_MUCH[name])
    except ProfileSyntaxError as problem:
        assert "//" in problem.message or "'//'" in problem.hint or "'namespace'" in problem.message
        return
    with pytest.raises(ProfileSyntaxError, match="would examine about"):
        expression.test(root, environment())


ALLOWED = [
    "devices/disk/target/@bus = 'virtio'",
    "count(devices/disk[target/@bus = 'virtio']) > 4",
    "not(devices/disk[contains(source/@file, 'qcow2')])",
    "devices/disk[substring-before(source/@file, '/') = '']",
    "string-length(description) > 10",
    "vp:if(vcpu > 1, devices/disk, devices/interface)/target/@dev = 'vd7'",
    "devices/disk/driver[not(@cache)]/../target/@dev = 'vd1'",
    "translate(devices/disk[1]/target/@dev, 'vd', 'sd') = 'sd0'",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_what_examines_little_is_evaluated_on_a_large_document(text: str) -> None:
    compiled(text).test(etree.fromstring(LARGE), environment())


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("string(description)", 1_500_000),
        ("concat(description, description)", 3_000_000),
        ("string-length(concat(description, concat(description, description)))", 9_000_000),
        ("normalize-space()", 1_500_000),
        ("description = 'a'", 1_500_000),
        ("vcpu + 1", 0),
        ("count(description)", 0),
    ],
)
def test_a_text_costs_its_length(text: str, steps: int) -> None:
    bound = steps_of(parse_xpath(text), Size.measured(etree.fromstring(LARGE)), Size(1, 1))
    assert steps / 2 <= bound <= 1.5 * steps + 5000


@pytest.mark.parametrize(
    "text",
    [
        "devices/disk/@*//parent::comment()",
        "devices/disk/@*/descendant-or-self::node()",
        "devices/disk/@*/ancestor-or-self::node()",
        "//@*//@*",
    ],
)
def test_attributes_that_a_step_starts_at_are_compared_in_pairs(text: str) -> None:
    """With 80,000 attributes libxml2 takes half a minute for each."""
    attributes = " ".join(f"a{number}=''" for number in range(100))
    root = etree.fromstring(f"<domain><devices>{f'<disk {attributes}/>' * 40}</devices></domain>")
    assert steps_of(parse_xpath(text), Size.measured(root), Size(1, 1)) > 4000**2


def test_sizes_are_those_of_the_document() -> None:
    size = Size.measured(etree.fromstring("<domain><a x='12'>3<!--c--><b>45</b>6</a><a>78</a></domain>"))
    assert size.counts is not None
    assert (size.counts["a"], size.totals["a"], size.longest["a"]) == (2, 7, 5)
    assert (size.totals["@x"], size.longest["@*"], size.count("a"), size.count("z")) == (2, 2, 2.0, 1.0)


def _apply(directory: Path, conditions: Sequence[str], count: int, text: str = LARGE) -> virtProfile.Result:
    for number in range(count):
        actions = "".join(f'<add when="{one}"><iothreads>2</iothreads></add>' for one in conditions)
        (directory / f"p{number}.xml").write_text(f"<profile name='p{number}'>{actions}</profile>")
    names = [f"p{number}" for number in range(count)]
    return virtProfile.apply(text, names, store=virtProfile.ProfileStore([directory]))


def test_all_profiles_of_an_apply_share_one_budget(tmp_path: Path) -> None:
    conditions = [f"string-length(/) > {number}" for number in range(10)]
    with pytest.raises(PolicyError, match="all profiles together"):
        _apply(tmp_path, conditions, 10)
    assert _apply(tmp_path, conditions[:2], 3).changed


def test_the_budget_sees_what_profiles_write(tmp_path: Path) -> None:
    small = "<domain type='kvm'><name>x</name><memory>1024</memory></domain>"
    (tmp_path / "a.xml").write_text(
        f"<profile name='a' priority='5'><add><description>{TEXT}</description></add></profile>"
    )
    text = f"string-length({TEN_ALL}) > 5"
    (tmp_path / "b.xml").write_text(
        f"<profile name='b'><add when=\"{text}\"><iothreads>2</iothreads></add></profile>"
    )
    store = virtProfile.ProfileStore([tmp_path])
    assert virtProfile.apply(small, ["b"], store=store).changed
    with pytest.raises(ProfileError, match="would examine about"):
        virtProfile.apply(small, [{"name": "a", "priority": 5}, "b"], store=store)


def test_many_cheap_expressions_are_charged_by_names_once_it_matters() -> None:
    root = etree.fromstring(LARGE)
    given, expression = environment(), compiled("devices/disk/target/@bus = 'virtio'")
    given.budget = Budget(1000, len(LARGE))
    for _ in range(2000):
        assert expression.test(root, given)
    assert 0 < given.budget.spent < MAX_TOTAL // 10


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("vp:os-supports('virtio-net')", True),
        ("/domain/vcpu > 1 and not($a) or true()", True),
        ("count(/domain/devices/disk[target]) > 1", True),
        ("(/domain/vcpu | $a)[1] = 2", True),
        ("vp:sketch()", True),
        ("target", False),
        ("not(.)", False),
        ("vp:takes(., 'target/@bus')", False),
        ("position() = 1", False),
        ("string-length() > 1", False),
        ("/domain/vcpu > count(target)", False),
        ("name() = 'disk'", False),
    ],
)
def test_what_is_the_same_at_every_element(text: str, same: bool) -> None:
    assert compile_expression(text, file="p.xml", line=1, params=("a",)).is_same_anywhere == same


#: Evaluated at a device: does it look at that alone?
AT_A_DEVICE = {
    "starts-with(target/@bus, 'virtio')": True,
    "vp:if(.//@dev = 'vd1', target/@dev, 'a')": True,
    "source/@file[. = $a] | descendant::target[self::target]": True,
    "vp:takes(., 'target/@bus', 'virtio')": True,
    "../disk/target/@bus = 'virtio'": False,
    "/domain/devices/disk/target/@bus = 'virtio'": False,
    "target[ancestor::devices/disk/target/@bus = 'virtio']": False,
    "(target | following-sibling::disk/target)/@bus = 'virtio'": False,
    "vp:if(preceding-sibling::disk/target, 'a', 'b') = 'a'": False,
    "target[//target/@bus = 'virtio']": False,
}


@pytest.mark.parametrize(("text", "inside"), AT_A_DEVICE.items())
def test_what_looks_only_into_a_device_costs_by_that_device(text: str, inside: bool) -> None:
    expression = compile_expression(text, file="p.xml", line=1, params=("a",))
    assert expression.stays_inside == inside
    spent = []
    for devices in (DISKS, DISKS * 2):
        root = etree.fromstring(
            f"<domain type='kvm'><os><type>hvm</type></os><devices>{devices}</devices></domain>"
        )
        given = Environment({"a": "b"}, Context())
        given.budget = Budget(1_000_000, len(devices))
        given.budget._measure(root)
        for device in root.iterfind("devices/disk"):
            expression._evaluate(At(root, device), given)
        spent.append(given.budget.spent)
    assert spent[0] >= 300
    if inside:
        assert spent[1] == 2 * spent[0]
    else:
        assert spent[1] > 3 * spent[0]


@pytest.mark.parametrize("text", ["string-length(.) > 5", "count(.//disk) > 5", "*[contains(., 'zz')]"])
def test_an_element_that_holds_all_costs_as_much_as_all(text: str) -> None:
    """An each= may select what holds everything, again and again."""
    root = etree.fromstring(LARGE.replace("<target", f"<serial>{'x' * 300}</serial><target"))
    given, expression = environment(), compiled(text)
    size = Size.measured(devices := root.find("devices"))
    given.budget._measure(root)
    expression._evaluate(At(root, devices), given)
    assert given.budget.spent >= min(steps_of(expression.parsed, size, Size(1, 1)), size.elements)
    with pytest.raises(PolicyError, match="would examine more"):
        for _ in range(MAX_TOTAL // given.budget.spent + 1):
            given.budget.charge(expression, root, {}, devices)


def test_a_budget_ends() -> None:
    root = etree.fromstring(LARGE)
    given, expression = environment(), compiled("string-length(/) > 0")
    with pytest.raises(PolicyError):
        for _ in range(MAX_TOTAL // len(TEXT) + 2):
            expression.test(root, given)


@pytest.mark.parametrize("chain", ["|".join("a" * 900), " or ".join("1" * 400), "+".join("1" * 900)])
def test_a_long_chain_of_operators_is_refused(chain: str) -> None:
    with pytest.raises(ProfileSyntaxError, match="more than 200 operators"):
        compiled(chain)
    compiled("|".join("a" * 200))


def test_explain_has_the_same_bound() -> None:
    from virtProfile.show.explain import explain

    result = virtProfile.apply(LARGE, [], store=virtProfile.ProfileStore([]))
    assert explain(result, "devices/disk[target/@dev = 'vd1']") == ""
    for text in (TOO_MUCH["pairs"], TOO_MUCH["contains"], TOO_MUCH["concat"], "$x", "vp:os-id()", "devices["):
        with pytest.raises(UsageError, match="--explain"):
            explain(result, text)


@pytest.mark.parametrize(
    "text", ["devices/disk[1]", "/domain/devices/disk[target/@dev='vda']/driver/@cache", "a:b/@c:d", "vcpu"]
)
def test_over_rest_names_positions_and_keys_are_simple(text: str) -> None:
    assert _SIMPLE_PATH.fullmatch(text)


@pytest.mark.parametrize(
    "text",
    ["//a", "a//b", "*", "a/*", "following::a", "a[b::c='d']", "a[*='d']", "a[b//c='d']", "a[1][2]", "a|b"],
)
def test_over_rest_nothing_else_is(text: str) -> None:
    assert not _SIMPLE_PATH.fullmatch(text)


def test_the_limits() -> None:
    assert (MAX_STEPS, MAX_TOTAL) == (10**7, 10**8)


@pytest.mark.parametrize("character", ["\0", "\1", "\ud800", "\uffff"])
def test_characters_that_no_document_has_are_refused(character: str) -> None:
    with pytest.raises(ProfileSyntaxError, match="a character that no XML has"):
        compiled(f"vcpu = 'a{character}'")
