# SPDX-License-Identifier: GPL-2.0-or-later
"""The REST service, and the one that KubeVirt asks."""
