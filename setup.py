# SPDX-License-Identifier: GPL-2.0-or-later
"""Installs what pyproject.toml cannot name by itself: profiles and manual pages."""

import glob

from setuptools import setup

setup(
    data_files=[
        ("share/virt-profile/profiles", glob.glob("profiles/*.xml")),
        ("share/doc/virt-profile/examples", glob.glob("examples/*")),
    ],
)
