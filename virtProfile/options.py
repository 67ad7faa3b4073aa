# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of ``virt-profile`` as data: one record each, of which all else is made.

Parser, help and completion are made in `cliargs` and `completion`; tests hold
the manual page to the same records.
"""

from __future__ import annotations

from enum import StrEnum

from .records import record

PROGRAM = "virt-profile"


class Kind(StrEnum):
    """How many values an option takes."""

    FLAG = "flag"
    VALUE = "value"
    EACH = "each"  # one value, the option may be repeated
    MAYBE = "maybe"  # with or without a value
    MANY = "many"  # one value or more
    ON_OFF = "on-off"  # sets another option's destination to False


@record
class Option:
    """One option: its spellings, what it takes, where help shows it, what completes it.

    `one_of` names a set of which only one may be given. `completes` is one of
    "", "file", "directory", "profile", "connection".
    """

    flags: tuple[str, ...]
    kind: Kind
    group: str
    help: str
    metavar: str = ""
    dest: str = ""
    one_of: str = ""
    words: tuple[str, ...] = ()
    completes: str = ""

    @property
    def name(self) -> str:
        """The attribute of the parsed options that holds it."""
        return self.dest or self.flags[-1].lstrip("-").replace("-", "_")


THE_VM = "the VM"
_PROFILES = "the profiles"
_CONTEXT = "what profiles may ask about (a connection tells it by itself)"
_OUTPUT = "output (the default is to define a DOMAIN, and to print a file or stdin)"
_DEFINE = "defining"
_LIFE = "profiles that were applied before"
_LIVE = "running VMs"
_ABOUT = "about profiles"
_FLEET = "fleets: many VMs in one call (nothing is written without --define or --output)"
_HOSTS = "about hosts"
_SERVICE = "another machine's profiles"
_OTHER = "other"

OPTIONS: tuple[Option, ...] = (
    Option(
        ("-c", "--connect"),
        Kind.EACH,
        THE_VM,
        "connect to libvirt at URI, such as qemu:///system; without it libvirt's default;"
        " with --all it may be repeated",
        "URI",
        completes="connection",
    ),
    Option(
        ("--input",),
        Kind.EACH,
        THE_VM,
        "read the domain XML from FILE instead of asking libvirt for DOMAIN; '-' is stdin."
        " A directory, a pattern, or several are a fleet",
        "FILE",
        completes="file",
    ),
    Option(
        ("--profile",),
        Kind.EACH,
        _PROFILES,
        "apply the profile NAME; may be repeated. Priorities above 99 override the VM"
        " definition. '--profile help' lists the profiles",
        "NAME[,priority=N][,version=V][,PARAM=VALUE]",
        completes="profile",
    ),
    Option(
        ("--override",),
        Kind.FLAG,
        _PROFILES,
        "let each --profile that names no priority override the VM definition (priority=100)",
    ),
    Option(
        ("--auto",),
        Kind.FLAG,
        _PROFILES,
        "apply also the profiles that select themselves where they match",
    ),
    Option(
        ("--mirror-topology",),
        Kind.MAYBE,
        _PROFILES,
        "pin vCPUs, memory and I/O threads after the host's topology, and show it to the guest:"
        " the profile mirror-topology",
        "[nodes=N][,policy=prefer|require|isolate][,reserve=CORES][,hugepages=SIZE][,used=CPUSET]",
    ),
    Option(
        ("--profile-dir",),
        Kind.EACH,
        _PROFILES,
        "look for profiles in DIR first; may be repeated",
        "DIR",
        completes="directory",
    ),
    Option(
        ("--capabilities",),
        Kind.EACH,
        _CONTEXT,
        "read libvirt's capabilities of a host from FILE ('virsh capabilities'); may be repeated",
        "FILE",
        completes="file",
    ),
    Option(
        ("--domcapabilities",),
        Kind.EACH,
        _CONTEXT,
        "read libvirt's domain capabilities from FILE ('virsh domcapabilities'); may be repeated",
        "FILE",
        completes="file",
    ),
    Option(
        ("--osinfo",),
        Kind.VALUE,
        _CONTEXT,
        "the guest's OS, by its libosinfo id such as fedora38, where the VM does not say it",
        "ID",
    ),
    Option(
        ("--qemu-version",),
        Kind.VALUE,
        _CONTEXT,
        "QEMU's version, as libvirt gives it (7002022) or dotted (7.2.22)",
        "N",
    ),
    Option(
        ("--schema",),
        Kind.VALUE,
        _CONTEXT,
        "judge by this host's libvirt, or by the baseline that is shipped (the default for files)",
        words=("host", "baseline"),
    ),
    Option(
        ("--complete",),
        Kind.FLAG,
        _PROFILES,
        "make a VM of a sketch: fill in what virtinst would for a new guest, against no profile",
    ),
    Option(
        ("--no-record",),
        Kind.FLAG,
        _PROFILES,
        "do not write the profiles into the VM's metadata",
    ),
    Option(("--print-xml",), Kind.FLAG, _OUTPUT, "print the resulting XML", one_of="output"),
    Option(
        ("--print-diff",),
        Kind.FLAG,
        _OUTPUT,
        "print what changes, each line with the profile that wants it",
        one_of="output",
    ),
    Option(
        ("--explain",),
        Kind.MAYBE,
        _OUTPUT,
        "print who wants each value, and who lost it and why; with XPATH only of what that selects",
        "XPATH",
        one_of="output",
    ),
    Option(("--json",), Kind.FLAG, _OUTPUT, "print everything as JSON", one_of="output"),
    Option(
        ("--check",),
        Kind.FLAG,
        _OUTPUT,
        "define nothing, exit with 4 if the profiles would change anything",
    ),
    Option(
        ("--define",),
        Kind.FLAG,
        _DEFINE,
        "define the result, also of a file or stdin",
        one_of="define",
    ),
    Option(
        ("--no-define",),
        Kind.ON_OFF,
        _DEFINE,
        "do not define the result",
        dest="define",
        one_of="define",
    ),
    Option(("--start",), Kind.FLAG, _DEFINE, "start the domain after it was defined"),
    Option(("--confirm",), Kind.FLAG, _DEFINE, "show the difference and ask before defining"),
    Option(
        ("--yes",),
        Kind.FLAG,
        _DEFINE,
        "define also what changes the machine that the guest sees; with --confirm, do not ask",
    ),
    Option(
        ("--status",),
        Kind.FLAG,
        _LIFE,
        "tell which profiles apply to the VM, which are newer, and what was changed by hand since",
        one_of="life",
    ),
    Option(
        ("--unapply",),
        Kind.EACH,
        _LIFE,
        "take back what the profile NAME did to the VM, or what all did; may be repeated",
        "NAME|all",
        one_of="life",
        completes="profile",
    ),
    Option(
        ("--exclude",),
        Kind.FLAG,
        _LIFE,
        "with --unapply: keep the profile out from now on",
    ),
    Option(
        ("--upgrade",),
        Kind.MAYBE,
        _LIFE,
        "bring the profile NAME, or all, to the newest version, after showing the difference",
        "NAME",
        one_of="life",
        completes="profile",
    ),
    Option(
        ("--update",),
        Kind.FLAG,
        _LIVE,
        "change the running VM too, as far as it can be; tells first what happens now, what at the"
        " next boot, and what hardware the guest will see changed",
    ),
    Option(
        ("--device",),
        Kind.VALUE,
        _LIVE,
        "print what to attach for the device in FILE: controllers first, completed under the VM's"
        " profiles, with free addresses; attaches nothing",
        "FILE",
        completes="file",
    ),
    Option(("--list",), Kind.FLAG, _ABOUT, "list the profiles", one_of="task"),
    Option(
        ("--info",),
        Kind.VALUE,
        _ABOUT,
        "tell about the profile NAME",
        "NAME[,version=V]",
        one_of="task",
        completes="profile",
    ),
    Option(
        ("--lint",),
        Kind.MANY,
        _ABOUT,
        "check profile files",
        "FILE",
        one_of="task",
        completes="file",
    ),
    Option(
        ("--learn",),
        Kind.MANY,
        _ABOUT,
        "print a small profile NAME that turns the domain XML of BEFORE into AFTER",
        "BEFORE AFTER NAME",
        one_of="task",
        completes="file",
    ),
    Option(("--all",), Kind.FLAG, _FLEET, "every domain of each --connect"),
    Option(
        ("--output",),
        Kind.VALUE,
        _FLEET,
        "write the resulting XML of each --input into DIR",
        "DIR",
        completes="directory",
    ),
    Option(("--jobs",), Kind.VALUE, _FLEET, "work with N processes instead of one for each CPU", "N"),
    Option(
        ("--report",),
        Kind.VALUE,
        _FLEET,
        "tell how each VM came out in FILE, as a JSON object a line; '-' is stdout",
        "FILE",
        completes="file",
    ),
    Option(
        ("--resume",),
        Kind.MAYBE,
        _FLEET,
        "go on with what --report has not, after an interruption; '--resume=failed' also with what failed",
        "failed",
    ),
    Option(
        ("--max-failures",),
        Kind.VALUE,
        _FLEET,
        "stop when N VMs have failed; before anything is written all are tried",
        "N",
    ),
    Option(
        ("--hosts",),
        Kind.MANY,
        _HOSTS,
        "tell on which hosts the resulting VM runs, and why not on the others, by their capabilities"
        " and domain capabilities in FILEs or DIRs",
        "FILE",
        completes="file",
    ),
    Option(
        ("--merge-capabilities",),
        Kind.MANY,
        _HOSTS,
        "print the largest domain capabilities that hosts share, from a FILE of each",
        "FILE",
        one_of="task",
        completes="file",
    ),
    Option(
        ("--min-hosts",),
        Kind.VALUE,
        _HOSTS,
        "of --merge-capabilities: at least K hosts share them (the default is all)",
        "K",
    ),
    Option(
        ("--require",),
        Kind.EACH,
        _HOSTS,
        "of --merge-capabilities: leave out hosts for which XPATH does not hold; may be repeated",
        "XPATH",
    ),
    Option(
        ("--server",),
        Kind.VALUE,
        _SERVICE,
        "let the service at URL compute, with its profiles: unix:///PATH, https://HOST:PORT, or"
        " http://127.0.0.1:PORT; VMs and files are read and defined here",
        "URL",
    ),
    Option(
        ("--token-file",),
        Kind.VALUE,
        _SERVICE,
        "show the service the token that FILE holds",
        "FILE",
        completes="file",
    ),
    Option(("-q", "--quiet"), Kind.FLAG, _OTHER, "tell nothing but errors and warnings"),
    Option(("-d", "--debug"), Kind.FLAG, _OTHER, "log to stderr, with tracebacks of errors"),
    Option(("--version",), Kind.FLAG, _OTHER, "print the version and exit"),
    Option(("-h", "--help"), Kind.FLAG, _OTHER, "print this and exit"),
)

EXAMPLES = """\
examples:
  virt-profile --list
  virt-profile vm1 --profile spice-desktop --print-diff
  virt-profile vm1 --profile spice-desktop --profile throughput,priority=50 --confirm
  virsh dumpxml vm1 | virt-profile --profile headless > headless.xml
  virt-profile --input vm1.xml --profile throughput --override --explain devices/disk
  virt-profile vm1 --status
  virt-profile vm1 --unapply spice-desktop --confirm
  virt-profile -c qemu:///system vm1 --check || echo "profiles are not applied"

exit status: 0 done, 1 failed, 2 wrong usage, 3 cannot hold together, 4 --check found changes
"""
