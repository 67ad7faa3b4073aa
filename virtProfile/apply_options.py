# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of ``virt-profile``: one row each, of which all else is made.

Parser, ``--help``, completion and the checks of options against each other are made in
`cli.arguments`; a fleet's report, calls and requests to a service, the arguments of the Ansible
module and the option of virt-install and virt-xml take from the same rows. Tests hold the
manual page to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from virtProfile.option import (
    Argument,
    Kind,
    any_number,
    choice,
    each,
    flag,
    many,
    maybe,
    operand,
    option_record,
    read_host_count,
    read_number,
    read_qemu_version,
    read_resumed,
    read_syntax,
    rows_of,
    switch,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtProfile.option import Option

_EVERYDAY = "everyday"
_PROFILES = "the profiles"
_CONTEXT = "what profiles may ask about (a connection provides it)"
_OUTPUT = "output (the default is to define a DOMAIN, and to print a file or stdin)"
_DEFINE = "defining"
_LIFE = "profiles that were applied before"
_LIVE = "running VMs"
_ABOUT = "about profiles"
_FLEET = "fleets: many VMs in one call (nothing is written without --define or --output)"
_HOSTS = "about hosts"
_SERVICE = "another machine's profiles"
_OTHER = "other"
#: In the order of ``--help``: what is used every day, what is written, what was applied; then the rest.
GROUPS = (
    _EVERYDAY, _PROFILES, _OUTPUT, _DEFINE, _LIFE, _ABOUT, _LIVE, _FLEET, _CONTEXT, _HOSTS, _SERVICE, _OTHER,
)  # fmt: skip

#: The options of the set "task": what the program does besides applying.
_TASKS = ("--list", "--info", "--lint", "--test", "--learn", "--merge-capabilities", "--print-schema")
#: What writes reports for other programs.
_REPORTING_TASKS = ("--lint", "--test")
_REPORTING = (*_REPORTING_TASKS, "--audit")
_JSON_LINES = "--json prints all changes, one line per VM"
_IN_VIRTINST = (
    "Apply a libvirt profile to the guest. Ex:\n"
    "--profile headless-server\n"
    "--profile NAME,priority=100 (also against other options)\n"
    "--profile NAME,version=1,PARAM=VALUE\n"
    "'--profile help' lists the profiles"
)


# --- the options ---------------------------------------------------------------------


@option_record
class ApplyOptions:
    """What a call is asked for: by a command line, or by a program that has none.

    ``--help`` shows them by group, as `GROUPS` has them, and within a group in the order of the fields.
    """

    domains: tuple[str, ...] = operand(
        "DOMAIN",
        group=_EVERYDAY,
        help=(
            "a domain that libvirt knows, by name, id or UUID; several, or a pattern such as 'web-*',"
            " are a fleet"
        ),
        completes="domain",
        excludes=("--input",),
    )
    uris: tuple[str, ...] = each(
        "-c",
        "--connect",
        group=_EVERYDAY,
        help=(
            "connect to libvirt at URI, such as qemu:///system; without it libvirt's default;"
            " with --all it may be repeated"
        ),
        metavar="URI",
        completes="connection",
        tasks=("--merge-capabilities",),
    )
    inputs: tuple[str, ...] = each(
        "--input",
        group=_EVERYDAY,
        help=(
            "read the domain XML from FILE instead of asking libvirt for DOMAIN; '-' is stdin."
            " A directory, a pattern, or several are a fleet"
        ),
        metavar="FILE",
        completes="file",
    )
    profile: tuple[str, ...] = each(
        "--profile",
        group=_EVERYDAY,
        help=(
            "apply the profile NAME; may be repeated. Priorities above 99 override the VM"
            " definition. '--profile help' lists the profiles"
        ),
        metavar="NAME[,instance=I][,priority=N][,version=V][,PARAM=VALUE]",
        completes="profile",
        virtinst=_IN_VIRTINST,
    )
    override: bool = flag(
        "--override",
        group=_EVERYDAY,
        help="let each --profile that names no priority override the VM definition (priority=100)",
        reported=True,
        calls=("apply", "device", "hosts", "unapply"),
        argument=Argument("override", "Let profiles without a priority override the VM definition."),
    )
    auto: bool = flag(
        "--auto",
        group=_PROFILES,
        help="apply also the profiles that select themselves where they match",
        reported=True,
        calls=("apply", "device", "hosts"),
        argument=Argument("auto", "Apply also the profiles that select themselves."),
    )
    mirror_topology: str | None = maybe(
        "--mirror-topology",
        group=_PROFILES,
        help=(
            "pin vCPUs, memory and I/O threads after the host's topology, and show it to the guest:"
            " the profile mirror-topology"
        ),
        metavar="[nodes=N][,policy=prefer|require|isolate][,reserve=CORES][,hugepages=SIZE][,used=CPUSET|auto]",
    )
    profile_dir: tuple[str, ...] = each(
        "--profile-dir",
        group=_PROFILES,
        help="look for profiles in DIR first; may be repeated",
        metavar="DIR",
        completes="directory",
        tasks=_TASKS,
        argument=Argument("profile_dirs", "Directories of profiles on the managed host, searched first."),
    )
    capabilities: tuple[str, ...] = each(
        "--capabilities",
        group=_CONTEXT,
        help="read libvirt's capabilities of a host from FILE ('virsh capabilities'); may be repeated",
        metavar="FILE",
        completes="file",
    )
    domcapabilities: tuple[str, ...] = each(
        "--domcapabilities",
        group=_CONTEXT,
        help="read libvirt's domain capabilities from FILE ('virsh domcapabilities'); may be repeated",
        metavar="FILE",
        completes="file",
    )
    osinfo: str | None = value(
        "--osinfo",
        group=_CONTEXT,
        help="the guest's OS, by its libosinfo id such as fedora38, where the VM does not say it",
        metavar="ID",
    )
    qemu_version: int | None = value(
        "--qemu-version",
        group=_CONTEXT,
        help="QEMU's version, as libvirt gives it (7002022) or dotted (7.2.22)",
        metavar="N",
        read=read_qemu_version,
    )
    daemon: Literal["system", "session"] | None = choice(
        "--daemon",
        group=_CONTEXT,
        help="the kind of libvirt daemon that the VM is for, without a connection",
        words=("system", "session"),
    )
    schema: Literal["host", "baseline"] | None = choice(
        "--schema",
        group=_CONTEXT,
        help="validate with this host's libvirt, or with the shipped baseline (the default for files)",
        words=("host", "baseline"),
        tasks=_TASKS,
    )
    complete: bool = flag(
        "--complete",
        group=_PROFILES,
        help="make a VM of a sketch: fill in what virtinst would for a new guest, against no profile",
        reported=True,
        calls=("apply", "hosts"),
    )
    no_record: bool = flag(
        "--no-record",
        group=_PROFILES,
        help="do not write the profiles into the VM's metadata",
        opposite="record",
        reported=True,
        calls=("apply", "device"),
        argument=Argument("record", "Write what was done into the metadata, so that it can be taken back."),
    )
    print_xml: bool = flag(
        "--print-xml", group=_OUTPUT, help="print the resulting XML", one_of="output", instead=_JSON_LINES
    )
    print_diff: bool = flag(
        "--print-diff",
        group=_EVERYDAY,
        help="print what changes, each line with the profile that wants it",
        one_of="output",
        instead=_JSON_LINES,
    )
    with_record: bool = flag(
        "--with-record",
        group=_OUTPUT,
        help="on a terminal, show also how the list and record of profiles in the metadata change",
        instead=_JSON_LINES,
    )
    explain: str | None = maybe(
        "--explain",
        group=_OUTPUT,
        help=(
            "print which profile sets each value, and which were overridden and why;"
            " with XPATH only for what it selects"
        ),
        metavar="XPATH",
        one_of="output",
        instead="--json prints all changes",
    )
    json: bool = flag("--json", group=_OUTPUT, help="print everything as JSON", one_of="output", tasks=_TASKS)
    check: bool = flag(
        "--check",
        group=_OUTPUT,
        help="define nothing, exit with 4 if the profiles would change anything",
        excludes=("--define", "--start", "--confirm"),
    )
    define: bool | None = switch(
        flag(
            "--define",
            group=_DEFINE,
            help="define the result, also of a file or stdin",
            one_of="define",
            reported=True,
        ),
        flag(
            "--no-define",
            group=_DEFINE,
            help="do not define the result",
            one_of="define",
            excludes=("--confirm", "--start"),
        ),
    )
    start: bool = flag("--start", group=_DEFINE, help="start the domain after it was defined")
    confirm: bool = flag(
        "--confirm", group=_EVERYDAY, help="show the difference and ask before defining", instead=_JSON_LINES
    )
    yes: bool = flag(
        "--yes",
        group=_DEFINE,
        help=(
            "define also what changes the machine that the guest sees, "
            "and take back what only the record vouches for;"
            " with --confirm, do not ask"
        ),
        argument=Argument("guest_abi", "Define also what changes the machine that the guest sees."),
    )
    status: bool = flag(
        "--status",
        group=_EVERYDAY,
        help=(
            "show which profiles apply to the VM, which have newer versions,"
            " and what was changed by hand since"
        ),
        one_of="life",
        excludes=(
            "--profile",
            "--define",
            "--start",
            "--confirm",
            "--print-xml",
            "--print-diff",
            "--explain",
            "--output",
            "--jobs",
            "--report",
            "--resume",
            "--max-failures",
        ),
    )
    unapply: tuple[str, ...] = each(
        "--unapply",
        group=_EVERYDAY,
        help=(
            "take back what the profile NAME did to the VM, or what all did; may be repeated;"
            " with --profile others come in the same step"
        ),
        metavar="NAME|all",
        completes="applied",
        one_of="life",
        excludes=("--auto", "--no-record"),
        reported=True,
    )
    exclude: bool = flag(
        "--exclude",
        group=_LIFE,
        help="with --unapply: keep the profile out from now on",
        needs="--unapply",
        needs_hint="--unapply NAME --exclude keeps NAME out",
        reported=True,
        calls=("unapply",),
    )
    upgrade: str | None = maybe(
        "--upgrade",
        group=_LIFE,
        help="bring the profile NAME, or all, to the newest version, after showing the difference",
        metavar="NAME",
        completes="applied",
        one_of="life",
        excludes=("--profile", "--override", "--auto", "--no-record"),
        reported=True,
    )
    audit: tuple[str, ...] | None = any_number(
        "--audit",
        group=_LIFE,
        help=(
            "check the VM, and change nothing: by the profiles NAME ('audit-disk*' is all that begin so),"
            " without NAME by all rules; and by the profiles on its list"
        ),
        metavar="NAME",
        completes="rule",
        one_of="life",
        excludes=(
            "--profile",
            "--override",
            "--auto",
            "--mirror-topology",
            "--complete",
            "--no-record",
            "--print-xml",
            "--print-diff",
            "--explain",
            "--check",
            "--define",
            "--no-define",
            "--start",
            "--confirm",
            "--yes",
            "--output",
            "--jobs",
            "--report",
            "--resume",
            "--max-failures",
            "--hosts",
            "--server",
            "--update",
            "--device",
        ),
    )
    level: Literal["error", "warning", "info"] | None = choice(
        "--level",
        group=_LIFE,
        help="with --audit: what is reported, and gives the exit status 4 (the default is warning)",
        words=("error", "warning", "info"),
        needs="--audit",
    )
    update: bool = flag(
        "--update",
        group=_LIVE,
        help=(
            "change the running VM too, as far as it can be; shows first what happens now, what at the"
            " next boot, and what hardware the guest will see changed"
        ),
        excludes=("--start", "--check", "--input", "--hosts", "--status", "--all"),
    )
    device: str | None = value(
        "--device",
        group=_LIVE,
        help=(
            "print what to attach for the device in FILE: controllers first, completed under the VM's"
            " profiles, with free addresses; attaches nothing"
        ),
        metavar="FILE",
        completes="file",
        excludes=(
            "--update",
            "--status",
            "--unapply",
            "--upgrade",
            "--define",
            "--start",
            "--confirm",
            "--check",
            "--print-xml",
            "--print-diff",
            "--explain",
            "--hosts",
            "--complete",
            "--all",
            "--output",
        ),
    )
    list: bool = flag("--list", group=_EVERYDAY, help="list the profiles", one_of="task")
    info: str | None = value(
        "--info",
        group=_EVERYDAY,
        help="show the profile NAME",
        metavar="NAME[,version=V]",
        completes="profile",
        one_of="task",
    )
    lint: tuple[str, ...] = many(
        "--lint", group=_ABOUT, help="check profile files", metavar="FILE", completes="file", one_of="task"
    )
    test: tuple[str, ...] = many(
        "--test",
        group=_ABOUT,
        help="run the tests of profiles in FILEs, and in the files *.test.xml below DIRs",
        metavar="FILE",
        completes="file",
        one_of="task",
    )
    update_results: bool = flag(
        "--update-results",
        group=_ABOUT,
        help="with --test: write the files of <result> instead of comparing with them",
        needs="--test",
        tasks=("--test",),
    )
    strict: bool = flag(
        "--strict",
        group=_ABOUT,
        help="with --test: fail also where an action of a tested profile is not covered",
        needs="--test",
        tasks=("--test",),
    )
    junit: str | None = value(
        "--junit",
        group=_ABOUT,
        help="with --lint, --test and --audit: write what was found to FILE as JUnit XML",
        metavar="FILE",
        completes="file",
        needs=_REPORTING,
        tasks=_REPORTING_TASKS,
    )
    sarif: str | None = value(
        "--sarif",
        group=_ABOUT,
        help="with --lint, --test and --audit: write what was found to FILE as SARIF 2.1.0",
        metavar="FILE",
        completes="file",
        needs=_REPORTING,
        tasks=_REPORTING_TASKS,
    )
    annotations: bool = flag(
        "--annotations",
        group=_ABOUT,
        help="with --lint, --test and --audit: print what was found as annotations of a GitHub workflow too",
        needs=_REPORTING,
        tasks=_REPORTING_TASKS,
    )
    learn: tuple[str, ...] = many(
        "--learn",
        group=_ABOUT,
        help="print a small profile NAME that turns the domain XML of BEFORE into AFTER",
        metavar="BEFORE AFTER NAME",
        completes="file",
        one_of="task",
    )
    print_schema: Literal["rng", "rnc"] | None = maybe(
        "--print-schema",
        group=_ABOUT,
        help="print the RelaxNG of the profile language for editors, with rnc in the compact syntax",
        metavar="rng|rnc",
        one_of="task",
        read=read_syntax,
    )
    all: bool = flag("--all", group=_FLEET, help="every domain of each --connect")
    output: str | None = value(
        "--output",
        group=_FLEET,
        help="write the resulting XML of each --input, also of a single one, into DIR",
        metavar="DIR",
        completes="directory",
        fleet_only=True,
        reported=True,
    )
    jobs: int | None = value(
        "--jobs",
        group=_FLEET,
        help="work with N processes instead of one for each CPU",
        metavar="N",
        fleet_only=True,
        read=read_number,
    )
    report: str | None = value(
        "--report",
        group=_FLEET,
        help="write the outcome of each VM to FILE, one JSON object per line; '-' is stdout",
        metavar="FILE",
        completes="file",
        fleet_only=True,
    )
    resume: Literal["", "failed"] | None = maybe(
        "--resume",
        group=_FLEET,
        help=(
            "after an interruption, process the VMs that --report does not have;"
            " with '--resume=failed' also those that failed"
        ),
        metavar="failed",
        fleet_only=True,
        read=read_resumed,
    )
    max_failures: int | None = value(
        "--max-failures",
        group=_FLEET,
        help="stop when N VMs have failed; before anything is written all are tried",
        metavar="N",
        fleet_only=True,
        read=read_number,
    )
    hosts: tuple[str, ...] = many(
        "--hosts",
        group=_HOSTS,
        help=(
            "show on which hosts the resulting VM runs, and why not on the others, by their capabilities"
            " and domain capabilities in FILEs or DIRs"
        ),
        metavar="FILE",
        completes="file",
        excludes=("--define", "--check", "--confirm", "--print-xml", "--print-diff", "--explain", "--status"),
        instead=_JSON_LINES,
    )
    merge_capabilities: tuple[str, ...] = many(
        "--merge-capabilities",
        group=_HOSTS,
        help="print the largest domain capabilities that hosts share, from a FILE of each",
        metavar="FILE",
        completes="file",
        one_of="task",
    )
    min_hosts: int | None = value(
        "--min-hosts",
        group=_HOSTS,
        help="of --merge-capabilities: at least K hosts share them (the default is all)",
        metavar="K",
        needs="--merge-capabilities",
        tasks=("--merge-capabilities",),
        read=read_host_count,
    )
    require: tuple[str, ...] = each(
        "--require",
        group=_HOSTS,
        help="of --merge-capabilities: leave out hosts for which XPATH does not hold; may be repeated",
        metavar="XPATH",
        needs="--merge-capabilities",
        tasks=("--merge-capabilities",),
    )
    server: str | None = value(
        "--server",
        group=_SERVICE,
        help=(
            "let the service at URL compute, with its profiles: unix:///PATH, https://HOST:PORT, or"
            " http://127.0.0.1:PORT; VMs and files are read and defined here"
        ),
        metavar="URL",
        excludes=("--profile-dir", "--schema", "--all", "--output", "--jobs", "--report"),
        tasks=(
            "--list",
            "--info",
            "--merge-capabilities",
        ),
    )
    token_file: str | None = value(
        "--token-file",
        group=_SERVICE,
        help="show the service the token that FILE holds",
        metavar="FILE",
        completes="file",
        needs="--server",
        tasks=(
            "--list",
            "--info",
            "--merge-capabilities",
        ),
    )
    quiet: bool = flag("-q", "--quiet", group=_OTHER, help="print only errors and warnings", tasks=_TASKS)
    debug: bool = flag(
        "-d", "--debug", group=_OTHER, help="log to stderr, with tracebacks of errors", tasks=_TASKS
    )
    version: bool = flag("--version", group=_OTHER, help="print the version and exit")
    help: bool = flag("-h", "--help", group=_EVERYDAY, help="print this and exit")

    @property
    def domain(self) -> str | None:
        """The domain of a call on one VM."""
        return self.domains[-1] if self.domains else None

    @property
    def connect(self) -> str | None:
        """The connection of a call on one VM."""
        return self.uris[-1] if self.uris else None

    @property
    def input(self) -> str | None:
        """The file of a call on one VM."""
        return self.inputs[-1] if self.inputs else None

    def has_of(self, one_of: str) -> bool:
        """Whether an option of the set is given."""
        return any(getattr(self, name) != row.default for name, row in FIELDS if row.one_of == one_of)

    def reported(self) -> dict[str, Any]:
        """What decides how the VMs of a fleet come out, the profiles aside."""
        return {row.word: row.plain(getattr(self, name)) for name, row in FIELDS if row.reported}

    def keywords(self, call: str) -> dict[str, Any]:
        """What a call of the engine, and the same request to a service, takes of the options.

        :param call: its name, such as "apply"
        """
        return {row.word: row.plain(getattr(self, name)) for name, row in FIELDS if call in row.calls}


#: All options, and DOMAIN, with the field of each.
FIELDS: tuple[tuple[str, Option], ...] = tuple(
    (name, row) for name, rows in rows_of(ApplyOptions).items() for row in rows
)
ROWS: tuple[Option, ...] = tuple(row for _, row in FIELDS)
OPTIONS: tuple[Option, ...] = tuple(row for row in ROWS if row.kind != Kind.OPERAND)


# --- the Ansible module ----------------------------------------------------------------


def ansible_arguments() -> dict[str, dict[str, Any]]:
    """The arguments that mirror options, as Ansible documents them; the module has a copy."""
    found: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        argument = row.argument
        if argument is None:
            continue
        described: dict[str, Any] = {"description": argument.description, "type": "str"}
        if row.kind == Kind.FLAG:
            described |= {"type": "bool", "default": bool(row.opposite)}
        elif row.default == ():
            elements = "path" if row.completes in ("file", "directory") else "str"
            described |= {"type": "list", "elements": elements, "default": []}
        elif row.words:
            described |= {"choices": list(row.words)}
        found[argument.name] = described
    return found


def options_of_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ApplyOptions` that arguments say.

    :param params: of the module; those that mirror no option are let pass
    :raises UsageError: a word that is no value of its option
    """
    found: dict[str, Any] = {}
    for name, row in FIELDS:
        if row.argument is not None and row.argument.name in params:
            given = params[row.argument.name]
            found[name] = not given if row.opposite else row.value(given)
    return found
