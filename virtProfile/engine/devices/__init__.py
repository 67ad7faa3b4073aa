# SPDX-License-Identifier: GPL-2.0-or-later
"""What devices need: buses, slots, controllers, memory; their place in the PCI topology."""
