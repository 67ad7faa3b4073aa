# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``virt-install --print-xml`` and ``virt-xml --edit`` would print, for callers of the service.

Each call is a process of its own, on libvirt's test driver, with options that are known to
read nothing of the host; what it prints is judged like every difference.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

from virtProfile.engine.lifecycle import status
from virtProfile.errors import (
    EXIT_CONFLICT,
    EXIT_USAGE,
    ConflictError,
    PolicyError,
    ProfileError,
    UsageError,
    nearest,
)
from virtProfile.format.document import parse
from virtProfile.format.facts import data_beside, rows
from virtProfile.host.overlay import overlay_path
from virtProfile.language.requests import profile_wish
from virtProfile.language.store import ProfileStore
from virtProfile.service.policy import check, check_profiles

_DATA = data_beside(__file__)

#: Seconds for one run of a program; a request of profiles takes two.
SECONDS = 8
#: Bytes that a program may print.
_MOST = 4 << 20
_URI = "test:///default"
_INSTALL = ("--print-xml", "--noautoconsole", "--check", "all=off")
_EMULATOR = "devices/emulator"


def install_xml(arguments: Sequence[str], store: ProfileStore) -> dict[str, Any]:
    """What virt-install makes of options: ``{"xml": the last document, "documents": all, "messages"}``.

    :raises UsageError: an option that is not for callers, or that virt-install refuses
    :raises PolicyError: the result has what the caller may not write
    """
    options = list(_options(arguments, "i"))
    plain = [(name, value) for name, value in options if name != "profile"]
    documents, messages = _run("virt_install", [*_INSTALL, *_spelled(plain)], "", store)
    emulator = etree.fromstring(documents[-1]).findtext(_EMULATOR) or ""
    root = etree.Element("domain")
    etree.SubElement(etree.SubElement(root, "devices"), "emulator").text = emulator
    check(etree.tostring(root, encoding="unicode"), documents[-1], new=True)
    if len(plain) < len(options):
        before = documents[-1]
        documents, messages = _run("virt_install", [*_INSTALL, *_spelled(options)], "", store)
        check(before, documents[-1])
        _check_applied(options, documents[-1], store)
    return {"xml": documents[-1], "documents": documents, "messages": messages}


def edit_xml(xml: str, arguments: Sequence[str], store: ProfileStore) -> dict[str, Any]:
    """What virt-xml makes of a domain and options; ``--edit`` is added where no action is given.

    :raises ProfileError: as `install_xml`
    """
    parse(xml)
    options = list(_options(arguments, "x"))
    actions = [name for name, _ in options if name in ("edit", "add-device", "remove-device")]
    if not actions:
        options.insert(0, ("edit", None))
    documents, messages = _run("virt_xml", ["--print-xml", *_spelled(options)], xml, store)
    check(xml, documents[-1])
    _check_applied(options, documents[-1], store)
    return {"xml": documents[-1], "documents": documents, "messages": messages}


def _check_applied(options: Sequence[tuple[str, str | None]], xml: str, store: ProfileStore) -> None:
    if any(name == "profile" for name, _ in options):
        profiles = status(xml, store=store).profiles
        check_profiles(profile.name for profile in profiles if profile.state == "applied")


# --- options -----------------------------------------------------------------------------------


@cache
def _known() -> Mapping[tuple[str, str], str]:
    """(program, option) -> the words that its value may have."""
    table = rows(f"{_DATA}/serviceoptions.tsv")
    return {(program, name): words for name, programs, words, *_ in table for program in programs}


def _options(arguments: Sequence[str], program: str) -> Iterator[tuple[str, str | None]]:
    """(name, value) of each option.

    :raises UsageError: what is no option, or none that callers may give
    """
    if not all(isinstance(word, str) and "\0" not in word for word in arguments):
        raise UsageError("'arguments' is a list of texts")
    if len(arguments) > 500 or sum(map(len, arguments)) > 100_000:
        raise UsageError("'arguments' has too many entries")
    rest = list(arguments)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        name = word[2:]
        words = _known().get((program, name)) if word.startswith("--") else None
        if words is None:
            names = ["--" + known for of, known in _known() if of == program]
            hint = nearest(word, names) or "options that read files of the host are not for callers"
            raise UsageError(f"option '{word[:80]}' is not supported by the service", hint=hint)
        if words == "-":
            if equals:
                raise UsageError(f"'{word}' takes no value")
            yield name, None
            continue
        if not equals:
            if rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            elif name == "edit":
                yield name, None
                continue
            else:
                raise UsageError(f"'{word}' needs a value")
        _judge(word, value, words)
        yield name, value


def _judge(word: str, value: str, words: str) -> None:
    """:raises UsageError: a word in an option's value that callers may not give"""
    lexer = shlex.shlex(value, posix=True)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = ",", True, ""
    try:
        parts = list(lexer)
    except ValueError as problem:
        raise UsageError(f"{word}: {problem}") from None
    for part in parts:
        key, equals, rest = part.partition("=")
        if part in ("?", "help", "list") or rest == "?" or (word == "--profile" and rest.startswith("@")):
            raise UsageError(f"'{word} {part[:80]}' is not allowed to callers of the service")
        if key.startswith("xpath"):
            message = f"'{key[:80]}' of {word} is not allowed to callers of the service"
            raise UsageError(message, hint="options that say what they change")
        if words == "*" or not equals and word in ("--osinfo", "--os-variant") and part != "detect=on":
            continue
        if not any(fnmatchcase(key, pattern) for pattern in words.split(",")):
            raise UsageError(
                f"'{key[:80]}' of {word} is not allowed to callers of the service", hint=f"known: {words}"
            )
    if word == "--profile":
        check_profiles([profile_wish(value)["name"]])


def _spelled(options: Sequence[tuple[str, str | None]]) -> list[str]:
    return [f"--{name}" if value is None else f"--{name}={value}" for name, value in options]


# --- the program -------------------------------------------------------------------------------


def _run(
    program: str, arguments: Sequence[str], text: str, store: ProfileStore
) -> tuple[list[str], list[str]]:
    """The documents that a program prints, and what it says besides.

    :raises ProfileError: it refused, took too long, or printed something else
    """
    code = f"import sys; from virtinst import profilecli; sys.argv[0] = {program!r}; profilecli.{program}()"
    with tempfile.TemporaryDirectory(prefix="virt-profile-") as home:
        environ = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": home,
            "XDG_CACHE_HOME": home,
            "XDG_CONFIG_HOME": home,
            "PYTHONPATH": ":".join(filter(None, (str(Path(__file__).resolve().parents[2]), overlay_path()))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "VIRT_PROFILE_PATH": ":".join(map(os.fspath, store.directories)),
        }
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, "--connect", _URI, *arguments],
                input=text.encode(),
                capture_output=True,
                timeout=SECONDS,
                env=environ,
                cwd=home,
            )
        except subprocess.TimeoutExpired:
            raise PolicyError(
                f"not finished within {SECONDS} seconds", hint="send a smaller request"
            ) from None
    said = done.stderr.decode(errors="replace")[:20_000]
    messages = [line.rstrip() for line in said.splitlines() if line.strip()]
    if done.returncode:
        raise _refused(done.returncode, messages)
    if len(done.stdout) > _MOST:
        raise PolicyError("the document is too long")
    documents = re.split(r"(?<=</domain>\n)(?=<domain\b)", done.stdout.decode().strip() + "\n")
    for document in documents:
        parse(document)
    return documents, messages


def _refused(code: int, messages: Sequence[str]) -> ProfileError:
    facts = [
        re.sub(r"^.*?ERROR\s+|^.*?error: ", "", line)
        for line in messages
        if re.search(r"ERROR|error: ", line)
    ]
    kinds = {EXIT_USAGE: UsageError, EXIT_CONFLICT: ConflictError}
    fact = facts[0] if facts else messages[-1] if messages else f"the program ended with status {code}"
    return kinds.get(code, ProfileError)(fact, hint="; ".join(facts[1:4]))
