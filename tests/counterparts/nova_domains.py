# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains as OpenStack Nova writes them: its libvirt driver, with its own fixtures in place of a host.

Run by the Python of an environment that has Nova and what its tests need, never by this project's:
``nova_domains.py OUTPUT.json``. Each combination of a flavor and an image goes through Nova's
placement on the fixture's host and `_get_guest_config`; what Nova refuses is kept with its words.
"""

from __future__ import annotations

import inspect
import json
import sys
import unittest
from importlib.metadata import version
from unittest import mock

from nova import context, objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit.virt.libvirt import test_driver
from nova.virt import fake, hardware
from nova.virt.libvirt import blockinfo, host
from nova.virt.libvirt import driver as libvirt_driver

#: Flavors: vCPUs, MiB, extra specs.
FLAVORS = {
    "plain-1": (1, 2048, {}),
    "plain-2": (2, 2048, {}),
    "plain-28": (28, 8192, {}),
    "rng": (2, 2048, {"hw_rng:allowed": "True", "hw_rng:rate_bytes": "1024", "hw_rng:rate_period": "1000"}),
    "no-rng": (2, 2048, {"hw_rng:allowed": "False"}),
    "watchdog": (2, 2048, {"hw:watchdog_action": "reset"}),
    "cores": (4, 2048, {"hw:cpu_sockets": "1", "hw:cpu_cores": "2", "hw:cpu_threads": "2"}),
    "max-sockets": (4, 2048, {"hw:cpu_max_sockets": "1"}),
    "no-pmu": (2, 2048, {"hw:pmu": "False"}),
    "multiqueue": (4, 2048, {"hw:vif_multiqueue_enabled": "True"}),
    "quotas": (
        2,
        2048,
        {
            "quota:cpu_shares": "512",
            "quota:cpu_quota": "10000",
            "quota:cpu_period": "20000",
            "quota:disk_total_iops_sec": "500",
            "quota:vif_inbound_average": "10240",
        },
    ),
    "hidden": (2, 2048, {"hide_hypervisor_id": "true"}),
    "boot-menu": (2, 2048, {"hw:boot_menu": "True"}),
    "viommu": (2, 2048, {"hw:viommu_model": "intel"}),
    "physical-bits": (2, 2048, {"hw:maxphysaddr_mode": "emulate", "hw:maxphysaddr_bits": "42"}),
    "packed-ring": (2, 2048, {"hw:virtio_packed_ring": "true"}),
    "locked": (2, 2048, {"hw:locked_memory": "True", "hw:mem_page_size": "small"}),
    # Placement of their own.
    "numa-1": (2, 512, {"hw:numa_nodes": "1"}),
    "numa-2": (4, 1024, {"hw:numa_nodes": "2"}),
    "huge": (2, 1024, {"hw:mem_page_size": "2048"}),
    "dedicated": (2, 512, {"hw:cpu_policy": "dedicated"}),
    "dedicated-isolate": (2, 512, {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "isolate"}),
    "dedicated-require": (2, 512, {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "require"}),
    "dedicated-numa-2": (4, 1024, {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2"}),
    "mixed": (4, 512, {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "^0"}),
    "realtime": (
        2,
        512,
        {"hw:cpu_policy": "dedicated", "hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "^0"},
    ),
}
#: Properties of images.
IMAGES = {
    "plain": {},
    "linux": {"os_type": "linux", "os_distro": "debian12"},
    "windows": {"os_type": "windows", "os_distro": "win10"},
    "q35": {"hw_machine_type": "q35"},
    "pc": {"hw_machine_type": "pc"},
    "disk-virtio": {"hw_disk_bus": "virtio"},
    "disk-scsi": {"hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi"},
    "disk-sata": {"hw_disk_bus": "sata"},
    "disk-ide": {"hw_disk_bus": "ide"},
    "vif-e1000": {"hw_vif_model": "e1000"},
    "vif-e1000e": {"hw_vif_model": "e1000e"},
    "vif-virtio": {"hw_vif_model": "virtio"},
    "video-qxl": {"hw_video_model": "qxl"},
    "video-vga": {"hw_video_model": "vga"},
    "video-cirrus": {"hw_video_model": "cirrus"},
    "video-none": {"hw_video_model": "none"},
    "uefi": {"hw_machine_type": "q35", "hw_firmware_type": "uefi"},
    "secure-boot": {"hw_machine_type": "q35", "hw_firmware_type": "uefi", "os_secure_boot": "required"},
    "guest-agent": {"hw_qemu_guest_agent": "yes"},
    "rng": {"hw_rng_model": "virtio"},
    "watchdog": {"hw_watchdog_action": "poweroff"},
    "hpet": {"hw_time_hpet": "true"},
    "hidden": {"img_hide_hypervisor_id": "true"},
    "tablet": {"hw_pointer_model": "usbtablet"},
    "input-virtio": {"hw_input_bus": "virtio"},
    "multiqueue": {"hw_vif_multiqueue_enabled": "true"},
    "no-pmu": {"hw_pmu": "false"},
    "packed-ring": {"hw_virtio_packed_ring": "true"},
    "cores": {"hw_cpu_sockets": "1", "hw_cpu_cores": "2", "hw_cpu_threads": "1"},
    "serial-ports": {"hw_serial_port_count": "2"},
}


class Domains(test_driver.LibvirtConnTestCase):
    """Not a test: Nova's own set-up of one, which takes the place of libvirt, Neutron and Cinder."""

    def generate(self):
        self.flags(cpu_shared_set="0-3,8-11", cpu_dedicated_set="4-7,12-15", group="compute")
        pages = [(4, 1572864), (2048, 1024)]
        host_info = fakelibvirt.HostInfo(
            cpu_nodes=2,
            cpu_sockets=1,
            cpu_cores=4,
            cpu_threads=2,
            kB_mem=16777216,
            mempages={node: fakelibvirt.create_mempages(pages) for node in (0, 1)},
        )
        self.libvirt_connection(host_info)
        driver = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), True)
        driver.init_host("host")
        connection = driver._host.get_connection()
        rows = []
        for flavor_name, (vcpus, memory, specs) in FLAVORS.items():
            for image_name, properties in IMAGES.items():
                row = {"flavor": flavor_name, "image": image_name, "specs": specs, "properties": properties}
                try:
                    row["xml"] = self.domain(driver, vcpus, memory, specs, properties)
                except Exception as problem:
                    row["refused"] = f"{type(problem).__name__}: {problem}"
                rows.append(row)
        return {
            "nova": version("nova"),
            "capabilities": connection.getCapabilities(),
            "combinations": rows,
        }

    def libvirt_connection(self, host_info):
        connection = fakelibvirt.Connection(
            "qemu:///system",
            version=fakelibvirt.FAKE_LIBVIRT_VERSION,
            hv_version=fakelibvirt.FAKE_QEMU_VERSION,
            host_info=host_info,
        )
        patch = mock.patch.object(host.Host, "get_connection", return_value=connection)
        patch.start()
        self.addCleanup(patch.stop)

    def domain(self, driver, vcpus, memory, specs, properties):
        values = dict(self.test_instance)
        values["os_type"] = properties.get("os_type")
        instance = objects.Instance(**values)
        instance.flavor = objects.Flavor(
            id=7,
            name="flavor",
            flavorid="7",
            memory_mb=memory,
            vcpus=vcpus,
            root_gb=10,
            ephemeral_gb=0,
            swap=0,
            extra_specs=specs,
        )
        image = objects.ImageMeta.from_dict({**self.test_image_meta, "properties": properties})
        wanted = hardware.numa_get_constraints(instance.flavor, image)
        if wanted is not None:
            # Since 34 it also wants to know of which resource providers devices are.
            asked = inspect.signature(hardware.numa_fit_instance_to_host).parameters
            more = {"provider_mapping": {}} if "provider_mapping" in asked else {}
            fitted = hardware.numa_fit_instance_to_host(driver._get_host_numa_topology(), wanted, **more)
            if fitted is None:
                raise ValueError("does not fit the host")
            wanted = fitted
        instance.numa_topology = wanted
        disks = blockinfo.get_disk_info("kvm", instance, image)
        network = test_driver._fake_network_info(self)
        config = driver._get_guest_config(
            instance, network, image, disks, context=context.get_admin_context()
        )
        return config.to_xml()

    def runTest(self):
        with (
            mock.patch.object(host.Host, "_check_machine_type"),
            # It asks the database for instances of the host; there are none.
            mock.patch.object(libvirt_driver.LibvirtDriver, "_register_all_undefined_instance_details"),
            mock.patch("nova.privsep.utils.supports_direct_io", return_value=True),
            mock.patch("nova.privsep.linux_net.device_exists", return_value=True),
        ):
            Domains.result = self.generate()


def main(words):
    outcome = unittest.TestResult()
    Domains().run(outcome)
    for _, text in (*outcome.errors, *outcome.failures):
        print(text, file=sys.stderr)
    if not outcome.wasSuccessful():
        return 1
    with open(words[0], "w") as stream:
        json.dump(Domains.result, stream, indent=1)
    combinations = Domains.result["combinations"]
    made = sum("xml" in row for row in combinations)
    print(f"Nova {Domains.result['nova']}: {made} domains of {len(combinations)} combinations")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
