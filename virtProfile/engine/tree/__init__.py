# SPDX-License-Identifier: GPL-2.0-or-later
"""The document being edited: owners, undo, output, validation."""
