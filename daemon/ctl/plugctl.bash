# SPDX-License-Identifier: Apache-2.0
# bash completion for plugctl, which knows itself what can come next.

_plugctl() {
    local word candidates

    COMPREPLY=()
    mapfile -t candidates < <("${COMP_WORDS[0]}" --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ ${candidates[0]-} == @file ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
        return
    fi
    for word in "${candidates[@]}"; do
        COMPREPLY+=("$word")
    done
}

complete -F _plugctl plugctl
