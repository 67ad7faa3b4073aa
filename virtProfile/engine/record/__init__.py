# SPDX-License-Identifier: GPL-2.0-or-later
"""What was done to a domain: kept in its metadata, found again, taken back."""
