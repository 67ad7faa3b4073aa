# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of hosts and guest operating systems."""
