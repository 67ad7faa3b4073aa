# SPDX-License-Identifier: GPL-2.0-or-later
"""The program virt-profile: options, output, fleets."""
