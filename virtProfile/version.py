# SPDX-License-Identifier: GPL-2.0-or-later
"""The version of the program."""

VERSION = "0.1.0"
