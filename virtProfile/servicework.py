# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service answers to one request: bytes in, status and bytes out; runs in a worker process.

`serviceworker` bounds it and keeps nothing between requests, `rest` has the routes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import NotFoundError, PolicyError, ProfileError, ProfileSyntaxError, UsageError, VersionError
from .secrecy import veil_error, veil_result
from .servicehosts import answer_hosts, answer_merge, answer_mirror
from .servicepolicy import RULES, check, check_profiles
from .servicerequest import asked, context, texts, wishes
from .standing import veil_status
from .store import ProfileStore

Body = Mapping[str, Any]
_FLAGS = ("auto", "override", "complete", "record")
#: Of requests about a VM; `name` stands in messages for its file.
_VM: Body = {"xml": str, "context": dict, "name": str}
#: Of requests with a `Result`; `details` asks for what front ends of this package show besides.
_RESULT: Body = {**_VM, "details": bool}
_APPLY: Body = {**_RESULT, "profiles": list, "inline": list, **dict.fromkeys(_FLAGS, bool)}
#: An XPath whose evaluation costs no more than a walk: names, positions, one key.
_SIMPLE_PATH = re.compile(
    r"/?(@?[\w.:*-]+|\.)(\[(\d+|@?[\w./:@-]+='[^']*')\])?(/@?[\w.:*-]+(\[(\d+|@?[\w./:@-]+='[^']*')\])?)*"
)


class _Inline:
    """A store, and in front of it profiles that the caller brought along."""

    def __init__(self, store: Any, documents: Sequence[str]) -> None:
        from .profile import parse_profiles

        if not RULES.get().inline:
            raise _forbidden("profiles brought along", "'inline'")
        self._store = store
        self._own: dict[str, Any] = {}
        for number, text in enumerate(documents):
            parsed = parse_profiles(text, f"inline:{number}")
            for problem in parsed.problems:
                if problem.level == "error":
                    where = f"{problem.file}:{problem.line}"
                    raise ProfileSyntaxError(problem.message, hint=problem.hint, where=where)
            self._own.update({one.name: one for one in parsed.profiles})

    def resolve(self, name: str, version: str | None = None) -> Any:
        own = self._own.get(name)
        return (own, []) if own is not None else self._store.resolve(name, version)

    def get(self, name: str, version: str | None = None) -> Any:
        return self._own.get(name) or self._store.get(name, version)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _forbidden(what: str, word: str) -> ProfileError:
    return PolicyError(
        f"{what} are not allowed: {word}", hint="the service's policy file allows them with inline-profiles"
    )


def _apply(body: Body, store: Any, kinds: Mapping[str, Any] = _APPLY, extra: Sequence[Any] = ()) -> Any:
    from .engine import apply

    asked(body, kinds)
    chosen = {one: body[one] for one in (*_FLAGS, "name") if one in body}
    if "inline" in body:
        store = _Inline(store, texts(body, "inline", 100))
    return apply(body["xml"], [*wishes(body), *extra], store=store, context=context(body), **chosen)


def _allowed(result: Any) -> Any:
    """The result, if the caller may have it.

    :raises PolicyError: by what the documents before and after say, or by a profile's name
    """
    check_profiles(one.name for one in result.applied)
    check(result.input, result.xml)
    return result


def _shown(result: Any, body: Body) -> dict[str, Any]:
    veiled = veil_result(_allowed(result))
    found: dict[str, Any] = veiled.to_dict()
    if body.get("details"):
        from .resultdocument import details

        found["details"] = details(veiled)
    return found


def answer_apply(body: Body, store: ProfileStore) -> Any:
    return _shown(_apply(body, store), body)


def answer_diff(body: Body, store: ProfileStore) -> Any:
    from .diff import unified

    result = _allowed(_apply(body, store))
    return {"diff": unified(result, ""), "changed": result.changed}


def answer_explain(body: Body, store: ProfileStore) -> Any:
    from .explain import explain

    asked(body, {**_APPLY, "xpath": str})
    xpath = body.get("xpath", "")
    if xpath and not RULES.get().inline and not _SIMPLE_PATH.fullmatch(xpath):
        raise _forbidden("expressions of the caller's", f"'{xpath[:200]}'")
    result = _allowed(_apply(body, store, {**_APPLY, "xpath": str}))
    return {"explain": explain(result, xpath), "changed": result.changed}


def answer_unapply(body: Body, store: ProfileStore) -> Any:
    from .lifecycle import unapply

    asked(body, {**_RESULT, "profiles": (str, list), "exclude": bool})
    wanted = body.get("profiles", "all")
    if not isinstance(wanted, str):
        wanted = texts(body, "profiles", 1000)
    chosen = {one: body[one] for one in ("exclude", "name") if one in body}
    return _shown(unapply(body["xml"], wanted, store=store, context=context(body), **chosen), body)


def answer_upgrade(body: Body, store: ProfileStore) -> Any:
    from .lifecycle import upgrade

    asked(body, {**_RESULT, "profiles": list})
    chosen = {"name": body["name"]} if "name" in body else {}
    wanted = texts(body, "profiles", 1000)
    return _shown(upgrade(body["xml"], wanted, store=store, context=context(body), **chosen), body)


def answer_status(body: Body, store: ProfileStore) -> Any:
    from .lifecycle import status

    asked(body, _VM)
    chosen = {"name": body["name"]} if "name" in body else {}
    return veil_status(status(body["xml"], store=store, context=context(body), **chosen)).to_dict()


def answer_lint(body: Body, store: ProfileStore) -> Any:
    """Parsed and looked at, never evaluated: no inline profile in the policy's sense."""
    from .linting import lint_text

    asked(body, {"profile": str, "file": str}, needed=("profile",))
    found = lint_text(body["profile"], body.get("file", "profile.xml")[:200])
    return {
        "ok": not any(one.level == "error" for one in found),
        "problems": [problem_dict(one) for one in found],
    }


def problem_dict(one: Any) -> dict[str, Any]:
    return {
        "level": one.level,
        "message": one.message,
        "hint": one.hint,
        "file": one.file,
        "line": one.line,
        "column": one.column,
    }


def answer_device(body: Body, store: ProfileStore) -> Any:
    """What to attach, in order: the caller's devices, completed under the VM's profiles."""
    from .hotplug import DEVICE_PROFILE, WithDevice, device_profile, printed, to_attach
    from .pcitopology import machine_family
    from .servicepolicy import check_devices
    from .xmltree import parse

    kinds = {**_APPLY, "device": str, "running": bool, "file": str}
    asked(body, kinds, needed=("xml", "device"))
    profile = device_profile(body["device"], body.get("file", "device"))
    before = _apply(body, store, kinds)
    given = {"name": DEVICE_PROFILE, "params": {}}
    after = _apply(body, WithDevice(store, profile), kinds, extra=[given])
    check_profiles(one.name for one in after.applied if one.name != DEVICE_PROFILE)
    family = machine_family(parse(body["xml"]).root, context(body).documents)
    new = [printed(one) for one in to_attach(before, after, family, bool(body.get("running")))]
    check_devices(body["device"], new)
    return {"devices": new}


def answer_install(body: Body, store: ProfileStore) -> Any:
    from .serviceprograms import install_xml

    asked(body, {"arguments": list}, needed=("arguments",))
    return install_xml(body["arguments"], store)


def answer_edit(body: Body, store: ProfileStore) -> Any:
    from .serviceprograms import edit_xml

    asked(body, {"xml": str, "arguments": list})
    return edit_xml(body["xml"], body.get("arguments", []), store)


#: What POST /v1/NAME does.
ANSWERS: dict[str, Callable[[Body, ProfileStore], Any]] = {
    "apply": answer_apply,
    "diff": answer_diff,
    "explain": answer_explain,
    "unapply": answer_unapply,
    "upgrade": answer_upgrade,
    "status": answer_status,
    "topology/mirror": answer_mirror,
    "capabilities/merge": answer_merge,
    "hosts": answer_hosts,
    "lint": answer_lint,
    "device": answer_device,
    "install-xml": answer_install,
    "edit-xml": answer_edit,
}


def _list(name: str, body: Body, store: ProfileStore) -> Any:
    from .servicecatalogue import OTHERS

    return (ANSWERS.get(name) or OTHERS[name])(body, store)


def answered(name: str, data: bytes, store: ProfileStore) -> tuple[int, bytes]:
    """HTTP status and JSON of an answer.

    :param name: of `ANSWERS`, or of `servicecatalogue.OTHERS`
    :param data: the request's body as it came; of ``apply`` also a list of requests
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return 400, _json(problem("usage", "the body is no JSON"))
    if isinstance(body, list) and name == "apply":
        rows = [_one(name, one, store) for one in body]
        return 200, _json([found if status == 200 else {"error": found} for status, found in rows])
    status, found = _one(name, body, store)
    return status, _json(found)


def _one(name: str, body: Any, store: ProfileStore) -> tuple[int, Any]:
    try:
        if not isinstance(body, dict):
            raise UsageError("the request is no JSON object")
        return 200, _list(name, body, store)
    except ProfileError as wrong:
        missing = name.startswith("profile") and isinstance(wrong, (NotFoundError, VersionError))
        status = 404 if missing else getattr(wrong, "http_status", 422)
        return status, veil_error(wrong).to_dict()["error"]
    except MemoryError:
        return 503, problem("policy", "the request needs too much memory", "ask for less at once")
    except Exception as wrong:  # its text may quote the document
        return 500, problem("failed", f"internal error: {type(wrong).__name__}")


def problem(code: str, message: str, hint: str = "") -> dict[str, Any]:
    """The error document of what is wrong outside the engine."""
    return {"code": code, "message": message, "hint": hint, "where": "", "conflicts": []}


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
