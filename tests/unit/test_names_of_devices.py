# SPDX-License-Identifier: GPL-2.0-or-later
"""What messages call a device."""

from __future__ import annotations

import pytest
from lxml import etree

from virtProfile.format.buses import name_of


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("<disk><target dev='sdb'/></disk>", "disk sdb"),
        ("<disk><target dev='sdb'/><alias name='ua-data'/></disk>", "disk sdb"),
        ("<channel type='unix'><target type='virtio' name='org.qemu'/></channel>", "channel org.qemu"),
        ("<interface type='bridge'><model type='virtio'/></interface>", "interface bridge"),
        ("<interface type='bridge'><alias name='ua-front'/></interface>", "interface ua-front"),
        ("<interface type='bridge'><alias name='net0'/></interface>", "interface bridge"),
        ("<controller type='scsi' index='1'/>", "controller scsi 1"),
        ("<controller type='scsi'><alias name='scsi0'/></controller>", "controller scsi"),
        ("<sound model='ich9'/>", "sound ich9"),
        ("<video><model type='qxl'/></video>", "video qxl"),
        ("<hub/>", "hub"),
    ],
)
def test_name_of(device: str, name: str) -> None:
    assert name_of(etree.fromstring(device)) == name
