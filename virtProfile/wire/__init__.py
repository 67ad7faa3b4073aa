# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service and its client send each other: calls, and the shapes of requests and answers."""
