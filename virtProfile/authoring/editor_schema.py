# SPDX-License-Identifier: GPL-2.0-or-later
"""RelaxNG of the profile language, for editors: what may stand in a file of profiles.

Made of the tables that the parser reads (`language.attributes`) and of libvirt's format, of which
every part is optional and in any order, and every value may be worked out by ``{…}``. What the
parser takes is valid; what needs more than a grammar to see (an expression, a key that is there
twice) is left to ``--lint``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.format.document import VIRTUNED_NS
from virtProfile.format.relaxng import escape, quoted
from virtProfile.format.schema import PathNode, Schema
from virtProfile.language.attributes import ACTIONS, Attribute, Form, of_element
from virtProfile.language.directives import NAMES, SIZE
from virtProfile.language.generators import SOURCES
from virtProfile.language.parser import RESERVED_PARAMS
from virtProfile.language.profile import Kind, ParamType, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lxml import etree

    from virtProfile.format.values import ValueType

#: Where the schema is known by, whatever file holds it.
NAMESPACE = "http://virt-manager.org/schemas/virtuned/profile/0.1"
_HEAD = (
    "<?xml version='1.0' encoding='UTF-8'?>\n"
    "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->\n"
    "<!-- The profile language of virt-profile(1), see virt-profile-format(5); written by virt-profile -->\n"
    "<grammar xmlns='http://relaxng.org/ns/structure/1.0' ns=''"
    " datatypeLibrary='http://www.w3.org/2001/XMLSchema-datatypes'>\n"
)
_NAME = "[A-Za-z0-9][A-Za-z0-9._+\\-]{0,63}"
_PARAM = "[A-Za-z_][A-Za-z0-9._\\-]*"
_TEMPLATE = "[^{}]*[{}](.|\\n|\\r)*"
#: Attributes of other namespaces may stand everywhere in the language, elements on <profile> and <profiles>.
_FOREIGN = (
    "<define name='foreign-attributes'><zeroOrMore><attribute><anyName><except><nsName ns=''/></except>"
    "</anyName><text/></attribute></zeroOrMore></define>\n"
    "<define name='foreign-element'><element><anyName><except><nsName ns=''/></except></anyName>"
    "<ref name='anything'/></element></define>\n"
    "<define name='anything'><zeroOrMore><choice><attribute><anyName/><text/></attribute><text/>"
    "<element><anyName/><ref name='anything'/></element></choice></zeroOrMore></define>\n"
    "<define name='template'><data type='string'>"
    f"<param name='pattern'>{escape(_TEMPLATE)}</param></data></define>\n"
    "<define name='flag'><choice><value>yes</value><value>no</value></choice></define>\n"
)


def editor_schema(schema: Schema | None = None) -> str:
    """The schema as one RelaxNG document.

    :param schema: of libvirt's format; the shipped one
    """
    return _Writer(Schema.baseline() if schema is None else schema).text()


class _Writer:
    """Writes the grammar; each element of libvirt's format once, though it is found on several paths."""

    def __init__(self, schema: Schema) -> None:
        self._nodes: dict[tuple[object, ...], tuple[str, PathNode]] = {}
        for node in schema.walk():
            self._nodes.setdefault(_key(node), (f"e{len(self._nodes)}", node))
        self._root = schema.root

    def text(self) -> str:
        out = [
            _HEAD,
            "<start><choice><ref name='profile'/><ref name='profiles'/></choice></start>\n",
            _FOREIGN,
        ]
        out += [_define("profiles", _element("profiles", _many("profile", "foreign-element")))]
        out += self._profile()
        out += (self._action(tag) for tag in ACTIONS)
        out += [self._snippets(), self._each(), self._sources(), self._domain()]
        out += (self._node(name, node) for name, node in self._nodes.values())
        return "".join([*out, "</grammar>\n"])

    # --- the language ------------------------------------------------------------------

    def _profile(self) -> Iterable[str]:
        shared = [
            _optional("version", "<text/>"),
            _optional("replaced-by", _pattern(_NAME)),
            _optional("autoselect", "<ref name='flag'/>"),
            _optional("audit", "<ref name='flag'/>"),
            _optional("priority", "<data type='integer'><param name='minInclusive'>-1000</param>"
                      "<param name='maxInclusive'>1000</param></data>"),
        ]  # fmt: skip
        extension = ["param", *ACTIONS, "foreign-element"]
        whole = ["title", "description", "requires", "conflicts", "match", *extension]
        named = _attribute("name", _pattern(_NAME))
        yield _define(
            "profile",
            _element(
                "profile",
                "".join(shared) + _choice([_group(named, _many(*whole)), _many(*extension)]),
            ),
        )
        for tag in ("title", "description"):
            yield _define(tag, _element(tag, "<zeroOrMore><choice><text/><element><anyName/>"
                          "<ref name='anything'/></element></choice></zeroOrMore>"))  # fmt: skip
        reserved = "".join(f"<value>{name}</value>" for name in sorted(RESERVED_PARAMS))
        yield _define(
            "param",
            _element(
                "param",
                _attribute("name", f"<data type='token'><param name='pattern'>{escape(_PARAM)}</param>"
                           f"<except><choice>{reserved}</choice></except></data>")
                + _optional("type", _words(map(str, ParamType)))
                + _optional("default", "<text/>")
                + _optional("secret", "<ref name='flag'/>"),
            ),
        )  # fmt: skip
        for tag in ("requires", "conflicts"):
            named = _attribute("profile", _pattern(".+"))
            yield _define(tag, _element(tag, named + _optional("version", "<text/>")))
        test = _attribute("test", "<text/>")
        yield _define(
            "match",
            _element(
                "match",
                _optional("not", "<ref name='flag'/>")
                + _optional("unknown", _words(map(str, Unknown)))
                + _choice([test, "<ref name='snippets'/>"]),
            ),
        )

    def _action(self, tag: str) -> str:
        kind = ACTIONS[tag][0]
        snippets = "<ref name='snippets'/>"
        if kind is Kind.ADD:
            snippets = _choice(
                [snippets, "<oneOrMore><choice><ref name='below'/><ref name='source'/></choice></oneOrMore>"]
            )
        each = _group(_attribute("each", "<text/>"), "<ref name='each'/>")
        contents = [snippets, each]
        if kind is Kind.REMOVE:
            contents.append(_attribute("select", "<text/>"))
        if kind is Kind.CHECK:
            test = _attribute("test", "<text/>")
            contents += [test, _group(test, _attribute("each", "<text/>"))]
        rows = [row for row in of_element(tag) if row.name not in ("each", "select", "test")]
        written = "".join(_optional_of(row) for row in rows)
        return _define(tag, _element(tag, written + _choice(contents)))

    def _snippets(self) -> str:
        return _define(
            "snippets",
            _choice(["<ref name='domain'/>", "<oneOrMore><ref name='below'/></oneOrMore>"]),
        ) + _define("below", _choice([self._ref(node) for node in self._root.children.values()]))

    def _each(self) -> str:
        """An action with each= describes one element, wherever it stands."""
        names = [name for name, node in self._nodes.values() if node.parent is not None]
        return _define("each", _choice([f"<ref name='{name}'/>" for name in names]))

    def _sources(self) -> str:
        made = []
        for tag, attributes in SOURCES.items():
            known = "".join(_optional(name, "<text/>") for name in attributes)
            made.append(f"<element>{_name(tag)}{known}</element>")
        return _define("source", _choice(made))

    # --- libvirt's format ----------------------------------------------------------------

    def _ref(self, node: PathNode) -> str:
        return f"<ref name='{self._nodes[_key(node)][0]}'/>"

    def _domain(self) -> str:
        return _define("domain", self._ref(self._root))

    def _node(self, name: str, node: PathNode) -> str:
        tag = node.tag or "domain"
        if node.anything:
            return _define(name, f"<element>{_name(tag)}<ref name='anything'/></element>")
        attributes = [_optional(key, _value(kind)) for key, kind in node.attrs.items() if key != "*"]
        attributes += [
            f"<optional><attribute ns={quoted(VIRTUNED_NS)} name='{intent}'><text/></attribute></optional>"
            for intent in NAMES
            if intent != SIZE or node.path == "devices/disk"
        ]
        children = [self._ref(child) for child in node.children.values() if _key(child) in self._nodes]
        contents = [f"<zeroOrMore>{_choice(children)}</zeroOrMore>"] if children else ["<empty/>"]
        if node.text is not None:
            contents.append(_value(node.text))
        return _define(name, f"<element>{_name(tag)}{''.join(attributes)}{_choice(contents)}</element>")


def _key(node: PathNode) -> tuple[object, ...]:
    """Equal for elements that are the same wherever they stand: what the grammar has of them, and intents."""
    return (node.tag, tuple(node._elements), node.path == "devices/disk")


def _value(kind: ValueType) -> str:
    """What a value may be: as libvirt takes it, or worked out."""
    if kind.is_free:
        return "<text/>"
    parts = [f"<value>{escape(word)}</value>" for word in sorted(kind.values)]
    for name, params in kind.data:
        inner = "".join(
            f"<param name={quoted(param)}>{escape(value)}</param>" for param, value in params.items()
        )
        parts.append(f"<data type='{'token' if name == 'string' else name}'>{inner}</data>")
    if not parts:
        parts.append("<empty/>")
    return _choice([*parts, "<ref name='template'/>"])


# --- pieces of RelaxNG -----------------------------------------------------------------


def _define(name: str, content: str) -> str:
    return f"<define name='{name}'>{content}</define>\n"


def _element(tag: str, content: str) -> str:
    return f"<element name='{tag}'><ref name='foreign-attributes'/>{content}</element>"


def _name(tag: str) -> str:
    if tag[:1] == "{":
        uri, _, local = tag[1:].partition("}")
        return f"<name ns={quoted(uri)}>{local}</name>"
    return f"<name>{tag}</name>"


def _attribute(name: str, value: str) -> str:
    return f"<attribute>{_name(name)}{value}</attribute>"


def _optional(name: str, value: str) -> str:
    return f"<optional>{_attribute(name, value)}</optional>"


def _optional_of(row: Attribute) -> str:
    value = "<text/>"
    if row.form is Form.WORD:
        value = _words(str(word) for word in row.words)
    elif row.form is Form.FLAG:
        value = "<ref name='flag'/>"
    names = [name for name in (row.name, row.alias) if name]
    return f"<optional>{_choice([_attribute(name, value) for name in names])}</optional>"


def _words(words: Iterable[str]) -> str:
    return _choice([f"<value>{escape(word)}</value>" for word in words])


def _pattern(pattern: str) -> str:
    return f"<data type='token'><param name='pattern'>{escape(pattern)}</param></data>"


def _many(*names: str) -> str:
    return f"<zeroOrMore>{_choice([f'<ref name={name!r}/>' for name in names])}</zeroOrMore>"


def _group(*parts: str) -> str:
    return f"<group>{''.join(parts)}</group>"


def _choice(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"<choice>{''.join(parts)}</choice>"


# --- the compact syntax, which Emacs reads -----------------------------------------------

_RNG = "{http://relaxng.org/ns/structure/1.0}"
_REPEATED = {"zeroOrMore": "*", "oneOrMore": "+", "optional": "?"}
_KEYWORDS = {"empty": "empty", "text": "text", "notAllowed": "notAllowed"}


def compact(text: str) -> str:
    """A schema as `editor_schema` gives it in RelaxNG's compact syntax."""
    from lxml import etree

    root = etree.fromstring(text.encode())
    prefixes: dict[str, str] = {}
    for element in root.iter(f"{_RNG}name", f"{_RNG}attribute", f"{_RNG}nsName"):
        uri = element.get("ns")
        if uri:
            prefixes.setdefault(uri, f"n{len(prefixes)}")
    lines = ['namespace local = ""', *(f'namespace {name} = "{uri}"' for uri, name in prefixes.items()), ""]
    for define in root.iterchildren(f"{_RNG}start", f"{_RNG}define"):
        parts = ", ".join(_compact(part, prefixes) for part in define.iterchildren("*"))
        name = "start" if define.tag == f"{_RNG}start" else f"\\{define.get('name')}"
        lines.append(f"{name} = {parts}")
    return "# SPDX-License-Identifier: GPL-2.0-or-later\n" + "\n".join(lines) + "\n"


def _compact(element: etree._Element, prefixes: Mapping[str, str]) -> str:
    kind = element.tag.removeprefix(_RNG)
    below = [part for part in element.iterchildren("*") if part.tag != f"{_RNG}except"]
    if kind in _KEYWORDS:
        return _KEYWORDS[kind]
    if kind == "ref":
        return f"\\{element.get('name')}"
    if kind == "value":
        return f"xsd:token {_literal(element.text or '')}"
    if kind == "data":
        return _compact_data(element, below, prefixes)
    if kind in ("element", "attribute"):
        name = element.get("name")
        if name is None:
            name, below = _name_class(below[0], prefixes), below[1:]
        elif element.get("ns"):
            name = f"{prefixes[element.get('ns', '')]}:{name}"
        else:
            name = f"\\{name}"
        inner = ", ".join(_compact(part, prefixes) for part in below) or (
            "empty" if kind == "element" else "text"
        )
        return f"{kind} {name} {{ {inner} }}"
    joined = (" | " if kind == "choice" else ", ").join(_compact(part, prefixes) for part in below)
    return f"({joined}){_REPEATED.get(kind, '')}"


def _compact_data(
    element: etree._Element, params: Sequence[etree._Element], prefixes: Mapping[str, str]
) -> str:
    text = f"xsd:{element.get('type')}"
    if params:
        text += " { " + " ".join(f"{row.get('name')} = {_literal(row.text or '')}" for row in params) + " }"
    without = element.find(f"{_RNG}except")
    if without is not None:
        text += " - " + "".join(_compact(part, prefixes) for part in without)
    return text


def _name_class(element: etree._Element, prefixes: Mapping[str, str]) -> str:
    if element.tag == f"{_RNG}anyName":
        without = element.find(f"{_RNG}except")
        return "*" if without is None else "* - local:*"
    uri = element.get("ns")
    return f"{prefixes[uri]}:{element.text}" if uri else f"\\{element.text}"


def _literal(text: str) -> str:
    """A text in those quotes that are not in it."""
    mark = next(mark for mark in ('"', "'", '"""') if mark not in text and not text.endswith(mark[0]))
    return mark + text.replace("\\x{", "\\x{5C}x{") + mark
