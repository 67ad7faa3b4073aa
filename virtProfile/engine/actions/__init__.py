# SPDX-License-Identifier: GPL-2.0-or-later
"""Add, remove and default, carried out on the tree."""
