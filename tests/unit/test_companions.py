# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt adds to devices by itself: which facts are asked of a tree."""

from __future__ import annotations

import re

from lxml import etree
from staging import BASE_SCHEMA

from virtProfile.engine.record.companions import _companions


def test_what_needs_a_companion_has_a_tag_of_its_fact() -> None:
    """Facts are skipped by the tags in their XPaths: on a domain with every device, each with every value
    that a fact names, they select nothing else."""
    devices = BASE_SCHEMA.root.child("devices")
    assert devices is not None
    facts = _companions().values()
    values = sorted({value for fact in facts for value in re.findall(r"='([^']*)'|= '([^']*)'", fact.needs)})
    words = sorted({word for pair in values for word in pair if word})
    domain = etree.Element("domain")
    for tag in ("vcpu", "memory"):
        etree.SubElement(etree.SubElement(domain, "numatune"), tag, placement="auto")
        etree.SubElement(domain, tag, placement="auto")
    etree.SubElement(etree.SubElement(domain, "os", firmware="efi"), "type", machine="q35")
    top = etree.SubElement(domain, "devices")
    for tag in devices.children:
        etree.SubElement(top, tag)
        for word in words:
            device = etree.SubElement(top, tag, type=word, bus=word, model=word)
            etree.SubElement(device, "target", type=word, bus=word)
    found = {fact.name: {element.tag for element in top.xpath(fact.needs)} for fact in facts}
    assert not {name: tags for name, tags in found.items() if not tags <= _companions()[name].words}
    assert all(found.values())
