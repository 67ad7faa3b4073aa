# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of virt-profile for fish: the program itself answers, if Python has argcomplete.
function __virt_profile_answers
    set -lx _ARGCOMPLETE 1
    set -lx _ARGCOMPLETE_IFS \n
    set -lx _ARGCOMPLETE_SHELL fish
    set -lx _ARGCOMPLETE_COMP_WORDBREAKS ''
    set -lx _ARGCOMPLETE_SUPPRESS_SPACE 1
    set -lx _ARGCOMPLETE_STDOUT_FILENAME (mktemp)
    set -lx COMP_LINE (commandline -cp)
    set -lx COMP_POINT (string length -- "$COMP_LINE")
    set -l program (commandline -opc)[1]
    $program >/dev/null 2>&1 </dev/null
    cat $_ARGCOMPLETE_STDOUT_FILENAME
    rm -f $_ARGCOMPLETE_STDOUT_FILENAME
end
complete -c virt-profile -a '(__virt_profile_answers)'
