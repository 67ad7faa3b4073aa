# SPDX-License-Identifier: GPL-2.0-or-later
"""Where profiles are found: by name and version, along a search path.

Name and version come from the document, not from the file's name. The same name
and version in an earlier directory replaces that of a later one; drop-ins
(``NAME.d/*.xml``) of every directory extend a profile.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from virtProfile.errors import (
    NotFoundError,
    PolicyError,
    ProfileError,
    ProfileSyntaxError,
    UsageError,
    VersionError,
    nearest,
)
from virtProfile.files import distrust, plain
from virtProfile.format.document import read_file
from virtProfile.frozen import record, replace
from virtProfile.language.parser import digest, parse_profiles
from virtProfile.language.profile import ParsedFile, Problem, Profile
from virtProfile.result import Warning

#: ``name=`` attributes of a profile file, with their quotes
_NAMES = re.compile(r"""\bname\s*=\s*("[^"<]*"|'[^'<]*')""")


@record
class Listed:
    """One profile of the listing. `shadowed` is replaced by one of an earlier directory."""

    profile: Profile
    directory: str
    shadowed: bool
    drop_ins: tuple[str, ...] = ()


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts dotted versions: numbers as numbers, other words before them."""
    return tuple(
        (1, int(part), "") if _NUMBER.fullmatch(part) else (0, 0, part) for part in version.split(".")
    )


def fits_version(version: str, wish: str) -> bool:
    """Is `version` what a wish such as '1' (any 1.x) asks for?"""
    return version == wish or version.startswith(wish + ".")


#: Files beside profiles that test them, and hold none.
TESTS = ".test.xml"
_NUMBER = re.compile(r"[0-9]{1,20}")

#: What a file was like when it was read: time of change, size, inode.
Stamp = tuple[int, int, int]


class Store(Protocol):
    """What `virtProfile.apply` and the others ask for profiles: `ProfileStore`, or something like it."""

    def get(self, name: str, version: str | None = None) -> Profile:
        """A profile by name; the newest that fits the wished version.

        :raises NotFoundError: there is none of that name
        :raises VersionError: there is none of that version
        """

    def resolve(self, name: str, version: str | None = None) -> tuple[Profile, list[Warning]]:
        """As `get`, following ``replaced-by`` with a warning."""

    def automatic(self) -> list[Profile]:
        """The profiles that select themselves."""

    def one_look(self) -> AbstractContextManager[None]:
        """While this lasts, the answers stay the same."""


class ProfileStore:
    """Profiles of some directories; later ones are asked only where earlier ones are silent.

    :param directories: of profile files; ones that do not exist are skipped
    :param check_owner: refuse directories and files that others may write; by
        default where the process runs as root
    """

    def __init__(
        self, directories: Iterable[str | os.PathLike[str]], check_owner: bool | None = None
    ) -> None:
        if isinstance(directories, str | bytes | os.PathLike):
            raise UsageError(  # its letters would be directories
                f"ProfileStore takes a list of directories, not the single '{os.fsdecode(directories)}'",
                hint="ProfileStore([DIRECTORY, …])",
            )
        self.directories = [plain(directory) for directory in directories]
        self._check = (os.geteuid() == 0) if check_owner is None else check_owner
        #: directory -> (names of its files, their paths), as last seen
        self._paths: dict[str, tuple[list[str], list[str]]] = {}
        self._texts: dict[str, tuple[Stamp, str]] = {}
        self._parsed: dict[str, tuple[Stamp, ParsedFile]] = {}
        #: what one call has found on the disk already, by question; None between calls
        self._looked: dict[tuple[str, str], Any] | None = None
        #: what the files were like when `_answers` were found: name -> all its versions
        self._stamps: tuple[Any, ...] = ()
        self._answers: dict[str, list[Profile]] = {}
        self._extended: dict[tuple[str, str, str, tuple[str, ...]], Profile] = {}

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Ask the disk only once for each directory and file while this lasts."""
        outer = self._looked
        self._looked = {} if outer is None else outer
        try:
            yield
        finally:
            self._looked = outer

    def _once(self, question: str, path: str, ask: Callable[[str], Any]) -> Any:
        looked = self._looked
        if looked is None:
            return ask(path)
        key = (question, path)
        found = looked.get(key)
        if found is None:
            found = looked[key] = ask(path)
        return found

    # --- looking up ----------------------------------------------------------

    def get(self, name: str, version: str | None = None) -> Profile:
        """A profile by name; the newest that fits the wished version.

        :param version: '1' is the newest 1.x; an equal version goes first; None the newest
        :raises NotFoundError: with the nearest names and the searched directories
        :raises VersionError: with the versions that there are
        :raises ProfileSyntaxError: all that is wrong in its file
        """
        found = self.versions(name)
        if not found:
            raise self._not_found(name)
        if not version:
            return found[0]
        fitting = [profile for profile in found if fits_version(profile.version, version)]
        for profile in fitting:
            if profile.version == version:
                return profile
        if fitting:
            return fitting[0]
        there = ", ".join(profile.version for profile in found)
        raise VersionError(
            f"profile '{name}' has no version '{version}'",
            hint=f"there is {there}; searched: {', '.join(map(str, self.directories))}",
            where=found[0].file,
        )

    def resolve(self, name: str, version: str | None = None) -> tuple[Profile, list[Warning]]:
        """As `get`, following ``replaced-by`` with a warning."""
        warnings: list[Warning] = []
        seen = [name]
        profile = self.get(name, version)
        while profile.replaced_by:
            if profile.replaced_by in seen:
                raise ProfileSyntaxError(
                    f"replaced-by forms a cycle: {' -> '.join([*seen, profile.replaced_by])}",
                    where=f"{profile.file}:{profile.line}",
                )
            warnings.append(
                Warning(
                    "replaced",
                    f"profile '{profile.name}' is replaced by '{profile.replaced_by}'",
                    f"{profile.file}:{profile.line}",
                )
            )
            seen.append(profile.replaced_by)
            try:
                profile = self.get(profile.replaced_by)
            except NotFoundError as problem:
                fact = f"{warnings[-1].message}: {problem.message}"
                raise NotFoundError(fact, hint=problem.hint, where=warnings[-1].where) from None
        return profile, warnings

    def versions(self, name: str) -> list[Profile]:
        """Every version of a profile, newest first, drop-ins included."""
        if self._looked is None:
            return self._find_versions(name)
        if not self._once("unchanged", "", self._unchanged):
            return self._find_versions(name)
        known = self._answers.get(name)
        if known is None:
            known = self._answers[name] = self._find_versions(name)
        return known

    def _unchanged(self, _: str) -> bool:
        """May answers be kept? Those of other files are dropped.

        They are not kept where there are drop-ins, or a file cannot be read.
        """
        stamps = self._read_stamps()
        if stamps is None or stamps != self._stamps:
            self._answers.clear()
            self._stamps = stamps or ()
        return stamps is not None

    def _read_stamps(self) -> tuple[Any, ...] | None:
        rows: list[Any] = []
        try:
            for directory in self._existing():
                files, drop_ins = self._listing(directory)
                if drop_ins:
                    return None
                rows += files
                rows += [self._read(path)[0] for path in files]
        except (OSError, ProfileError):
            return None
        return tuple(rows)

    def _find_versions(self, name: str) -> list[Profile]:
        found: dict[str, Profile] = {}
        for directory in self._existing():
            for profile in self._in_directory(directory, name):
                found.setdefault(profile.version, profile)
        drop_ins = self._drop_ins(name) if found else []
        ordered = sorted(found.values(), key=lambda profile: version_key(profile.version), reverse=True)
        return [self._extend(profile, drop_ins) for profile in ordered]

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted({row.profile.name for row in self.listing()})

    def automatic(self) -> list[Profile]:
        """The newest version of each profile that selects itself: by a match, so it has one."""
        chosen = []
        for name in self.names():
            profile = self.versions(name)[0]
            if profile.autoselect and profile.matches:
                chosen.append(profile)
        return chosen

    def listing(self) -> list[Listed]:
        """Every profile of every directory, by name and version; broken files are left out."""
        rows: list[Listed] = []
        seen: set[tuple[str, str]] = set()
        for directory in self._existing():
            for path in self._files(directory):
                for profile in self._parse(path).profiles:
                    key = (profile.name, profile.version)
                    drop_ins = tuple(self._drop_in_files(profile.name))
                    rows.append(Listed(profile, directory, key in seen, drop_ins))
                    seen.add(key)
        rows.sort(key=lambda row: (row.profile.name, version_key(row.profile.version)))
        return rows

    def problems(self) -> list[Problem]:
        """What is wrong in any file of the store."""
        found: list[Problem] = []
        for directory in self._existing():
            for path in self._files(directory):
                found.extend(self._parse(path).problems)
        return found

    # --- files ---------------------------------------------------------------

    def _existing(self) -> list[str]:
        found: list[str] = self._once("directories", "", self._find_directories)
        return found

    def _find_directories(self, _: str) -> list[str]:
        found = []
        for directory in self.directories:
            try:
                status = os.stat(directory)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                self._trust_way(directory)
                found.append(directory)
        return found

    def _trust(self, path: str, status: os.stat_result) -> None:
        if not self._check:
            return
        if status.st_uid != 0 and status.st_uid != os.geteuid():
            fact = f"'{path}' belongs to another user"
        elif status.st_mode & 0o002 or (status.st_mode & 0o020 and status.st_gid != 0):
            fact = f"'{path}' may be written by others"
        else:
            return
        raise _distrusted(fact, path)

    def _trust_way(self, directory: str) -> None:
        """A directory, and those above it: who can write there can put another in its place."""
        fact = distrust(directory) if self._check else ""
        if fact:
            raise _distrusted(fact, directory)

    def _files(self, directory: str) -> list[str]:
        return self._listing(directory)[0]

    def _listing(self, directory: str) -> tuple[list[str], bool]:
        """The profile files of a directory, and whether there are drop-ins."""
        found: tuple[list[str], bool] = self._once("files", directory, self._list)
        return found

    def _list(self, directory: str) -> tuple[list[str], bool]:
        names = []
        drop_ins = False
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    name = entry.name
                    if name.endswith(".xml"):
                        if name[0] != "." and not name.endswith(TESTS) and entry.is_file():
                            names.append(name)
                    elif name.endswith(".d"):
                        drop_ins = True
        except OSError:
            return [], False
        names.sort()
        known = self._paths.get(directory)
        if known is None or known[0] != names:
            known = self._paths[directory] = (names, [os.path.join(directory, name) for name in names])
        return known[1], drop_ins

    def _read(self, path: str) -> tuple[Stamp, str]:
        found: tuple[Stamp, str] = self._once("text", path, self._load)
        return found

    def _load(self, path: str) -> tuple[Stamp, str]:
        status = os.stat(path)
        if self._check:
            self._trust(path, status)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._texts.get(path)
        if known is None or known[0] != stamp:
            known = self._texts[path] = (stamp, read_file(path)[0])
        return known

    def _parse(self, path: str, drop_in: bool = False) -> ParsedFile:
        try:
            stamp, text = self._read(path)
            known = self._parsed.get(path)
            if known is None or known[0] != stamp:
                parsed = parse_profiles(text, path, drop_in=drop_in)
                known = self._parsed[path] = (stamp, parsed)
            return known[1]
        except ProfileError as problem:  # before OSError: what is refused is a PermissionError as well
            if _untrusted(problem, path):
                raise
            return ParsedFile((), (Problem("error", problem.message, problem.hint, path, 1),))
        except OSError as problem:
            fact = f"cannot be read: {problem.strerror}"
            return ParsedFile((), (Problem("error", fact, "", path, 1),))

    def _mentions(self, path: str, name: str) -> bool:
        """May the file hold a profile of that name? Cheap: parsing comes after."""
        try:
            text = self._read(path)[1]
        except (OSError, ProfileError) as problem:
            if _untrusted(problem, path):
                raise
            return True
        if name not in text and "&" not in text:
            return False
        # Most files speak of others' profiles somewhere; a profile's own name is quoted, whole.
        return any(quoted[1:-1] == name or "&" in quoted for quoted in _NAMES.findall(text))

    def _in_directory(self, directory: str, name: str) -> list[Profile]:
        found: dict[str, Profile] = {}
        for path in self._files(directory):
            own = os.path.basename(path) == f"{name}.xml"
            if not own and not self._mentions(path, name):
                continue
            parsed = self._parse(path)
            if name in parsed.broken:
                raise _syntax(parsed)
            if own and not parsed.profiles and _is_broken(parsed):
                # by its name it is the one: another directory's must not silently take its place
                raise self._why(path, parsed)
            for profile in parsed.profiles:
                if profile.name != name:
                    continue
                other = found.get(profile.version)
                if other is not None:
                    raise ProfileSyntaxError(
                        f"profile '{name}' version '{profile.version}' is defined twice:"
                        f" {other.file}:{other.line} and {profile.file}:{profile.line}",
                        hint="give the two different versions, or put them in different directories",
                        where=f"{profile.file}:{profile.line}",
                    )
                found[profile.version] = profile
        return list(found.values())

    # --- drop-ins ------------------------------------------------------------

    def _drop_in_files(self, name: str) -> list[str]:
        found = []
        for directory in self._existing():
            folder = f"{directory}/{name}.d"
            if os.path.isdir(folder):
                self._trust(folder, os.stat(folder))
                found.extend(self._files(folder))
        return sorted(found, key=lambda path: (os.path.basename(path), path))

    def _drop_ins(self, name: str) -> list[Profile]:
        found: list[Profile] = []
        for path in self._drop_in_files(name):
            parsed = self._parse(path, drop_in=True)
            if any(problem.level == "error" for problem in parsed.problems):
                raise _syntax(parsed)
            found.extend(parsed.profiles)
        return found

    def _extend(self, profile: Profile, drop_ins: Sequence[Profile]) -> Profile:
        if not drop_ins:
            return profile
        key = (profile.name, profile.version, profile.digest, tuple(drop_in.digest for drop_in in drop_ins))
        known = self._extended.get(key)
        if known is not None and known.file == profile.file:
            return known
        actions = list(profile.actions)
        params = {param.name: param for param in profile.params}
        for drop_in in drop_ins:
            for action in drop_in.actions:
                actions.append(replace(action, number=len(actions) + 1))
            params.update({param.name: param for param in drop_in.params})
        namespaces = dict(pair for part in (*reversed(drop_ins), profile) for pair in part.namespaces)
        extended = replace(profile, actions=tuple(actions), params=tuple(params.values()))
        extended = replace(extended, namespaces=tuple(sorted(namespaces.items())))
        extended = replace(extended, digest=digest(extended))
        self._extended[key] = extended
        return extended

    # --- errors --------------------------------------------------------------

    def _why(self, path: str, parsed: ParsedFile) -> ProfileError:
        """Why nothing in a file can be used, as the error that it is."""
        try:
            parse_profiles(self._read(path)[1], path)
        except PolicyError as problem:
            return problem
        except (OSError, ProfileError):
            pass
        return _syntax(parsed)

    def _not_found(self, name: str) -> NotFoundError:
        names: set[str] = set()
        broken: list[str] = []
        for directory in self._existing():
            for path in self._files(directory):
                parsed = self._parse(path)
                names.update(profile.name for profile in parsed.profiles)
                if _is_broken(parsed) and not parsed.profiles:
                    broken.append(path)
        searched = ", ".join(str(place) for place in self.directories) or "no directory"
        hints = [nearest(name, names)] if nearest(name, names) else []
        hints.append(f"searched: {searched}")
        if broken:
            hints.append(f"could not be read: {', '.join(broken)}")
        return NotFoundError(f"no profile '{name}'", hint="; ".join(hints))


class OverlayStore:
    """A store, and in front of it profiles that are the only version of their name.

    :param store: None is a store without profiles
    """

    def __init__(self, profiles: Iterable[Profile], store: Store | None = None) -> None:
        self._profiles = {profile.name: profile for profile in profiles}
        self.behind: Store = ProfileStore(()) if store is None else store

    def get(self, name: str, version: str | None = None) -> Profile:
        found = self._profiles.get(name)
        return self.behind.get(name, version) if found is None else found

    def resolve(self, name: str, version: str | None = None) -> tuple[Profile, list[Warning]]:
        found = self._profiles.get(name)
        return self.behind.resolve(name, version) if found is None else (found, [])

    def automatic(self) -> list[Profile]:
        return [self._profiles.get(profile.name, profile) for profile in self.behind.automatic()]

    def one_look(self) -> AbstractContextManager[None]:
        return self.behind.one_look()


def directories_of(store: Store) -> Sequence[str]:
    """Where a store looks for profiles; nothing of one that is not made of directories."""
    while isinstance(store, OverlayStore):
        store = store.behind
    return store.directories if isinstance(store, ProfileStore) else ()


def _untrusted(problem: Exception, path: str) -> bool:
    """Is it refused for whose file it is, not for what stands in it?"""
    return (
        isinstance(problem, PolicyError) and problem.where == path and problem.message.startswith(f"'{path}'")
    )


def _distrusted(fact: str, path: str) -> PolicyError:
    culprit = fact.split("'")[1]
    return PolicyError(
        f"{fact}, so root does not use its profiles",
        hint=f"chown root '{culprit}'; chmod go-w '{culprit}'",
        where=str(path),
    )


def _is_broken(parsed: ParsedFile) -> bool:
    return any(problem.level == "error" for problem in parsed.problems)


def _syntax(parsed: ParsedFile) -> ProfileSyntaxError:
    errors = [
        ProfileSyntaxError(problem.message, hint=problem.hint, where=f"{problem.file}:{problem.line}")
        for problem in parsed.problems
        if problem.level == "error"
    ]
    first, *others = errors
    return ProfileSyntaxError(first.message, hint=first.hint, where=first.where, others=others)
