# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine: profiles and a domain in, a result out. Pure: no connection, clock, chance or environment."""
