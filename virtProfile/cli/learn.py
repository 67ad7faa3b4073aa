# SPDX-License-Identifier: GPL-2.0-or-later
"""The front of ``--learn BEFORE AFTER NAME``: the profile on stdout, what it cannot say on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.authoring.learn import learn
from virtProfile.errors import EXIT_DONE, EXIT_FAILED, InvalidDomainError, UsageError
from virtProfile.format.document import read_file

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.host.context import Context
    from virtProfile.show.terminal import Output, Talk


def show(out: Output, talk: Talk, options: ApplyOptions, context: Context) -> int:
    """Learn and print; fails where there is no profile, as nothing (else) can be learned."""
    if len(options.learn) != 3:
        raise UsageError(
            f"--learn takes three arguments, not {len(options.learn)}",
            hint="--learn BEFORE.xml AFTER.xml NAME",
        )
    before, after, name = options.learn
    hint = "--learn BEFORE.xml AFTER.xml NAME"
    texts = [read_file(file, InvalidDomainError, hint)[0] for file in (before, after)]
    found = learn(texts[0], texts[1], name, context=context, files=(before, after))
    if options.json:
        left = [{"path": difference.path, "reason": difference.reason} for difference in found.left]
        out.json({"profile": found.text, "left": left})
    else:
        out.write(found.text)
    for difference in found.left:
        talk.warning(f"not learned: {difference.path}: {difference.reason}")
    if not found.text:
        rest = " that a profile could say" if found.left else ": both mean the same"
        talk.failure(f"nothing to learn{rest}")
    return EXIT_DONE if found.text else EXIT_FAILED
