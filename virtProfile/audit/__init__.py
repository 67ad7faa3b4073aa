# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of existing VMs: one by one, and of several side by side."""
