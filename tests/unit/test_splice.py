# SPDX-License-Identifier: GPL-2.0-or-later
"""The splice writer: only what changed is written anew, everything else keeps its bytes."""

from __future__ import annotations

import pytest
from staging import act, tree_of, writer_of, written

from virtProfile.engine.record.model import Written
from virtProfile.engine.record.writer import write_element
from virtProfile.engine.tree.splice import write
from virtProfile.format.document import RECORD_NS


@pytest.mark.parametrize(
    ("body", "wish", "result"),
    [
        # a value, with the quotes and spaces around it as they were
        ('<cpu  mode="custom" />', "<add><cpu mode='maximum'/></add>", '<cpu  mode="maximum" />'),
        ("<title >a</title>", "<add><title>b</title></add>", "<title >b</title>"),
        # what is special in XML
        ("<title>a</title>", "<add><title>b &amp; &lt;c></title></add>", "<title>b &amp; &lt;c&gt;</title>"),
        # neighbours and comments stay
        (
            "<!-- x --><title>a</title><!-- y -->",
            "<add><title>b</title></add>",
            "<!-- x --><title>b</title><!-- y -->",
        ),
        # an element that is removed takes its line with it
        (
            "\n  <title>a</title>\n  <memory>1</memory>\n",
            "<remove><title/></remove>",
            "\n  <memory>1</memory>\n",
        ),
    ],
)
def test_write(body: str, wish: str, result: str) -> None:
    tree = tree_of(body)
    act(tree, (wish, 100))
    assert written(tree) == result


@pytest.mark.parametrize(
    ("body", "wish", "result"),
    [
        # in one line: nothing is broken up
        ("", "<add><title>b</title></add>", "<title>b</title>"),
        ("<memory>1</memory>", "<add><title>b</title></add>", "<title>b</title><memory>1</memory>"),
        # its neighbours' indentation, and a comment that speaks of a neighbour stays with it
        (
            "\n   <title>a</title> <!-- of a -->\n   <memory>1</memory>\n",
            "<add><description>b</description></add>",
            "\n   <title>a</title> <!-- of a -->\n   <description>b</description>\n   <memory>1</memory>\n",
        ),
        # tabs, and children one step further in
        (
            "\n\t<title>a</title>\n",
            "<add><cpu mode='custom'><model>Haswell</model></cpu></add>",
            "\n\t<title>a</title>\n\t<cpu mode='custom'>\n\t\t<model>Haswell</model>\n\t</cpu>\n",
        ),
        # the line ends of the document
        (
            "\r\n  <title>a</title>\r\n",
            "<add><description>b</description></add>",
            "\r\n  <title>a</title>\r\n  <description>b</description>\r\n",
        ),
        # the quotes that the document has most of
        (
            '<memory unit="KiB">1</memory><os><type arch="x86_64">hvm</type></os>',
            "<add><cpu mode='custom'/></add>",
            '<memory unit="KiB">1</memory><os><type arch="x86_64">hvm</type></os><cpu mode="custom"/>',
        ),
        # an empty element is opened
        (
            "\n  <features />\n",
            "<add><features><acpi/></features></add>",
            "\n  <features>\n    <acpi/>\n  </features>\n",
        ),
        ("<features/>", "<add><features><acpi/></features></add>", "<features><acpi/></features>"),
        ("<title/>", "<add><title>b</title></add>", "<title>b</title>"),
        # ... or one with nothing in it
        (
            "\n  <features>\n  </features>\n",
            "<add><features><acpi/></features></add>",
            "\n  <features>\n    <acpi/>\n  </features>\n",
        ),
        (
            "\n  <features></features>\n",
            "<add><features><acpi/></features></add>",
            "\n  <features>\n    <acpi/>\n  </features>\n",
        ),
        # new attributes stand behind the last
        ("<cpu check='none' />", "<add><cpu mode='maximum'/></add>", "<cpu check='none' mode='maximum' />"),
        ("<vcpu\n  current='1'>2</vcpu>", "<add><vcpu cpuset='0'/></add>", "<vcpu\n  current='1' cpuset='0'>2</vcpu>"),
    ],
)  # fmt: skip
def test_what_is_new(body: str, wish: str, result: str) -> None:
    tree = tree_of(body)
    act(tree, (wish, 100))
    assert written(tree) == result


@pytest.mark.parametrize(
    ("body", "wish", "result"),
    [
        # an attribute goes with the space before it
        ("<cpu mode='custom' check='none'/>", "<remove><cpu check='none'/></remove>", "<cpu mode='custom'/>"),
        # what is left empty is closed, with its comments it is not
        (
            "<features>\n  <acpi/>\n</features>",
            "<remove select='features/acpi'/>",
            "<features/>",
        ),
        (
            "<features>\n  <acpi/>\n  <!-- x -->\n</features>",
            "<remove select='features/acpi'/>",
            "<features>\n  <!-- x -->\n</features>",
        ),
        # of several on a line the others stay
        ("<features><acpi/><apic/></features>", "<remove select='features/acpi'/>", "<features><apic/></features>"),
        # a text goes, the element stays
        ("<title>a<!-- x --></title>", "<remove select='title/text()'/>", "<title><!-- x --></title>"),
    ],
)  # fmt: skip
def test_what_is_gone(body: str, wish: str, result: str) -> None:
    tree = tree_of(body)
    act(tree, (wish, 100))
    assert written(tree) == result


@pytest.mark.parametrize(
    ("body", "value", "result"),
    [
        ("<title>  a\n</title>", "b", "<title>  b\n</title>"),
        ("<title><![CDATA[a]]></title>", "b", "<title>b</title>"),
        ("<title><!-- x -->a</title>", "b", "<title><!-- x -->b</title>"),
        ("<title></title>", "b", "<title>b</title>"),
        ("<title>a</title>", "b\rc", "<title>b&#13;c</title>"),
    ],
)
def test_text(body: str, value: str, result: str) -> None:
    tree = tree_of(body)
    tree.set(tree.root[0], "text()", value, writer_of("a"))
    assert written(tree) == result


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("<cpu mode='a'/>", "it's", "<cpu mode='it&apos;s'/>"),
        ('<cpu mode="a"/>', 'say "x"', '<cpu mode="say &quot;x&quot;"/>'),
        ('<cpu mode="a"/>', "it's", '<cpu mode="it\'s"/>'),
        ("<cpu mode='a'/>", "a&b<c>\n\t", "<cpu mode='a&amp;b&lt;c>&#10;&#9;'/>"),
    ],
)
def test_quotes_of_a_value(before: str, value: str, after: str) -> None:
    tree = tree_of(before)
    tree.set(tree.root[0], "@mode", value, writer_of("a"))
    assert written(tree) == after
    assert tree_of(after).root[0].get("mode") == value


NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"


@pytest.mark.parametrize(
    ("body", "result"),
    [
        # declared where it is used first, once
        (
            "<title>a</title>",
            f"<title>a</title><q:commandline xmlns:q='{NAMESPACE}'><q:arg value='-x'/></q:commandline>",
        ),
        # not again where it is declared above
        (
            f"<q:commandline xmlns:q='{NAMESPACE}'><q:arg value='-y'/></q:commandline>",
            f"<q:commandline xmlns:q='{NAMESPACE}'><q:arg value='-y'/><q:arg value='-x'/></q:commandline>",
        ),
        # by the prefix that the document has for it
        (
            f"<z:commandline xmlns:z='{NAMESPACE}'><z:arg value='-y'/></z:commandline>",
            f"<z:commandline xmlns:z='{NAMESPACE}'><z:arg value='-y'/><z:arg value='-x'/></z:commandline>",
        ),
    ],
)
def test_namespaces(body: str, result: str) -> None:
    tree = tree_of(body)
    wish = f"<add><q:commandline xmlns:q='{NAMESPACE}'><q:arg value='-x'/></q:commandline></add>"
    act(tree, (wish, 100))
    assert written(tree) == result


@pytest.mark.parametrize(
    ("path", "line"),
    [("title", 2), ("description", 3), ("cpu", 4), ("cpu/model", 5), ("vcpu", 7)],
)
def test_on_which_line_an_element_stands(path: str, line: int) -> None:
    """What was there, what is new and what is inside of it, what moved down and up again."""
    tree = tree_of("\n<title>a</title>\n<cpu/>\n<memory>1</memory>\n<vcpu>2</vcpu>\n")
    cpu = "<cpu mode='custom'><model>Haswell</model></cpu>"
    act(tree, (f"<add><description>d</description>{cpu}</add>", 100), ("<remove select='memory'/>", 100))
    text = write(tree)
    (element,) = tree.root.xpath(path)
    assert text.line(element) == line
    assert f"<{path.rpartition('/')[2]}" in text.text.splitlines()[line - 1]


@pytest.mark.parametrize("body", ["", "<title>a</title>", "\n\t<os ><type>hvm</type >\n</os>\n"])
def test_no_change_no_byte(body: str) -> None:
    assert written(tree_of(body)) == body


#: Parts of a record, and what each is beside: text, values with special characters, nothing at all.
PARTS = [
    Written("on", {"at": "os"}, None, [Written("type", {"machine": "q35"}, None)]),
    Written("add", {"to": "devices[@a='b']"}, None, [Written("x", {"v": "a<b>&\"c'\n\t"}, " a < b > \r ")]),
    Written("param", {"name": "p"}, "  "),
    Written("del", {}, "text", [Written("deep", {}, None, [Written("deeper", {}, "&")])]),
]


@pytest.mark.parametrize(
    "body",
    [
        "\n  <metadata>\n    <a/>\n  </metadata>\n",
        "<metadata><a/></metadata>",
        "\r\n\t<metadata/>\r\n",
        '\n  <metadata b="c" d="e"/>\n',
        f"\n  <metadata xmlns:z='{RECORD_NS}'>\n    <z:a/>\n  </metadata>\n",
    ],
)
def test_parts_are_written_as_elements_are(body: str) -> None:
    texts = []
    for plain in (True, False):
        tree = tree_of(body)
        metadata = tree.root[0]
        new = metadata.makeelement(f"{{{RECORD_NS}}}record", nsmap={"vr": RECORD_NS})
        for part in () if plain else PARTS:
            write_element(new, part)
        tree.insert(metadata, metadata[-1] if len(metadata) else None, new, writer_of("a"))
        texts.append(write(tree, {new: PARTS} if plain else {}).text)
    assert texts[0] == texts[1]
    assert "deeper" in texts[0]
