# SPDX-License-Identifier: GPL-2.0-or-later
"""``--profile`` of virt-install and virt-xml: the distribution's programs, with one option more.

`enable` wraps a few of virtinst's functions, each by calling the original in
between. Without ``--profile`` on the command line nothing else happens, and the
engine is not even imported.
"""

import functools
import sys

from virtinst import cli
from virtinst.guest import Guest
from virtinst.install.installer import Installer

#: Found once in a process: its wishes are the parsed options'.
_WISHES = "_profile_wishes"
_NEW = "_profile_new"
_OPTIONS: list = []
#: The tables of standing profiles, where this makes a guest.
_STANDING: list = []
#: Not empty where this is virt-manager.
_WINDOWS: list = []


class ParserProfile(cli.VirtCLIParser):
    """The option: notes what is wished on the guest; it is applied when all of it is known."""

    cli_arg_name = "profile"
    supports_clearxml = False
    remove_first = "name"

    @classmethod
    def _virtcli_class_init(cls):
        cli.VirtCLIParser._virtcli_class_init_common(cls)
        for name in ("name", "priority", "version", "include"):
            cls.add_arg(name, None, cb=cls._noted, lookup_cb=None)

    def _noted(self, *_):
        """Values are read as virt-profile reads them, by `profile_wish`."""

    def __init__(self, optstr, guest=None, editing=None):
        super().__init__(None, guest=guest, editing=editing)
        self.optstr = optstr

    def parse(self, inst):
        guest = inst if isinstance(inst, Guest) else self.guest
        if self.optstr and self.optstr != "none":
            from virtProfile.language.requests import profile_wish

            vars(guest).setdefault(_WISHES, []).append(_told(lambda: profile_wish(self.optstr)))
        return []

    @classmethod
    def print_introspection(cls):
        from virtProfile.cli.profiles import listing
        from virtProfile.show.terminal import Output

        from . import profileguest

        _told(lambda: listing(Output(sys.stdout, {}), profileguest.profile_store(), False, _talk()))


def _talk():
    from virtProfile.show.terminal import Talk

    state = cli.get_global_state() if hasattr(cli, "get_global_state") else None
    return Talk(sys.stderr, quiet=bool(getattr(state, "quiet", False)))


def _told(work):
    """Do it; an error of a profile ends the program, told as virt-profile tells it.

    :raises ProfileError: in a program with windows, which shows it in one
    """
    from virtProfile.errors import EXIT_FAILED, ProfileError
    from virtProfile.redaction import veil_error

    if _WINDOWS:
        return work()
    try:
        return work()
    except ProfileError as problem:
        _talk().error(veil_error(problem))
        sys.exit(problem.exit_status)
    except OSError as problem:
        _talk().failure("%s: %s" % (problem.filename, problem.strerror))
        sys.exit(EXIT_FAILED)


def _wishes(guest, store):
    """Take the wishes off the guest, with the secrets that they name files of."""
    from virtProfile.live.call_context import read_secrets

    found = vars(guest).pop(_WISHES, [])
    if found:
        _told(lambda: read_secrets(found, store))
    return found


def _around(module, name, wrapper):
    """Put `wrapper(original, ...)` in the place of a function."""
    original = getattr(module, name)
    if getattr(original, "is_profile_hook", False):
        return

    @functools.wraps(original)
    def wrapped(*args, **kwargs):
        return wrapper(original, *args, **kwargs)

    setattr(wrapped, "is_profile_hook", True)
    setattr(module, name, wrapped)


def virt_install():
    """The distribution's virt-install, with ``--profile``."""
    from virtinst import virtinstall

    enable(virtinstall)
    virtinstall.runcli()


def virt_xml():
    """The distribution's virt-xml, with ``--profile``."""
    from virtinst import virtxml

    enable(virtxml)
    virtxml.runcli()


def virt_manager():
    """The distribution's virt-manager: standing profiles apply to the guests that its wizard makes.

    An error of a profile is shown in the wizard, where the guest was to be made.
    """
    import argparse
    import importlib
    import os

    from . import distribution

    _STANDING[:] = _told(_standing)
    if _STANDING:
        # as the options of a virt-install that names its disks and no profile
        _OPTIONS[:] = [argparse.Namespace(reinstall=None, disk=True)]
        _WINDOWS.append(True)
        _around(Installer, "set_install_defaults", _set_install_defaults)
        _around(Guest, "set_capabilities_defaults", _set_capabilities_defaults)
    sys.path.append(os.path.dirname(distribution))
    importlib.import_module("virtManager.virtmanager").runcli()


def enable(program):
    """Give a program its ``--profile``; once is enough.

    :param program: the module `virtinst.virtinstall` or `virtinst.virtxml`
    """
    _around(cli, "add_metadata_option", _add_option)
    _around(cli, "check_option_introspection", _with_options)
    _around(Installer, "set_install_defaults", _set_install_defaults)
    _around(Guest, "set_capabilities_defaults", _set_capabilities_defaults)
    if hasattr(program, "set_cli_defaults"):
        _around(program, "set_cli_defaults", _set_cli_defaults)
    if hasattr(program, "action_edit"):
        _around(program, "action_edit", _action_edit)
    for name in ("define_changes", "start_domain_transient"):
        if hasattr(program, name):
            _around(program, name, _with_storage)
    if hasattr(cli, "_virtparser_completer"):
        _around(cli, "_virtparser_completer", _completer)


def _add_option(original, group):
    from virtProfile.apply_options import OPTIONS
    from virtProfile.command_line import argument_of

    original(group)
    ParserProfile.register()
    for row in OPTIONS:
        if row.virtinst:
            as_theirs = {"help": row.virtinst, "metavar": None, "default": None}
            group.add_argument(*row.flags, **{**argument_of(row), **as_theirs})


def _with_options(original, options):
    """The first place with parsed options."""
    wished = getattr(options, "profile", None)
    new = hasattr(options, "reinstall") and not options.reinstall  # virt-xml makes no guests
    _STANDING[:] = _told(_standing) if new and "none" not in (wished or []) else []
    _OPTIONS[:] = [options] if wished or _STANDING else []
    if _OPTIONS and getattr(options, "reinstall", None):
        cli.fail_conflicting("--reinstall", "--profile")
    return original(options)


def _standing():
    """What a site or a user wants of all new guests; nothing is imported where there is no such file."""
    import os

    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    files = ("/etc", config)
    if not any(os.path.exists(os.path.join(place, "virt-profile", "config.toml")) for place in files):
        return []
    from virtProfile.language.standing import read_standing

    return read_standing(os.environ, _talk().warning)


def _with_standing(guest):
    """Wish also what standing profiles fit the guest; one line for each file that names some."""
    from virtProfile.format.document import parse
    from virtProfile.host.context import Context
    from virtProfile.language.standing import facts_of, with_standing

    from .profilecarry import without_xml_actions

    with without_xml_actions(guest):
        root = parse(guest.get_xml()).root
    known = getattr(getattr(guest, "osinfo", None), "name", None)
    facts = facts_of(root, Context(osinfo=None if known in (None, "generic") else known))
    found, lines = with_standing(vars(guest).get(_WISHES, []), _STANDING, facts)
    if not {"-q", "--quiet"}.intersection(sys.argv):  # --print-xml makes virt-install quiet too
        for line in lines:
            _talk().say(line)
    if found:
        vars(guest)[_WISHES] = found


def _new(guest):
    """The account of a guest in the making; None where no profile is wished."""
    if not _OPTIONS or getattr(_OPTIONS[0], "reinstall", -1) == -1:  # virt-xml makes no guests
        return None
    from .profileguest import NewGuest

    return vars(guest).setdefault(_NEW, NewGuest([]))


def _set_capabilities_defaults(original, guest, *args, **kwargs):
    new = _new(guest)
    if new is not None:
        new.open_before(guest, new.BY_CAPABILITIES)
    return original(guest, *args, **kwargs)


def _set_cli_defaults(original, options, guest):
    new = _new(guest)
    names = ("currentMemory", "vcpus")
    if new is not None:
        new.open_before(guest, names)
    told = list(guest.devices.disk)
    original(options, guest)
    if new is not None:
        new.filled(guest, names)
        new.default_disk = next((disk for disk in guest.devices.disk if disk not in told), None)


def _set_install_defaults(original, installer, guest):
    new = vars(guest).pop(_NEW, None)
    if new is not None and _STANDING:
        _told(lambda: _with_standing(guest))
    if new is None or not vars(guest).get(_WISHES):
        return original(installer, guest)
    new.open_before(guest, ("os.bootorder",))
    from . import profileguest

    def set_defaults(_guest):
        del guest.set_defaults
        new.filled(guest, ("os.bootorder",))
        store = profileguest.profile_store()
        new.wishes = _wishes(guest, store)
        result = _told(lambda: new.shape(guest, store))
        _report(result)
        for in_vain, line in new.sizes:
            (_talk().warning if in_vain else _talk().note)(line)
        if guest.devices.disk and _OPTIONS and not _OPTIONS[0].disk:
            _OPTIONS[0].disk = ["none"]  # storage is there: the profiles'

    guest.set_defaults = set_defaults
    return original(installer, guest)


def _action_edit(original, *args, **kwargs):
    found = original(*args, **kwargs)
    if not _OPTIONS:
        return found
    from . import profileguest

    for guest in (word for word in args if isinstance(word, Guest)):
        store = profileguest.profile_store()
        wishes = _wishes(guest, store)
        if wishes:
            _report(_told(lambda: profileguest.apply_profiles(guest, wishes, store=store)))
    return found


def _with_storage(original, conn, guest, *args, **kwargs):
    """virt-xml makes storage only for devices that it adds itself."""
    if not _OPTIONS:
        return original(conn, guest, *args, **kwargs)
    from .profilestorage import StorageFirst

    return original(StorageFirst(conn, guest, cli.get_meter), guest, *args, **kwargs)


def _report(result):
    from virtProfile.redaction import veil_result
    from virtProfile.show.terminal import tell

    tell(_talk(), veil_result(result), override=True)


def _completer(original, prefix, **kwargs):
    found = original(prefix, **kwargs)
    if kwargs["action"].dest != "profile":
        return found
    from virtProfile.errors import ProfileError

    from . import profileguest

    try:
        store = profileguest.profile_store()
        rows = [row.profile for row in store.listing() if not (row.shadowed or row.profile.audit)]
    except ProfileError:
        return found
    name, comma, _ = prefix.partition(",")
    if not comma:
        return [profile.name for profile in rows]
    params = [param.name for profile in rows if profile.name == name for param in profile.params]
    given = {part.partition("=")[0] for part in prefix.split(",")[:-1]}
    words = [word for word in found if word != "name="] + [word + "=" for word in params]
    return [word for word in words if word[:-1] not in given]
