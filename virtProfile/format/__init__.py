# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's domain format: documents, schema, values and curated facts."""
