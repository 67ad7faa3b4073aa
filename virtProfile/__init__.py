# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt profiles: named, versioned, composable pieces of domain XML."""
