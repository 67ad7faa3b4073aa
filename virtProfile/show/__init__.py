# SPDX-License-Identifier: GPL-2.0-or-later
"""A result for people and programs: difference, explanation, status, JSON."""
