#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Apply libvirt profiles to a VM, or take them back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_profile
short_description: Apply libvirt profiles to a VM
description:
  - Applies named, versioned pieces of domain XML to a domain of libvirt and defines the result,
    or takes back what they did.
  - The profiles on the list in the VM's metadata apply too.
version_added: "0.1.0"
author:
  - the virt-profile authors
options:
  name:
    description: The domain, by name, id or UUID.
    type: str
    required: true
  profiles:
    description:
      - Names of profiles, or dictionaries with C(name) and optionally C(instance), C(priority),
        C(version), C(params).
      - With I(state=absent), names of those that are taken back; none are all.
    type: list
    elements: raw
    default: []
  state:
    description: Whether the profiles are to hold, or to be taken back.
    type: str
    choices: [present, absent]
    default: present
  uri:
    description: The connection to libvirt.
    type: str
    default: qemu:///system
  # those that mirror an option of virt-profile: ./dev docs
  override:
    description: Let profiles without a priority override the VM definition.
    type: bool
    default: false
  auto:
    description: Apply also the profiles that select themselves.
    type: bool
    default: false
  profile_dirs:
    description: Directories of profiles on the managed host, searched first.
    type: list
    elements: path
    default: []
  record:
    description: Write what was done into the metadata, so that it can be taken back.
    type: bool
    default: true
  guest_abi:
    description: Define also what changes the machine that the guest sees.
    type: bool
    default: false
  # end of those that mirror an option of virt-profile
attributes:
  check_mode:
    support: full
    description: Computes the result and defines nothing.
  diff_mode:
    support: full
    description: Shows the inactive XML before and after, passwords as asterisks.
requirements:
  - virt-profile
  - libvirt-python
"""

EXAMPLES = r"""
- name: Random numbers and fast disks
  virt.profile.virt_profile:
    name: web1
    profiles: [rng, fast-disk]

- name: The whole host for one VM
  virt.profile.virt_profile:
    name: db1
    profiles:
      - name: mirror-topology
        priority: 100
        params: {policy: isolate, hugepages: 1G}
    guest_abi: true

- name: Take it back
  virt.profile.virt_profile:
    name: db1
    profiles: [mirror-topology]
    state: absent
    guest_abi: true
"""

RETURN = r"""
applied:
  description: The profiles that apply.
  returned: success
  type: list
  elements: dict
changes:
  description: Every value that changed, with the profile, file and line that wants it.
  returned: success
  type: list
  elements: dict
overridden:
  description: Every wish that lost, and to whom.
  returned: success
  type: list
  elements: dict
skipped:
  description: The profiles that do not apply, and why.
  returned: success
  type: list
  elements: dict
error:
  description: What went wrong, with code, hint and conflicts.
  returned: failure
  type: dict
"""

import io
import os
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

LIBRARY_ERROR = None
try:
    from virtProfile.apply_options import ApplyOptions, options_of_arguments
    from virtProfile.engine.dispatch import dispatch
    from virtProfile.engine.record.model import Trust
    from virtProfile.errors import ProfileError
    from virtProfile.format.document import parse
    from virtProfile.host.context import Context
    from virtProfile.language.search_path import search_path
    from virtProfile.language.store import ProfileStore
    from virtProfile.live.call_context import context as context_of
    from virtProfile.live.connection import Connection
    from virtProfile.live.define import define
    from virtProfile.redaction import veil_error, veil_result, veil_text, written_places
    from virtProfile.show.terminal import Talk
except ImportError:
    LIBRARY_ERROR = traceback.format_exc()


def wishes(profiles):
    """Names and dictionaries, values as text."""
    found = []
    for one in profiles:
        if isinstance(one, dict):
            one = dict(one)
            params = one.get("params") or {}
            one["params"] = {name: spelled(value) for name, value in params.items()}
        found.append(one)
    return found


def spelled(value):
    """A value of YAML as profiles spell it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def names(profiles):
    return [one["name"] if isinstance(one, dict) else one for one in profiles]


def without_secrets(xml, secrets, result=None):
    document = parse(xml)
    return veil_text(document, lambda: () if result is None else written_places(document, result), secrets)


def secrets_of(profiles, store):
    """The values of secret params, which no log of Ansible's may show either."""
    for profile in wishes(profiles):
        if isinstance(profile, dict):
            try:
                known = store.get(profile["name"], profile.get("version"))
            except ProfileError:
                continue  # applying says what is wrong
            for param in known.params:
                if param.secret and profile["params"].get(param.name):
                    yield profile["params"][param.name]


def run(module):
    params = module.params
    taken_back = ()
    if params["state"] == "absent":
        taken_back = tuple(names(params["profiles"])) or ("all",)
    options = ApplyOptions(unapply=taken_back, **options_of_arguments(params))
    store = ProfileStore(search_path(options.profile_dir, os.environ))
    module.no_log_values.update(secrets_of(params["profiles"], store))
    with Connection(params["uri"], read_only=module.check_mode) as connection:
        domain = connection.find(params["name"])
        context = context_of(Context(), domain.xml, domain.name, connection, None)

        def applied(xml):
            wanted = [] if taken_back else wishes(params["profiles"])
            # guest_abi is about the guest's machine: it does not make the record believed, as --yes does
            return dispatch(
                options, wanted, xml, store=store, context=context, name=domain.name, trust=Trust.RECORD
            )

        result = applied(domain.xml)
        shown = veil_result(result)
        answer = {
            "changed": result.xml != result.input,
            "applied": [one.to_dict() for one in shown.applied],
            "changes": [one.to_dict() for one in shown.changes],
            "overridden": [one.to_dict() for one in shown.overridden],
            "skipped": [one.to_dict() for one in shown.skipped],
        }
        for one in shown.warnings:
            module.warn(one.message)
        after, of = result.xml, result
        if answer["changed"] and not module.check_mode:
            told = io.StringIO()
            define(
                connection,
                result,
                domain,
                options=options,
                talk=Talk(told, quiet=True),
                stdin=io.StringIO(),
                again=applied,
            )
            for line in told.getvalue().splitlines():
                module.warn(line.removeprefix("WARNING  "))
            after, of = connection.find(domain.uuid).xml, None
            answer["changed"] = after != domain.xml
        if module._diff:
            answer["diff"] = {
                "before_header": domain.name,
                "after_header": domain.name,
                "before": without_secrets(domain.xml, result.secrets),
                "after": without_secrets(after, result.secrets, of),
            }
        return answer


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "profiles": {"type": "list", "elements": "raw", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "uri": {"type": "str", "default": "qemu:///system"},
            # the same in Python: ./dev docs
            "override": {"type": "bool", "default": False},
            "auto": {"type": "bool", "default": False},
            "profile_dirs": {"type": "list", "elements": "path", "default": []},
            "record": {"type": "bool", "default": True},
            "guest_abi": {"type": "bool", "default": False},
            # end of the same in Python
        },
        supports_check_mode=True,
    )
    if LIBRARY_ERROR is not None:
        module.fail_json(msg=missing_required_lib("virtProfile"), exception=LIBRARY_ERROR)
    try:
        answer = run(module)
    except ProfileError as problem:
        told = veil_error(problem)
        hint = f" ({told.hint})" if told.hint else ""
        module.fail_json(msg=f"{told}{hint}", **told.to_dict())
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
