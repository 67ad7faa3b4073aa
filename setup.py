# SPDX-License-Identifier: GPL-2.0-or-later
"""Installs what pyproject.toml cannot name by itself: profiles, manual pages, completion, the overlay.

The overlay, virtinst/, is data and no package: a wheel may hide nothing, and whoever has no virtinst
of the distribution needs none (virtProfile/host/overlay.py). Packages of a distribution, which
depend on virtinst, move it to where Python finds it.
"""

import glob
import os
import sys

from setuptools import setup


def manual_pages():
    """The manual pages by section, made from man/*.rst; none where docutils is not installed."""
    try:
        from docutils.core import publish_file
        from docutils.writers import manpage
    except ImportError:
        return []
    sections = {}
    for source in sorted(glob.glob("man/*.rst")):
        page = os.path.basename(source)[: -len(".rst")]
        target = os.path.join("build", "man", page)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        publish_file(source_path=source, destination_path=target, writer=manpage.Writer())
        sections.setdefault(page[-1], []).append(target)
    return [("share/man/man" + section, pages) for section, pages in sections.items()]


def schemas():
    """The schema of profiles for editors, in both syntaxes."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from virtProfile.authoring.editor_schema import compact, editor_schema

    os.makedirs("build/schema", exist_ok=True)
    text = editor_schema()
    for name, content in (("profile.rng", text), ("profile.rnc", compact(text))):
        with open(os.path.join("build/schema", name), "w", encoding="utf-8") as stream:
            stream.write(content)
    return [*glob.glob("build/schema/*"), *glob.glob("contrib/editors/*.xml")]


setup(
    data_files=[
        ("share/virt-profile/schema", schemas()),
        ("share/virt-profile/profiles", glob.glob("profiles/*.xml")),
        ("share/virt-profile/profiles/tests", glob.glob("profiles/tests/*.xml")),
        ("share/doc/virt-profile/examples", glob.glob("examples/*")),
        ("share/virt-profile/vagrant", ["contrib/vagrant/virt_profile.rb"]),
        ("share/virt-profile", ["virt-manager"]),
        ("share/virt-profile/overlay/virtinst", glob.glob("virtinst/*.py")),
        ("share/virt-profile/overlay/bin", ["virt-install", "virt-xml"]),
        ("share/bash-completion/completions", ["contrib/completion/virt-profile"]),
        ("share/zsh/site-functions", ["contrib/completion/_virt-profile"]),
        ("share/fish/vendor_completions.d", ["contrib/completion/virt-profile.fish"]),
        *manual_pages(),
    ],
)
