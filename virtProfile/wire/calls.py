# SPDX-License-Identifier: GPL-2.0-or-later
"""What is sent and answered: the objects that calls have in common, and the calls of the client.

Both ends read this: the service checks requests by it and describes itself with it
(`service.route`), the client makes its requests of it. A call that the client has no
method for is written at its handler.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from virtProfile.errors import UsageError
from virtProfile.frozen import record
from virtProfile.wire.shapes import (
    Choice,
    Either,
    Flag,
    List,
    Loose,
    Map,
    Maybe,
    Number,
    Object,
    Reference,
    Shape,
    Text,
)

#: Documents of one host or one context.
MAX_DOCUMENTS = 64
#: Hosts of one request; the size of the body bounds them too.
MAX_HOSTS = 1000
#: Required expressions of one request, each of them bounded for itself.
MAX_REQUIRED = 16
#: Comparisons that one request may ask for: half a second.
MAX_BUDGET = 5_000_000
MAX_INLINE = 100
#: Names of profiles that are taken back or upgraded.
MAX_NAMES = 1000


@record
class Call:
    """A request and its answer.

    :param name: unique, and the place below /v1 where `at` names no other
    :param request: the words of the path and of the body, which is a JSON object
    :param at: the path; ``{name}`` in it is a word of the request
    """

    name: str
    request: Object
    answer: Shape
    method: str = "POST"
    at: str = ""

    @property
    def path(self) -> str:
        return self.at or f"/v1/{self.name}"

    def words_of_path(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    def message(self, words: Mapping[str, Any]) -> tuple[str, bytes | None]:
        """Path and body of a request.

        :param words: Python values by key; None is what is not said
        :raises UsageError: a word of the path is missing
        """
        body = self.request.to_json(words)
        path = self.path
        for word in self.words_of_path():
            if word not in body:
                raise UsageError(f"'{word}' is missing")
            path = path.replace(f"{{{word}}}", quote(body.pop(word), safe=""))
        return path, json.dumps(body).encode("ascii") if self.method == "POST" else None


# --- parts of requests -----------------------------------------------------------------------

TEXT = Text()
FLAG = Flag()
NUMBER = Number()
TEXTS = List(TEXT)
XML = Text("domain XML")
FILE = Text(is_file_name=True)
NAMES = List(TEXT, most=MAX_NAMES)
NOTHING = Object()

CONTEXT = Object(
    optional={
        "capabilities": List(TEXT, most=MAX_DOCUMENTS),
        "domcapabilities": List(TEXT, most=MAX_DOCUMENTS),
        "sources": List(FILE, most=2 * MAX_DOCUMENTS),
        "osinfo": TEXT,
        "qemu_version": NUMBER,
        "daemon": Choice(("system", "session")),
    },
    name="Context",
)
#: A profile that is asked for; `language.requests` checks it, for every front end alike.
WISH = Object(
    {"name": TEXT},
    {
        "instance": Maybe(TEXT),
        "priority": Maybe(Number(-1000, 1000)),
        "version": Maybe(TEXT),
        "params": Map(Either((TEXT, NUMBER, FLAG))),
        "include": FLAG,
    },
    name="Wish",
    checked=False,
)
WISHES = List(Either((TEXT, WISH), "names and objects"))
HOST = Object(
    {"name": TEXT},
    {
        "capabilities": List(TEXT, most=MAX_DOCUMENTS),
        "domcapabilities": List(TEXT, most=MAX_DOCUMENTS),
    },
)
HOSTS = List(HOST, least=1, most=MAX_HOSTS)

#: Of requests about a VM; `name` stands in messages for its file.
VM_WORDS: Mapping[str, Shape] = {
    "context": CONTEXT,
    "name": Text("stands in messages", is_file_name=True),
}
#: Of requests with a result.
RESULT_WORDS: Mapping[str, Shape] = {
    **VM_WORDS,
    "details": Flag("answer also with what virtProfile.client shows"),
}
APPLY_WORDS: Mapping[str, Shape] = {
    "inline": List(TEXT, most=MAX_INLINE, description="profile documents; only where the policy allows them"),
    "profiles": WISHES,
    **RESULT_WORDS,
    "auto": FLAG,
    "override": FLAG,
    "complete": FLAG,
    "record": FLAG,
}
APPLY_REQUEST = Object({"xml": XML}, APPLY_WORDS, name="ApplyRequest")

# --- parts of answers ------------------------------------------------------------------------

ORIGIN = Object(
    {"profile": TEXT, "version": TEXT, "action": TEXT, "file": TEXT, "line": NUMBER}, name="Origin"
)
ORIGIN_OR_DEFINITION = Either((ORIGIN, TEXT))
WARNING = Object(
    {
        "code": TEXT,
        "message": TEXT,
        "where": TEXT,
        "profile": TEXT,
        "severity": Choice(("warning", "info")),
        "fix": TEXT,
    },
    name="Warning",
)
APPLIED = Object(
    {
        "name": TEXT,
        "instance": Maybe(TEXT),
        "version": TEXT,
        "priority": NUMBER,
        "source": TEXT,
        "digest": TEXT,
        "effect": Choice(("changed", "held", "none")),
    },
    name="Applied",
)
IDLE = Object(
    {"profile": TEXT, "version": TEXT, "action": TEXT, "file": TEXT, "line": NUMBER, "reason": TEXT},
    name="Idle",
)
SKIPPED = Object({"name": TEXT, "version": Maybe(TEXT), "reason": TEXT, "detail": TEXT}, name="Skipped")
CHANGE = Object(
    {
        "op": Choice(("add", "set", "remove")),
        "path": TEXT,
        "before": Maybe(TEXT),
        "after": Maybe(TEXT),
        "origin": ORIGIN,
        "origins": List(ORIGIN),
    },
    name="Change",
)
OVERRIDDEN = Object(
    {
        "path": TEXT,
        "wanted": Maybe(TEXT),
        "has": Maybe(TEXT),
        "loser": ORIGIN,
        "winner": ORIGIN_OR_DEFINITION,
        "hint": TEXT,
    },
    name="Overridden",
)
STORAGE = Object(
    {
        "path": TEXT,
        "size": NUMBER,
        "format": Maybe(TEXT),
        "source": Maybe(TEXT),
        "pool": Maybe(TEXT),
        "volume": Maybe(TEXT),
        "origins": List(ORIGIN),
    },
    name="Storage",
)
RESULT = Object(
    {
        "xml": XML,
        "changed": FLAG,
        "applied": List(APPLIED),
        "idle": List(IDLE),
        "skipped": List(SKIPPED),
        "changes": List(CHANGE),
        "overridden": List(OVERRIDDEN),
        "warnings": List(WARNING),
    },
    {"details": Loose("object"), "storage": List(STORAGE)},
    name="Result",
)
CLAIM = Object({"value": Maybe(TEXT), "priority": NUMBER, "constraint": TEXT, "origin": ORIGIN_OR_DEFINITION})
CONFLICT = Object({"path": TEXT, "values": List(CLAIM), "fixes": TEXTS}, name="Conflict")
_ERROR_WORDS: Mapping[str, Shape] = {
    "code": TEXT,
    "message": TEXT,
    "hint": TEXT,
    "where": TEXT,
    "conflicts": List(CONFLICT),
}
ERROR = Object(_ERROR_WORDS, {"others": List(Reference("Error"))}, name="Error")
#: An error as the whole answer, RFC 9457.
PROBLEM = Object(
    {"type": TEXT, "title": TEXT, "status": NUMBER, **_ERROR_WORDS}, {"others": List(ERROR)}, name="Problem"
)
DRIFT = Object({"path": TEXT, "written": Maybe(TEXT), "has": Maybe(TEXT)})
STATUS = Object(
    {
        "profiles": List(
            Object(
                {
                    "name": TEXT,
                    "version": Maybe(TEXT),
                    "priority": NUMBER,
                    "state": Choice(("applied", "listed", "withdrawn", "excluded")),
                    "source": TEXT,
                    "newest": Maybe(TEXT),
                    "changed": FLAG,
                    "outdated": FLAG,
                    "missing": FLAG,
                    "drift": List(DRIFT),
                    "effect": Maybe(TEXT),
                }
            )
        ),
        "pending": FLAG,
        "warnings": List(WARNING),
    },
    name="Status",
)
PARAM = Object({"name": TEXT, "type": TEXT, "default": Maybe(TEXT), "secret": FLAG}, {"required": FLAG})
PROFILE_ENTRY = Object(
    {
        "name": TEXT,
        "version": TEXT,
        "versions": TEXTS,
        "title": TEXT,
        "description": TEXT,
        "params": List(PARAM),
        "requires": TEXTS,
        "conflicts": TEXTS,
        "autoselect": FLAG,
        "priority": NUMBER,
        "replaced_by": Maybe(TEXT),
        "group": TEXT,
    },
    name="Profile",
)
PROFILE_FACTS = Object(
    {"name": TEXT, "version": TEXT, "digest": TEXT, "params": List(PARAM)}, name="ProfileFacts", open=True
)
PROBLEM_IN_FILE = Object(
    {"level": TEXT, "message": TEXT, "hint": TEXT, "file": TEXT, "line": NUMBER, "column": NUMBER}
)

# --- calls of the client -----------------------------------------------------------------------

APPLY = Call("apply", APPLY_REQUEST, RESULT)
UNAPPLY = Call(
    "unapply",
    Object(
        {"xml": XML},
        {
            "profiles": Either((TEXT, NAMES)),
            "exclude": FLAG,
            "apply": WISHES,
            "override": FLAG,
            **RESULT_WORDS,
        },
    ),
    RESULT,
)
UPGRADE = Call("upgrade", Object({"xml": XML}, {"profiles": NAMES, **RESULT_WORDS}), RESULT)
STATUS_OF_VM = Call("status", Object({"xml": XML}, VM_WORDS), STATUS)
LINT = Call(
    "lint", Object({"profile": TEXT}, {"file": FILE}), Object({"ok": FLAG, "problems": List(PROBLEM_IN_FILE)})
)
DEVICE = Call(
    "device",
    Object({"xml": XML, "device": TEXT}, {**APPLY_WORDS, "running": FLAG, "file": FILE}),
    Object({"devices": TEXTS}),
)
MIRROR = Call(
    "topology/mirror",
    Object(
        {"xml": XML, "capabilities": TEXT},
        {
            "nodes": Either((TEXT, NUMBER)),
            "policy": TEXT,
            "reserve": Either((TEXT, NUMBER)),
            "hugepages": Either((TEXT, NUMBER)),
            "used": TEXT,
            "emulator": TEXT,
        },
    ),
    Object({"nodes": Loose("array"), "pins": Loose("object")}, open=True),
)
MERGE = Call(
    "capabilities/merge",
    Object(
        {"hosts": HOSTS},
        {
            "min_hosts": NUMBER,
            "require": List(TEXT, most=MAX_REQUIRED),
            "budget": Number(1, MAX_BUDGET, described=False),
        },
    ),
    Object({"xml": TEXT, "hosts": TEXTS, "proven": FLAG}, open=True),
)
PLACES = Call(
    "hosts",
    Object(
        {"xml": XML, "hosts": HOSTS},
        {key: APPLY_WORDS[key] for key in ("profiles", "context", "name", "auto", "override", "complete")},
    ),
    Object({"hosts": Loose("array")}),
)
PROFILES = Call(
    "profiles", NOTHING, Object({"profiles": List(PROFILE_ENTRY), "groups": TEXTS, "vms": FLAG}), method="GET"
)
PROFILE = Call("profile", Object({"name": TEXT}), PROFILE_FACTS, method="GET", at="/v1/profiles/{name}")
PROFILE_VERSION = Call(
    "profile-version",
    Object({"name": TEXT, "version": TEXT}),
    PROFILE_FACTS,
    method="GET",
    at="/v1/profiles/{name}/{version}",
)

#: By name: what the client sends.
CALLS: Mapping[str, Call] = {
    call.name: call
    for call in (
        APPLY, UNAPPLY, UPGRADE, STATUS_OF_VM, LINT, DEVICE, MIRROR, MERGE, PLACES, PROFILES, PROFILE,
        PROFILE_VERSION,
    )
}  # fmt: skip


def call_of(name: str) -> Call:
    """The call of a name: one of the client's, else any JSON object for ``/v1/NAME``."""
    return CALLS.get(name) or Call(name, Object(open=True), Loose("object"), at=f"/v1/{quote(name)}")
