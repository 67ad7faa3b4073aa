# SPDX-License-Identifier: GPL-2.0-or-later
"""Which profiles and actions apply."""
