# SPDX-License-Identifier: GPL-2.0-or-later
"""An audit of one VM: what checks find in it as it is, and which fixes were seen to work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.engine.flow import Call, run
from virtProfile.engine.selection.judged import Judged
from virtProfile.errors import InvalidDomainError, MissingContextError, ProfileError
from virtProfile.frozen import record
from virtProfile.language.profile import Kind
from virtProfile.language.requests import Selected, profile_wish, read_list, read_requests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from virtProfile.host.context import Context
    from virtProfile.language.expression import Expression
    from virtProfile.language.profile import Action, Profile
    from virtProfile.language.store import ProfileStore

#: Severities, the gravest first.
LEVELS = ("error", "warning", "info")


def is_at_least(level: str, wanted: str) -> bool:
    """Is a severity as grave as another one, or graver?"""
    return LEVELS.index(level) <= LEVELS.index(wanted)


@record
class Finding:
    """What a check found in a VM.

    :ivar fix: what to give to ``--profile``, "" where nothing was seen to work
    :ivar others: further VMs that it is about
    """

    vm: str
    level: str
    message: str
    profile: str
    version: str
    file: str
    line: int
    fix: str = ""
    others: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__match_args__}
        return fields | {"others": list(self.others)}


class Rule:
    """A profile with checks, and the params that it is judged with: `chosen`, the same for all VMs."""

    __slots__ = ("profile", "chosen")

    def __init__(self, profile: Profile, params: Mapping[str, str]) -> None:
        self.profile = profile
        self.chosen = Selected(profile, 0, "caller", params, None)


@record
class Audited:
    """All that was found in one VM, and what could not be judged."""

    vm: str
    findings: tuple[Finding, ...]
    unjudged: tuple[str, ...] = ()


def rules_of(store: ProfileStore, names: Sequence[str]) -> list[Rule]:
    """The profiles that an audit judges besides those on the VM's list.

    :param names: none are those marked ``audit='yes'``; ``NAME*`` all that begin so
    :raises NotFoundError: there is none of that name
    """
    if not names:
        every = {row.profile.name for row in store.listing() if row.profile.audit}
        return [Rule(store.get(name), {}) for name in sorted(every)]
    found: dict[str, Rule] = {}
    for word in names:
        if word.endswith("*"):
            matching = [name for name in store.names() if name.startswith(word[:-1])]
        else:
            matching = []
        for name in matching or [word]:
            wish = profile_wish(name, "--audit")
            profile = store.resolve(wish["name"], wish.get("version"))[0]
            found[profile.name] = Rule(profile, wish["params"])
    return list(found.values())


class Auditor:
    """Judges VMs by some rules.

    :param level: what is less grave is not looked for, except to see that a fix does not bring it
    """

    def __init__(self, store: ProfileStore, rules: Iterable[Rule], level: str = "warning") -> None:
        self._store = store
        self._rules = [rule for rule in rules if _has_checks(rule.profile)]
        self._level = level
        self._expressions: dict[tuple[Any, ...], Expression] = {}
        self._graver = {rule.profile.name for rule in self._rules if self._is_wanted(rule.profile)}

    def audit(self, xml: str, name: str, context: Context) -> Audited:
        """What is found in one VM.

        :raises ProfileError: it is no domain
        """
        judged = Judged(xml, context, name, self._expressions)
        if judged.document.root.tag != "domain":
            raise InvalidDomainError(
                f"the root element is '{judged.document.root.tag}', not 'domain'",
                hint="give libvirt domain XML, as 'virsh dumpxml' prints it",
                where=name,
            )
        unjudged: list[str] = []
        listed = self._listed(judged, unjudged)
        rules = {rule.profile.name: rule for rule in (*self._rules, *listed)}
        looked_for = self._graver | {rule.profile.name for rule in listed if self._is_wanted(rule.profile)}
        graver = [rule for name, rule in rules.items() if name in looked_for]
        rows = [row for row in _findings(judged, graver, unjudged) if self._is_grave(row[1])]
        wanted = {action.fix for _, action, _ in rows if action.fix is not None}
        before = set()
        if wanted:
            before = {_key(rule, message) for rule, _, message in _findings(judged, rules.values(), [])}
        gone = {fix: self._gone(xml, fix, context, rules.values(), before) for fix in sorted(wanted)}
        findings = [
            Finding(
                name, str(action.severity), message, rule.profile.name, rule.profile.version,
                action.file, action.line,
                action.fix if action.fix and _key(rule, message) in gone.get(action.fix, ()) else "",
            )
            for rule, action, message in rows
        ]  # fmt: skip
        return Audited(name, tuple(findings), tuple(dict.fromkeys(unjudged)))

    def _is_grave(self, action: Action) -> bool:
        return is_at_least(str(action.severity), self._level)

    def _is_wanted(self, profile: Profile) -> bool:
        return any(action.kind is Kind.CHECK and self._is_grave(action) for action in profile.actions)

    def _listed(self, judged: Judged, unjudged: list[str]) -> list[Rule]:
        """The profiles on the VM's own list, with their params."""
        found = []
        for entry in read_list(judged.document):
            if entry.exclude:
                continue
            try:
                profile = self._store.resolve(entry.request.name.partition("#")[0], entry.request.version)[0]
            except ProfileError as problem:
                unjudged.append(f"the VM lists '{entry.request.name}': {problem.message}")
                continue
            if _has_checks(profile):
                found.append(Rule(profile, entry.request.params))
        return found

    def _gone(
        self, xml: str, fix: str, context: Context, rules: Iterable[Rule], before: set[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """What a fix takes away of the findings; nothing where it fails or brings new ones."""
        try:
            wishes = read_requests([profile_wish(fix, "fix")])
            result = run(Call(xml, wishes, self._store, context, advise=False))
            left = {
                _key(rule, message) for rule, _, message in _findings(Judged(result.xml, context), rules, [])
            }
        except ProfileError:
            return set()
        return set() if left - before else before - left


def _key(rule: Rule, message: str) -> tuple[str, str]:
    return rule.profile.name, message


def _has_checks(profile: Profile) -> bool:
    return any(action.kind is Kind.CHECK for action in profile.actions)


def _findings(judged: Judged, rules: Iterable[Rule], unjudged: list[str]) -> list[tuple[Rule, Action, str]]:
    found = []
    for rule in rules:
        try:
            found += [(rule, action, message) for action, message in judged.findings(rule.chosen)]
        except MissingContextError as problem:
            hint = f" ({problem.hint})" if problem.hint else ""
            unjudged.append(f"profile '{rule.profile.name}' cannot be judged: {problem.message}{hint}")
        except ProfileError as problem:
            unjudged.append(f"profile '{rule.profile.name}' cannot be judged: {problem.message}")
    return found
