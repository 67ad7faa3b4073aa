# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service answers to one request: bytes in, status and bytes out; runs in a worker process.

`worker` bounds it and keeps nothing between requests, `routes` serves HTTP. Each handler has its
row of the table of routes, and gets a request that was checked by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from virtProfile.errors import (
    NotFoundError,
    PolicyError,
    ProfileError,
    ProfileSyntaxError,
    UsageError,
    VersionError,
)
from virtProfile.language.profile import Problem, Profile
from virtProfile.language.store import OverlayStore, ProfileStore, Store
from virtProfile.redaction import veil_error, veil_result
from virtProfile.result import Result
from virtProfile.service import hosts, profiles, vms  # noqa: F401 - the rows of hosts and vms
from virtProfile.service.policy import RULES, check, check_profiles
from virtProfile.service.request import chosen, context
from virtProfile.service.route import ROUTES, Body, Json, Route
from virtProfile.show.status import veil_status
from virtProfile.wire import calls
from virtProfile.wire.calls import APPLY_REQUEST, APPLY_WORDS, FLAG, NUMBER, TEXT, TEXTS, XML, Call
from virtProfile.wire.shapes import Choice, List, Map, Object, Text

#: The name of a request's document of tests, in messages.
_TESTS = "tests"
#: Answers are trees, which need no look for cycles.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_FLAGS = ("auto", "override", "complete", "record")
#: Has the request at hand brought profiles along? Set here, cleared by who answers requests.
BROUGHT: ContextVar[bool] = ContextVar("brought", default=False)
#: An XPath whose evaluation costs no more than a walk: names, positions, keys; no axis, no descendants.
_NAME = r"(?:[\w.-]+:)?[\w.-]+"
_SIMPLE_STEP = rf"@?{_NAME}(?:\[(?:\d+|@?{_NAME}(?:/@?{_NAME})*='[^']*')\])?"
_SIMPLE_PATH = re.compile(rf"/?{_SIMPLE_STEP}(?:/{_SIMPLE_STEP})*")
#: Options of a program of virtinst.
_PROGRAM = List(
    TEXT, description="options of the program, as a list of words: those that read no file of the host"
)
TESTED = Object(
    {
        "name": TEXT,
        "file": TEXT,
        "line": NUMBER,
        "status": Choice(("passed", "failed")),
        "failures": List(Object({"message": TEXT, "line": NUMBER})),
    },
    name="Tested",
)
UNCOVERED = Object(
    {"profile": TEXT, "version": TEXT, "action": TEXT, "file": TEXT, "line": NUMBER}, name="Uncovered"
)


def _inline(documents: Sequence[str]) -> list[Profile]:
    """The profiles that the caller brought along.

    :raises PolicyError: the policy allows none
    :raises ProfileSyntaxError: one of them is in error
    """
    from virtProfile.language.parser import parse_profiles

    if not RULES.get().inline:
        raise _forbidden("profiles in the request", "'inline'")
    BROUGHT.set(True)
    found: list[Profile] = []
    for number, text in enumerate(documents):
        parsed = parse_profiles(text, f"inline:{number}")
        for problem in parsed.problems:
            if problem.level == "error":
                where = f"{problem.file}:{problem.line}"
                raise ProfileSyntaxError(problem.message, hint=problem.hint, where=where)
        found += parsed.profiles
    return found


def _forbidden(what: str, word: str) -> ProfileError:
    return PolicyError(
        f"{what} are not allowed: {word}", hint="the service's policy file allows them with inline-profiles"
    )


def _apply(body: Body, store: Store, extra: Sequence[Mapping[str, Any]] = ()) -> Result:
    from virtProfile.engine.flow import apply

    options = chosen(body, *_FLAGS, "name")
    if "inline" in body:
        store = OverlayStore(_inline(body["inline"]), store)
    wishes = [*body.get("profiles", ()), *extra]
    return apply(body["xml"], wishes, store=store, context=context(body), trust="store", **options)


def _allowed(result: Result) -> Result:
    """The result, if the caller may have it.

    :raises PolicyError: by what the documents before and after say, or by a profile's name
    """
    check_profiles(profile.name for profile in result.applied)
    check(result.input, result.xml)
    return result


def _shown(result: Result, body: Body) -> Json:
    veiled = veil_result(_allowed(result))
    document: Json = veiled.to_dict()
    if body.get("details"):
        from virtProfile.show.json_result import details

        document["details"] = details(veiled)
    return document


@Route(
    calls.APPLY,
    "Apply profiles to a VM, or to each of a list of VMs",
    description="As application/jsonl a stream of requests, one a line, each of at most 2 MiB; the answer is"
    ' a stream of results or {"error": …}, in the same order, while the requests still come.',
    many=True,
)
def answer_apply(body: Body, store: ProfileStore) -> Json:
    return _shown(_apply(body, store), body)


@Route(
    Call("diff", APPLY_REQUEST, Object({"diff": TEXT, "changed": FLAG})),
    "The difference that applying makes, with origins",
)
def answer_diff(body: Body, store: ProfileStore) -> Json:
    from virtProfile.show.diff import unified

    result = _allowed(_apply(body, store))
    return {"diff": unified(result, ""), "changed": result.changed}


@Route(
    Call(
        "explain",
        Object({"xml": XML}, {**APPLY_WORDS, "xpath": TEXT}),
        Object({"explain": TEXT, "changed": FLAG}),
    ),
    "Who wants each value, and why it won",
)
def answer_explain(body: Body, store: ProfileStore) -> Json:
    from virtProfile.show.explain import explain

    xpath = body.get("xpath", "")
    if xpath and not RULES.get().inline and not _SIMPLE_PATH.fullmatch(xpath):
        raise _forbidden("expressions of the caller's", f"'{xpath[:200]}'")
    result = _allowed(_apply(body, store))
    return {"explain": explain(result, xpath), "changed": result.changed}


@Route(calls.UNAPPLY, "Take profiles back")
def answer_unapply(body: Body, store: ProfileStore) -> Json:
    from virtProfile.engine.lifecycle import unapply

    names, options = body.get("profiles", "all"), chosen(body, "exclude", "override", "name")
    wishes, around = body.get("apply", ()), context(body)
    result = unapply(body["xml"], names, wishes=wishes, store=store, context=around, trust="store", **options)
    return _shown(result, body)


@Route(calls.UPGRADE, "Bring profiles that a VM has to their newest versions")
def answer_upgrade(body: Body, store: ProfileStore) -> Json:
    from virtProfile.engine.lifecycle import upgrade

    names, options = body.get("profiles", ()), chosen(body, "name")
    result = upgrade(body["xml"], names, store=store, context=context(body), trust="store", **options)
    return _shown(result, body)


@Route(calls.STATUS_OF_VM, "How profiles stand on a VM")
def answer_status(body: Body, store: ProfileStore) -> Json:
    from virtProfile.engine.lifecycle import status

    options = chosen(body, "name")
    return veil_status(status(body["xml"], store=store, context=context(body), **options)).to_dict()


@Route(calls.LINT, "What is wrong or doubtful in a profile document", has_profiles=True)
def answer_lint(body: Body, store: ProfileStore) -> Json:
    """Parsed and looked at, never evaluated: no inline profile in the policy's sense."""
    from virtProfile.authoring.lint import lint_text

    problems = lint_text(body["profile"], body.get("file", "profile.xml")[:200])
    return {
        "ok": not any(problem.level == "error" for problem in problems),
        "problems": [problem_dict(problem) for problem in problems],
    }


def problem_dict(problem: Problem) -> Json:
    return {
        "level": problem.level,
        "message": problem.message,
        "hint": problem.hint,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
    }


@Route(
    Call(
        "test",
        Object(
            {"xml": XML},
            {
                **{
                    key: APPLY_WORDS[key]
                    for key in ("inline", "profiles", "context", "auto", "override", "complete")
                },
                "tests": Text(
                    "a document of tests; without one the profiles are applied to the VM, a second time,"
                    " in reverse order, and taken back"
                ),
                "files": Map(TEXT, description="what tests may name as files, by name; vm.xml is the VM"),
            },
        ),
        Object({"ok": FLAG, "tests": List(TESTED), "uncovered": List(UNCOVERED)}),
    ),
    "Run tests of profiles, as --test does",
)
def answer_test(body: Body, store: ProfileStore) -> Json:
    """No file of the service is read: tests name what the request has."""
    from virtProfile.authoring.cases import GivenFiles, without_expectation
    from virtProfile.authoring.proving import Prover
    from virtProfile.language.requests import read_requests

    files = {"vm.xml": body["xml"], **body.get("files", {})}
    if "tests" in body:
        if not RULES.get().inline:
            raise _forbidden("tests in the request", "'tests'")
        BROUGHT.set(True)
        files[_TESTS] = body["tests"]
    over: Store = OverlayStore(_inline(body["inline"]), store) if "inline" in body else store
    prover = Prover(lambda _: over, files=GivenFiles(files), trust="store", judge=_allowed)
    if "tests" in body:
        outcomes = list(prover.run([_TESTS]))
    else:
        options = {flag: body.get(flag, False) for flag in ("auto", "override", "complete")}
        requests = tuple(read_requests(body.get("profiles", ())))
        case = without_expectation(body["xml"], requests, "as it is", **options)
        outcomes = [prover.run_case(case, context(body))]
    return {
        "ok": not any(outcome.failures for outcome in outcomes),
        "tests": [outcome.to_dict() for outcome in outcomes],
        "uncovered": [row.to_dict() for row in prover.uncovered()],
    }


# The device is a profile for the time of the request.
@Route(calls.DEVICE, "What to attach for a device, in order; attaches nothing", has_profiles=True)
def answer_device(body: Body, store: ProfileStore) -> Json:
    """What to attach, in order: the caller's devices, completed under the VM's profiles."""
    from virtProfile.format.document import parse
    from virtProfile.host.documents import machine_family
    from virtProfile.live.hotplug import (
        DEVICE_PROFILE,
        device_profile,
        printed,
        to_attach,
    )
    from virtProfile.service.policy import check_devices

    profile = device_profile(body["device"], body.get("file", "device"))
    before = _apply(body, store)
    wish = {"name": DEVICE_PROFILE, "params": {}}
    after = _apply(body, OverlayStore([profile], store), extra=[wish])
    check_profiles(profile.name for profile in after.applied if profile.name != DEVICE_PROFILE)
    family = machine_family(parse(body["xml"]).root, context(body).documents)
    new = [printed(device) for device in to_attach(before, after, family, bool(body.get("running")))]
    check_devices(body["device"], new)
    return {"devices": new}


@Route(
    Call("install-xml", Object({"arguments": _PROGRAM}), Object({"xml": TEXT, "messages": TEXTS})),
    "What virt-install --print-xml prints",
    slow=True,
)
def answer_install(body: Body, store: ProfileStore) -> Json:
    from virtProfile.service.virt_programs import install_xml

    return install_xml(body["arguments"], store)


@Route(
    Call("edit-xml", Object({"xml": XML}, {"arguments": _PROGRAM}), Object({"xml": TEXT, "messages": TEXTS})),
    "What virt-xml --edit --print-xml prints",
    slow=True,
)
def answer_edit(body: Body, store: ProfileStore) -> Json:
    from virtProfile.service.virt_programs import edit_xml

    return edit_xml(body["xml"], body.get("arguments", []), store)


# --- from bytes to bytes -----------------------------------------------------------------------


def answered(name: str, data: bytes, store: ProfileStore) -> tuple[int, bytes]:
    """HTTP status and JSON of an answer.

    :param name: of a route
    :param data: the request's body as it came, the words of the path in it; where the route
        takes many also a list of requests
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return 400, _json(problem("usage", "the body is not JSON"))
    if isinstance(body, list) and name in ROUTES and ROUTES[name].many:
        answers = [_answer(name, request, store) for request in body]
        return 200, _json([answer if status == 200 else {"error": answer} for status, answer in answers])
    status, answer = _answer(name, body, store)
    return status, _json(answer)


def _answer(name: str, body: object, store: ProfileStore) -> tuple[int, object]:
    try:
        return 200, _handled(ROUTES[name], body, store)
    except ProfileError as wrong:
        missing = isinstance(wrong, NotFoundError | VersionError) and 404 in ROUTES[name].errors
        status = 404 if missing else getattr(wrong, "http_status", 422)
        return status, veil_error(wrong).to_dict()["error"]
    except MemoryError:
        return 503, problem("policy", "the request needs too much memory", "send a smaller request")
    except Exception as wrong:  # its text may quote the document
        return 500, problem("failed", f"internal error: {type(wrong).__name__}")


def _handled(row: Route, body: object, store: ProfileStore) -> object:
    """:raises ProfileError: the request is wrong, or is not for this caller, or what the handler says"""
    if not isinstance(body, dict):
        raise UsageError("the request is not a JSON object")
    row.call.request.check(body)
    if row.writes:
        profiles.check_writable()
    if row.handler is None:
        raise LookupError(row.call.name)
    return row.handler(body, store)


def problem(code: str, message: str, hint: str = "") -> Json:
    """The error document of what is wrong outside the engine."""
    return {"code": code, "message": message, "hint": hint, "where": "", "conflicts": []}


def _json(document: object) -> bytes:
    return _ENCODER.encode(document).encode()
