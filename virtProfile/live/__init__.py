# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt connection: domains read, defined and updated."""
