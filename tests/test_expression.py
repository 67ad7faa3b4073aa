# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions: what they give, what is refused before evaluation, where errors stand."""

from __future__ import annotations

import time

import pytest

from virtProfile import Context
from virtProfile.errors import MissingContextError, ParamError, ProfileSyntaxError
from virtProfile.format.document import parse
from virtProfile.language.context_needs import CONTEXT
from virtProfile.language.expression import Environment, Expression, compile_expression
from virtProfile.language.functions import FUNCTIONS, MANY, VARIABLES
from virtProfile.language.params import param_value
from virtProfile.language.profile import Param, ParamType
from virtProfile.language.xpath import parse_xpath, written
from virtProfile.live.connection import daemon_of

DOMAIN = """<domain type='kvm'><name>vp</name><memory unit='GiB'>2</memory><vcpu>12</vcpu>
<iothreads>2</iothreads><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices>
<disk device='disk'><target dev='vda' bus='virtio'/></disk>
<disk device='cdrom'><target dev='sda' bus='sata'/></disk>
<interface type='network'><model type='virtio'/></interface></devices></domain>"""
ROOT = parse(DOMAIN).root


def made(text: str, **params: object) -> tuple[Expression, Environment]:
    environment = Environment(params, Context())
    return compile_expression(text, file="p.xml", line=3, params=list(params)), environment


def value(text: str, **params: object) -> str:
    expression, environment = made(text, **params)
    return expression.text(ROOT, environment)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("vcpu", "12"),
        ("vp:min(vcpu, 8)", "8"),
        ("vp:max(vcpu, 8)", "12"),
        ("vp:if(vcpu > 4, 'many', 'few')", "many"),
        ("vp:kib(memory)", "2097152"),
        ("vp:kib('1.5 GiB')", "1572864"),
        ("vp:machine('q35')", "yes"),
        ("vp:machine('pc')", "no"),
        ("vp:version-at-least('7.10', '7.9')", "yes"),
        ("vp:count('0-3,8')", "5"),
        ("vp:item('0-3,8', 5)", "8"),
        ("vp:item('8,0-3', 1)", "0"),  # a set has no order but that of its numbers
        ("vp:count('0-3,^2')", "3"),
        ("vp:item(vcpu, 1)", "12"),
        ("vp:item('sda, sdb sdc', 3)", "sdc"),
        ("vp:item('0,,3', 2)", "3"),  # libvirt takes no such set: words
        ("vp:item('4 2', vp:count('4 2'))", "2"),
        ("vp:item('10-12', iothreads)", "11"),
        ("vp:count('')", "0"),
        ("vp:count(devices/none/@list)", "0"),
        ("$qemu_version", "7002000"),
        ("vcpu div 8", "1.5"),
        ("1 div 3", "0.333333333333333"),
        ("0.1 + 0.2", "0.3"),
        ("0.0000001", "0.0000001"),
        ("-0.00000125", "-0.00000125"),
        ("-(vcpu)", "-12"),
        ("vp:min(vcpu, 8) = 8", "yes"),
        ("vp:kib('1 b')", "1"),
        ("vp:kib('1025 bytes')", "2"),
        ("vp:kib('1 MB')", "977"),
        ("concat(vcpu > 1, '')", "true"),
        ("vcpu > iothreads + 2", "yes"),
        ("count(devices/disk[target/@bus='virtio'])", "1"),
        ("concat('{', vcpu, '}')", "{12}"),
        ("devices/disk[1]/target/@dev", "vda"),
    ],
)
def test_values(text: str, wanted: str) -> None:
    assert value(text) == wanted


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("devices/sound/@model", "selects nothing"),
        ("devices/disk/target/@dev", "several different values: 'vda', 'sda'"),
        ("number('x')", "is not a number"),
        ("1 div 0", "is not a number"),
        ("vp:min(cputune/shares, 8)", "is not a number"),  # of nothing there is no least
        ("vp:max(2, devices/sound/@x)", "is not a number"),
        ("vp:kib('2 parsecs')", "is not a number"),
        ("vp:item('0-3', 5)", r"vp:item\('0-3', 5\): the list has 4 members"),
        ("vp:item('0-3', 0)", "has 4 members"),
        ("vp:item('a b', 1.5)", "has 2 members"),
        ("vp:item('a b', devices/none)", "has 2 members"),
        ("vp:item('', 1)", "has 0 members"),
    ],
)
def test_values_that_are_none(text: str, fact: str) -> None:
    with pytest.raises(ProfileSyntaxError, match=fact):
        value(text)


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("vp:mni(vcpu, 8)", 1, "vp:min"),
        ("vcpu > $hedas", 8, "heads"),
        ("vcpu >", 7, ""),
        ("chld::vcpu", 1, "child"),
        ("'open", 1, ""),
        ("vp:min()", 1, ""),
        ("vp:supports('cpu', 'mode')", 1, ""),
        ("vp:item('0-3')", 1, ""),
        ("a[b[c[d[e]]]]", 8, ""),
        ("//*[count(//*) > 1]", 11, ""),
        ("re:test(name, '^a')", 1, ""),
        ("document('/etc/passwd')", 1, ""),
    ],
)
def test_errors_have_a_column(text: str, column: int, hint: str) -> None:
    with pytest.raises(ProfileSyntaxError) as caught:
        made(text, heads=1.0)
    assert f"at column {column} of" in caught.value.message
    assert caught.value.where == "p.xml:3"
    assert hint in caught.value.hint


def test_what_would_run_for_minutes_is_refused_before() -> None:
    rows = "".join(f"<disk><target dev='d{n}'/></disk>" for n in range(2000))
    big = parse(f"<domain><devices>{rows}</devices></domain>").root
    for text in (
        "//*[count(//*) > 1]",
        "count(//*[../*[../*]]) > count(//*//*//*)",
        "//*[../*/@a = ../*/@b]",
    ):
        start = time.perf_counter()
        with pytest.raises(ProfileSyntaxError):
            expression, environment = made(text)
            expression.test(big, environment)
        assert time.perf_counter() - start < 2
    expression, environment = made("devices/disk[target/@dev='d1999']")
    assert expression.test(big, environment)
    with pytest.raises(ProfileSyntaxError, match="2001 characters"):
        made("1" * 2001)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("$capabilities/host", "--capabilities"),
        ("vp:supports('graphics')", "--domcapabilities"),
        ("vp:os-family()", "--osinfo"),
        ("$daemon", "--daemon system"),
    ],
)
def test_missing_context_says_how_to_give_it(text: str, option: str) -> None:
    expression, environment = made(text)
    with pytest.raises(MissingContextError) as caught:
        expression.test(ROOT, environment)
    assert option in caught.value.hint
    assert text in caught.value.message


def test_what_is_not_reached_is_not_missed() -> None:
    expression, environment = made("vcpu > 4 or vp:supports('graphics')")
    assert expression.test(ROOT, environment)


def test_params() -> None:
    def of(kind: ParamType, text: str) -> object:
        return param_value(Param("p", kind, None, False, 1), text)

    assert of(ParamType.INT, "4") == 4.0
    assert of(ParamType.INT, "4.5") is None
    assert of(ParamType.BOOL, "yes") is True
    assert of(ParamType.BOOL, "true") is None
    assert of(ParamType.SIZE, "2 MiB") == 2048
    assert of(ParamType.SIZE, "7") == 7
    assert of(ParamType.SIZE, "7 parsecs") is None
    assert value("vp:if($wide, $heads, 1)", wide=True, heads=3.0) == "3"
    assert issubclass(ParamError, ValueError)


def test_how_many_arguments_a_function_takes() -> None:
    taken = {name: list(function.counts) for name, function in FUNCTIONS.items()}
    assert taken["vp:sketch"] == [0]
    assert taken["vp:kib"] == [1]
    assert taken["vp:if"] == [3]
    assert taken["vp:supports"] == [1, 3]
    assert taken["vp:min"] == list(range(1, MANY + 1))
    with pytest.raises(ProfileSyntaxError, match=r"takes 1 or 3 arguments, it has 2"):
        made("vp:supports('cpu', 'mode')")
    with pytest.raises(ProfileSyntaxError, match=r"takes 1 or more arguments, it has 0"):
        made("vp:max()")


@pytest.mark.parametrize(
    "text",
    [
        "a/b[@c = 'd' and not(e)]/@f | $g/h",
        "-(a + 1) * 2 mod 3 > vp:min(b, 4) or //c[1]",
        "(a | b)[last()]/c",
        '../a[. != "it\'s"]',
        "self::a/ancestor::b",
        "/",
        "1.5",
    ],
)
def test_an_expression_is_written_as_it_is_meant(text: str) -> None:
    root = parse_xpath(text).root
    assert parse_xpath(written(root)).root == root


def test_every_need_is_known() -> None:
    asked = {function.needs for function in FUNCTIONS.values()}
    asked |= {variable.needs for variable in VARIABLES.values()}
    asked.discard("")
    assert asked == set(CONTEXT)


@pytest.mark.parametrize("daemon", ["system", "session"])
def test_the_daemon_is_from_the_context(daemon: str) -> None:
    expression = compile_expression("$daemon", file="p.xml", line=3)
    assert expression.text(ROOT, Environment({}, Context(daemon=daemon))) == daemon


@pytest.mark.parametrize(
    ("uri", "daemon"),
    [
        ("qemu:///system", "system"),
        ("qemu:///session", "session"),
        ("qemu+ssh://root@host.example/system?keyfile=k", "system"),
        ("qemu:///session?socket=/run/system", "session"),
        ("test:///default", None),
        ("qemu:///embed?root=/system", None),
        ("", None),
    ],
)
def test_the_daemon_of_a_uri(uri: str, daemon: str | None) -> None:
    assert daemon_of(uri) == daemon


def test_a_large_definition_counts_before_evaluation() -> None:
    rows = "".join(f"<disk><target dev='d{number}'/></disk>" for number in range(2000))
    big = parse(f"<domain><devices>{rows}</devices></domain>").root
    expression = compile_expression("count($definition//*[../*/@a = ../*/@b])", file="p.xml", line=3)
    assert expression.text(ROOT, Environment({}, Context(), definition=lambda: ROOT)) == "0"
    with pytest.raises(ProfileSyntaxError, match="would examine"):
        expression.text(ROOT, Environment({}, Context(), definition=lambda: big))
