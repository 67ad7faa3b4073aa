# SPDX-License-Identifier: GPL-2.0-or-later
"""The profile language: parser, expressions, params, store, requests."""
