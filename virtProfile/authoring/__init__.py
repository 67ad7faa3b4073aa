# SPDX-License-Identifier: GPL-2.0-or-later
"""For people who write profiles: lint, learn."""
