# SPDX-License-Identifier: GPL-2.0-or-later
"""Where profiles are found: by name and version, along a search path.

Name and version come from the document, not from the file's name. The same name
and version in an earlier directory replaces that of a later one; drop-ins
(``NAME.d/*.xml``) of every directory extend a profile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import NotFoundError, PolicyError, ProfileError, ProfileSyntaxError, VersionError, nearest
from .profile import ParsedFile, Problem, Profile, parse_profiles
from .profileparser import digest
from .provenance import Warning
from .records import record, replace
from .xmltree import read_file


@record
class Listed:
    """One profile of the listing. `shadowed` is replaced by one of an earlier directory."""

    profile: Profile
    directory: Path
    shadowed: bool
    drop_ins: tuple[str, ...] = ()


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts dotted versions: numbers as numbers, other words before them."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in version.split("."))


def fits_version(version: str, wish: str) -> bool:
    """Is `version` what a wish such as '1' (any 1.x) asks for?"""
    return version == wish or version.startswith(wish + ".")


#: What a file was like when it was read: time of change, size, inode.
Stamp = tuple[int, int, int]


class ProfileStore:
    """Profiles of some directories; later ones are asked only where earlier ones are silent.

    :param directories: of profile files; ones that do not exist are skipped
    :param check_owner: refuse directories and files that others may write; by
        default where the process runs as root
    """

    def __init__(
        self, directories: Iterable[str | os.PathLike[str]], check_owner: bool | None = None
    ) -> None:
        self.directories = [Path(one) for one in directories]
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
        fitting = [one for one in found if fits_version(one.version, version)]
        for one in fitting:
            if one.version == version:
                return one
        if fitting:
            return fitting[0]
        there = ", ".join(one.version for one in found)
        raise VersionError(
            f"profile '{name}' has no version '{version}'",
            hint=f"there is {there}",
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
                    f"replaced-by goes in a circle: {' -> '.join([*seen, profile.replaced_by])}",
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
                files, drop_ins = self._listing(str(directory))
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
        ordered = sorted(found.values(), key=lambda one: version_key(one.version), reverse=True)
        return [self._extend(one, drop_ins) for one in ordered]

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted({one.profile.name for one in self.listing()})

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

    def _existing(self) -> list[Path]:
        found: list[Path] = self._once("directories", "", self._find_directories)
        return found

    def _find_directories(self, _: str) -> list[Path]:
        found = []
        for directory in self.directories:
            try:
                status = directory.stat()
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                self._trust(directory, status)
                found.append(directory)
        return found

    def _trust(self, path: str | Path, status: os.stat_result) -> None:
        if not self._check:
            return
        if status.st_uid != os.geteuid() and status.st_uid != 0:
            fact = f"'{path}' belongs to another user"
        elif status.st_mode & 0o002 or (status.st_mode & 0o020 and status.st_gid != 0):
            fact = f"'{path}' may be written by others"
        else:
            return
        raise PolicyError(
            f"{fact}, so root does not use its profiles",
            hint=f"chown root '{path}'; chmod go-w '{path}'",
            where=str(path),
        )

    def _files(self, directory: Path) -> list[str]:
        return self._listing(str(directory))[0]

    def _listing(self, directory: str) -> tuple[list[str], bool]:
        """The profile files of a directory, and whether there are drop-ins."""
        found: tuple[list[str], bool] = self._once("files", directory, self._list)
        return found

    def _list(self, directory: str) -> tuple[list[str], bool]:
        names = []
        drop_ins = False
        try:
            with os.scandir(directory) as entries:
                for one in entries:
                    name = one.name
                    if name.endswith(".xml"):
                        if name[0] != "." and one.is_file():
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
        return name in text or "&" in text

    def _in_directory(self, directory: Path, name: str) -> list[Profile]:
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
                        f"profile '{name}' version '{profile.version}' stands twice:"
                        f" {other.file}:{other.line} and {profile.file}:{profile.line}",
                        hint="two of one name have different versions, or are in different directories",
                        where=f"{profile.file}:{profile.line}",
                    )
                found[profile.version] = profile
        return list(found.values())

    # --- drop-ins ------------------------------------------------------------

    def _drop_in_files(self, name: str) -> list[str]:
        found = []
        for directory in self._existing():
            folder = directory / f"{name}.d"
            if folder.is_dir():
                self._trust(folder, folder.stat())
                found.extend(self._files(folder))
        return sorted(found, key=lambda path: (os.path.basename(path), path))

    def _drop_ins(self, name: str) -> list[Profile]:
        found: list[Profile] = []
        for path in self._drop_in_files(name):
            parsed = self._parse(path, drop_in=True)
            if any(one.level == "error" for one in parsed.problems):
                raise _syntax(parsed)
            found.extend(parsed.profiles)
        return found

    def _extend(self, profile: Profile, drop_ins: Sequence[Profile]) -> Profile:
        if not drop_ins:
            return profile
        key = (profile.name, profile.version, profile.digest, tuple(one.digest for one in drop_ins))
        known = self._extended.get(key)
        if known is not None and known.file == profile.file:
            return known
        actions = list(profile.actions)
        params = {one.name: one for one in profile.params}
        for one in drop_ins:
            for action in one.actions:
                actions.append(replace(action, number=len(actions) + 1))
            params.update({param.name: param for param in one.params})
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
                names.update(one.name for one in parsed.profiles)
                if _is_broken(parsed) and not parsed.profiles:
                    broken.append(path)
        searched = ", ".join(str(one) for one in self.directories) or "no directory"
        hints = [nearest(name, names)] if nearest(name, names) else []
        hints.append(f"searched: {searched}")
        if broken:
            hints.append(f"could not be read: {', '.join(broken)}")
        return NotFoundError(f"no profile '{name}'", hint="; ".join(hints))


def _untrusted(problem: Exception, path: str) -> bool:
    """Is it refused for whose file it is, not for what stands in it?"""
    return (
        isinstance(problem, PolicyError)
        and problem.where == path
        and problem.message.startswith(f"'{path}'")
    )


def _is_broken(parsed: ParsedFile) -> bool:
    return any(one.level == "error" for one in parsed.problems)


def _syntax(parsed: ParsedFile) -> ProfileSyntaxError:
    errors = [
        ProfileSyntaxError(one.message, hint=one.hint, where=f"{one.file}:{one.line}")
        for one in parsed.problems
        if one.level == "error"
    ]
    first, *others = errors
    return ProfileSyntaxError(first.message, hint=first.hint, where=first.where, others=others)
