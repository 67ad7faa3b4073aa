#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs packages into an empty root by their own package manager, uses them, takes them out; as root:
#   tests/trypackage.sh rpm|pacman PACKAGE...
# What they depend on is the host's, as are Python and lxml.
set -eu
manager=$1
shift
top=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
left() { find "$root" \( -name '*virt*profile*' -o -name virtinst -o -name virtProfile \) -not -path '*/lib/pacman/*'; }

mkdir -p "$root/var/lib/pacman" "$root/var/lib/rpm"
case $manager in
    rpm)
        rpm --root "$root" --initdb
        rpm --root "$root" --nodeps -i "$@"
        names=$(rpm --root "$root" -qa --queryformat '%{NAME} ')
        rpm --root "$root" --nodeps -V $names || fail "what was installed is not what the packages have"
        remove() { rpm --root "$root" --nodeps -e $names; }
        ;;
    pacman)
        printf '[options]\nArchitecture = auto\nSigLevel = Never\nLocalFileSigLevel = Never\n' >"$root/pacman.conf"
        manage() { pacman --root "$root" --config "$root/pacman.conf" --noconfirm "$@"; }
        manage -U --nodeps --nodeps "$@" >"$root/log" 2>&1 || { cat "$root/log" >&2; fail "pacman -U"; }
        names=$(manage -Qq)
        manage -Qkk $names >"$root/log" 2>&1 || { cat "$root/log" >&2; fail "what was installed is not what the package has"; }
        remove() { manage -R --nodeps $names >"$root/log" 2>&1 || { cat "$root/log" >&2; fail "pacman -R"; }; }
        ;;
    *) fail "$manager is not known" ;;
esac
PYTHONPATH=$(echo "$root"/usr/lib/python3*/site-packages)
export PYTHONPATH PYTHONDONTWRITEBYTECODE=1
[ -z "$(find "$root" -name '*.pyc')" ] || fail "compiled modules, of which the package manager should know"
mkdir "$root/bin"
for program in virt-profile virt-profiled; do # the host's Python has another name than Arch's
    printf '#!/bin/sh\nexec python3 "%s" "$@"\n' "$root/usr/bin/$program" >"$root/bin/$program"
    chmod +x "$root/bin/$program"
done
sh "$top/tests/smoke.sh" "$root/bin"
"$root/bin/virt-profiled" --version
for path in etc/virt-profile/policy.toml usr/lib/systemd/system/virt-profiled.service usr/share/cockpit/virt-profile/manifest.json; do
    [ -e "$root/$path" ] || fail "there is no /$path"
done
rm -r "$root/bin"
remove
[ -z "$(left)" ] || fail "this is left: $(left | head -5)"
echo "ok: installed, used and removed by $manager: $(echo $names)"
