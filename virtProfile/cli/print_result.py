# SPDX-License-Identifier: GPL-2.0-or-later
"""What a front end prints of a result, by its options: XML, difference, explanation, JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.show.terminal import encoded

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.result import Result
    from virtProfile.show.terminal import Output, Talk


def show(
    result: Result,
    out: Output,
    talk: Talk,
    options: ApplyOptions,
    defining: bool,
    data: bytes,
    encoding: str,
) -> None:
    """Print a result.

    :param defining: the result is defined, so that its XML need not be printed
    :param data: the bytes that the domain was read from, if it was a file, in `encoding`
    """
    if options.json:
        from virtProfile.redaction import veil_result

        out.json(veil_result(result).to_dict())
    elif options.explain is not None:
        from virtProfile.show.explain import explain

        text = explain(result, options.explain)
        out.prose(text)
        if not text:
            talk.note("no profile affects this")
    elif options.print_diff or options.confirm and not options.print_xml:
        _difference(result, out, options, encoding)
    elif options.print_xml or not (defining or options.check):
        if data and result.xml == result.input:
            out.write(data)
        else:
            out.write(encoded(result.xml, encoding, data))


def _difference(result: Result, out: Output, options: ApplyOptions, encoding: str) -> None:
    from virtProfile.show import diff

    name = options.input if options.input not in (None, "-") else ""
    if out.terminal:
        made = diff.drawn(result, name, width=out.width, colour=out.colour, with_record=options.with_record)
        out.write(made)
        return
    first = "\ufeff" if encoding == "utf-8-sig" else ""
    text = diff.unified(result, name, first=first)
    # patch works on lines of bytes: no use for it in two bytes a character
    out.write(text.encode("utf-8" if encoding.startswith("utf") else encoding, "replace"))
