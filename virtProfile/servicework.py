# SPDX-License-Identifier: GPL-2.0-or-later
"""One request of the service, in a process of its own that ends with it: bounded, and no secret stays."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import ProfileError, UsageError
from .resultdocument import details
from .secrecy import veil_error, veil_result
from .servicehosts import answer_hosts, answer_merge, answer_mirror
from .servicepolicy import check
from .servicerequest import asked, context, texts, wishes
from .standing import veil_status
from .store import ProfileStore

SECONDS = 10
MEMORY = 1 << 30
_PRELOAD = [f"virtProfile.{one}" for one in ("servicework", "engine", "lifecycle", "diff")]


#: What requests about a VM have in common; `name` stands in messages for its file, `details`
#: asks for what a front end of this package shows besides (`resultdocument`).
_WORDS: dict[str, Any] = {"xml": str, "context": dict, "name": str, "details": bool}


def _apply(body: Mapping[str, Any], store: ProfileStore) -> Any:
    from .engine import apply

    flags = ("auto", "override", "complete", "record")
    asked(body, {**_WORDS, "profiles": list, **dict.fromkeys(flags, bool)})
    chosen = {one: body[one] for one in (*flags, "name") if one in body}
    return apply(body["xml"], wishes(body), store=store, context=context(body), **chosen)


def _shown(result: Any, body: Mapping[str, Any]) -> dict[str, Any]:
    check(result.input, result.xml)
    veiled = veil_result(result)
    found: dict[str, Any] = veiled.to_dict()
    if body.get("details"):
        found["details"] = details(veiled)
    return found


def answer_apply(body: Mapping[str, Any], store: ProfileStore) -> Any:
    return _shown(_apply(body, store), body)


def answer_diff(body: Mapping[str, Any], store: ProfileStore) -> Any:
    from .diff import unified

    result = _apply(body, store)
    check(result.input, result.xml)
    return {"diff": unified(result, ""), "changed": result.changed}


def answer_unapply(body: Mapping[str, Any], store: ProfileStore) -> Any:
    from .lifecycle import unapply

    asked(body, {**_WORDS, "profiles": (str, list), "exclude": bool})
    wanted = body.get("profiles", "all")
    chosen = {one: body[one] for one in ("exclude", "name") if one in body}
    return _shown(unapply(body["xml"], wanted, store=store, context=context(body), **chosen), body)


def answer_upgrade(body: Mapping[str, Any], store: ProfileStore) -> Any:
    from .lifecycle import upgrade

    asked(body, {**_WORDS, "profiles": list})
    names = texts(body, "profiles", 1000)
    chosen = {"name": body["name"]} if "name" in body else {}
    return _shown(upgrade(body["xml"], names, store=store, context=context(body), **chosen), body)


def answer_status(body: Mapping[str, Any], store: ProfileStore) -> Any:
    from .lifecycle import status

    asked(body, _WORDS)
    chosen = {"name": body["name"]} if "name" in body else {}
    return veil_status(status(body["xml"], store=store, context=context(body), **chosen)).to_dict()


ANSWERS: dict[str, Callable[[Mapping[str, Any], ProfileStore], Any]] = {
    "apply": answer_apply,
    "diff": answer_diff,
    "unapply": answer_unapply,
    "upgrade": answer_upgrade,
    "status": answer_status,
    "topology/mirror": answer_mirror,
    "capabilities/merge": answer_merge,
    "hosts": answer_hosts,
}


def _serve(pipe: Any, name: str, body: Any, directories: Sequence[str], seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    try:
        if not isinstance(body, dict):
            raise UsageError("the request is no JSON object")
        pipe.send((200, ANSWERS[name](body, ProfileStore(directories))))
    except ProfileError as problem:
        pipe.send((422, veil_error(problem).to_dict()["error"]))
    except MemoryError:
        pipe.send((503, {"code": "policy", "message": "the request needs too much memory", "hint": ""}))
    except Exception as problem:  # its text may quote the document
        fact = f"internal error: {type(problem).__name__}"
        pipe.send((500, {"code": "failed", "message": fact, "hint": ""}))


def answered(name: str, body: Any, directories: Sequence[str], seconds: int = SECONDS) -> tuple[int, Any]:
    """HTTP status and answer of a request; a process that is too slow or dies loses only its own."""
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(_PRELOAD)  # modules only: no document is ever in that process
    ours, theirs = start.Pipe(duplex=False)
    process = start.Process(target=_serve, args=(theirs, name, body, directories, seconds), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            late = f"not done in {seconds} seconds"
            return 503, {"code": "policy", "message": late, "hint": "ask for less at once"}
        found: tuple[int, Any] = ours.recv()
        return found
    except EOFError:
        return 503, {"code": "failed", "message": "the process of this request ended", "hint": "ask again"}
    finally:
        process.kill()
        process.join()
        ours.close()
