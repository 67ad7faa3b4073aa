# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the site of the documentation: ./dev site

Its pages are those of docs/, the manual pages, and a catalogue of the profiles with what each changes on
three VMs. `mkdocs` makes HTML of them; all links between them are followed.
"""

from __future__ import annotations

import html.parser
import posixpath
import re
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from docutils.core import publish_parts

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path.insert(0, str(TOP))

import virtProfile  # noqa: E402
from virtProfile.language.profile import Profile  # noqa: E402
from virtProfile.show.diff import unified  # noqa: E402
from virtProfile.show.groups import GROUPS, group  # noqa: E402

#: Where pages and HTML are made, in the directory of the build.
PAGES, HTML = "pages", "html"
SAMPLES = {"server": "a server", "desktop": "a desktop", "sketch": "a sketch of a new VM"}
#: Pages that stand elsewhere in the source.
MOVED = {
    "contrib/README.md": "integrations.md",
    "DESIGN.md": "DESIGN.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "NEWS.md": "NEWS.md",
    "docs/site/index.md": "index.md",
    "docs/site/tutorial.md": "tutorial.md",
    "docs/site/recipes.md": "recipes.md",
}
CATALOGUE_HEAD = """# Catalogue

Each profile that is shipped, and what it changes on three VMs: `server` (Q35, two disks, a NIC), `desktop`
(libvirt's own spelling, with a display), and `sketch`, the first lines of a new VM; nothing is known of
host or guest OS. The list of profiles and the record in the metadata are left out. The rules of `--audit` are
[on a page of their own](man/virt-profile-audit.7.md).
"""


# --- the catalogue ---------------------------------------------------------------------------------


def catalogue() -> str:
    """The page of all profiles, by group."""
    store = virtProfile.ProfileStore([TOP / "profiles"], check_owner=False)
    grouped: dict[str, list[str]] = {}
    for name in sorted(store.names()):
        profile = store.get(name)
        if not name.startswith("audit-"):
            grouped.setdefault(group(profile), []).append("\n".join(_entry(profile, store)))
    order = [title for title in GROUPS if title in grouped]
    return "\n".join([CATALOGUE_HEAD, *(f"## {title}\n\n" + "\n".join(grouped[title]) for title in order)])


def _entry(profile: Profile, store: virtProfile.ProfileStore) -> Iterator[str]:
    yield f"### {profile.name} {{ #{profile.name} }}\n"
    yield f"**{_plain(profile.title)}** (version {profile.version})\n"
    yield _plain(profile.description) + "\n"
    for param in profile.params:
        default = (
            "to be given"
            if param.default is None
            else f"default `{param.default}`"
            if param.default
            else "empty"
        )
        yield f"* `{param.name}=` {param.type}, {default}"
    if profile.params:
        yield ""
    for sample, words in SAMPLES.items():
        yield from _on(profile, sample, words, store)


def _on(profile: Profile, sample: str, words: str, store: virtProfile.ProfileStore) -> Iterator[str]:
    text = (TOP / "page" / "samples" / f"{sample}.xml").read_text()
    try:
        result = virtProfile.apply(text, [profile.name], store=store, record=False, name=f"{sample}.xml")
    except virtProfile.ProfileError as problem:
        yield f"On {words}: {_plain(str(problem))}.\n"
        return
    if not result.changes:
        skipped = [one.detail or one.reason for one in result.skipped if one.name == profile.name]
        lost = "what it wants is kept out by the definition" if result.overridden else "nothing is left to do"
        yield f"On {words}: {_plain(f'left out, {skipped[0]}') if skipped else lost}.\n"
        return
    count = len(result.changes)
    kept = f", {len(result.overridden)} kept out by the definition" if result.overridden else ""
    yield f'??? note "On {words}: {count} {"change" if count == 1 else "changes"}{kept}"\n'
    yield "    ```diff"
    for line in unified(result).splitlines():
        if not line.startswith("# "):
            yield f"    {line}"
    yield "    ```\n"


def _plain(text: str) -> str:
    """A text of a profile in Markdown: one paragraph, its signs as they are."""
    return re.sub(r"([*_`<>\[\]])", r"\\\1", " ".join(text.split()))


# --- the other pages ------------------------------------------------------------------------------


def manual(path: Path) -> str:
    """A manual page, as HTML within a page of Markdown."""
    parts = publish_parts(
        path.read_text(),
        writer_name="html5",
        settings_overrides={"report_level": 5, "initial_header_level": 2, "input_encoding": "unicode"},
    )
    body = re.sub(r"\n\s*\n", "\n", parts["body"])  # an empty line would end the HTML
    name, section = path.name.removesuffix(".rst").rsplit(".", 1)
    return f"# {name}({section})\n\n<div markdown='0'>\n{body}\n</div>\n"


def write_pages(place: Path) -> None:
    """All pages, as `mkdocs` reads them, with their links changed to where they are now."""
    shutil.copytree(TOP / "docs", place, ignore=shutil.ignore_patterns("site", "*.py", "__pycache__"))
    (place / "man").mkdir()
    for path in sorted((TOP / "man").glob("*.rst")):
        (place / "man" / f"{path.name.removesuffix('.rst')}.md").write_text(manual(path))
    for source, name in MOVED.items():
        shutil.copy(TOP / source, place / name)
    (place / "catalogue.md").write_text(catalogue())
    shutil.copytree(TOP / "page" / "samples", place.parent / "samples")
    homes = {f"docs/{path.relative_to(place)}": path for path in place.rglob("*.md")}
    homes |= {source: place / name for source, name in MOVED.items()}
    homes |= {f"man/{path.name}": place / "man" / f"{path.stem}.md" for path in (TOP / "man").glob("*.rst")}
    origins = {path: source for source, path in homes.items()}
    for page in place.rglob("*.md"):
        source = origins[page]
        if not source.startswith("docs/site/"):
            page.write_text(_LINK.sub(lambda found: _moved(found, source, page, homes), page.read_text()))  # noqa: B023


_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def _moved(found: re.Match[str], source: str, page: Path, homes: dict[str, Path]) -> str:
    """A link of a page, from where the page is; what is no page is named as it is called in the source."""
    text, link, part = found.groups()
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    home = homes.get(target)
    if home is not None:
        return f"[{text}]({posixpath.relpath(home.as_posix(), page.parent.as_posix())}{part or ''})"
    if (TOP / target).exists():
        return f"{text} (`{target}`)"
    return found[0]  # mkdocs says that it is nowhere


# --- links ----------------------------------------------------------------------------------------


class _Links(html.parser.HTMLParser):
    """What a page leads to, and what can be led to on it."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name in ("id", "name") and value:
                self.names.add(value)


def broken_links(place: Path) -> list[str]:
    """Links between pages that lead nowhere: `page: link`, sorted."""
    pages: dict[Path, _Links] = {}
    for path in sorted(place.rglob("*.html")):
        pages[path] = _Links()
        pages[path].feed(path.read_text())
    found = []
    for path, links in pages.items():
        if path.name == "404.html":
            continue  # its links are of the root of a server
        for link in dict.fromkeys(links.targets):
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (
                (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path.resolve()
            )
            target = target / "index.html" if target.is_dir() else target
            there = pages.get(target)
            named = not parts.fragment or parts.fragment == "__tabbed" or there is None
            known = named or urllib.parse.unquote(parts.fragment) in there.names
            if not target.exists() or not known:
                found.append(f"{path.relative_to(place)}: {link}")
    return found


# --- all of it --------------------------------------------------------------------------------------


def build(place: Path) -> Path:
    """The site.

    :returns: its directory
    :raises SystemExit: `mkdocs` finds something wrong
    """
    for name in (PAGES, HTML, "samples"):
        shutil.rmtree(place / name, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    write_pages(place / PAGES)
    shutil.copy(HERE / "mkdocs.yml", place / "mkdocs.yml")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet"],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place), "LC_ALL": "C.UTF-8", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return place / HTML


def main() -> int:
    """:returns: the exit status"""
    made = build(TOP / ".cache" / "site")
    broken = broken_links(made)
    print("\n".join(broken), file=sys.stderr)
    print(f"{made}/index.html: {len(list(made.rglob('*.html')))} pages, {len(broken)} links lead nowhere")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
