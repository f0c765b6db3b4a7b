# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The lab's cache: one folder for each product, named NAME-KEY. The key is a hash of what makes the product, so a folder
# that is there is right, and one that is whole: it is made under another name, and renamed. Several checkouts, and
# several runs at a time, may share it. To be sourced.

lab_cache=${PLUGD_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/plugd/lab}
lab_keep_days=1 # how long a product of another key stays after its last use

lab_die() {
    printf 'lab: %s\n' "$*" >&2
    exit 1
}

# lab_key: of what is on standard input.
lab_key() {
    sha256sum | cut -c 1-16
}

# lab_forget NAME KEY: removes what is left of interrupted makings, and products of other keys that nobody uses.
lab_forget() {
    local name=$1 key=$2 folder fd

    rm -rf --one-file-system "$lab_cache/making-$name".*
    for folder in "$lab_cache/$name"-????????????????; do
        if [ ! -d "$folder" ] || [ "$folder" = "$lab_cache/$name-$key" ]; then
            continue
        fi
        [ -n "$(find "$folder/used" -mtime -"$lab_keep_days" 2>/dev/null)" ] && continue
        # Whoever uses a product holds a shared lock on it.
        exec {fd}<"$folder"
        if flock -n -x "$fd"; then
            rm -rf --one-file-system "$folder"
        fi
        exec {fd}<&-
    done
}

# lab_product NAME KEY FILE FUNCTION…: prints the product's folder. What is not there is made by FUNCTION of FILE, with an
# empty folder as its last argument, in a shell of its own that ends at the first failing step; nothing stays of what
# failed. Says on standard error what takes time.
lab_product() {
    local name=$1 key=$2 file=$3 folder=$lab_cache/$1-$2 making begin fd status
    shift 3

    mkdir -p "$lab_cache" || lab_die "the cache $lab_cache can't be made (PLUGD_LAB_CACHE names another)"
    if [ ! -d "$folder" ]; then
        exec {fd}>"$lab_cache/$name.lock"
        flock "$fd"
        if [ ! -d "$folder" ]; then
            lab_forget "$name" "$key"
            making=$(mktemp -d "$lab_cache/making-$name.XXXXXX") || exit 1
            begin=$SECONDS
            printf 'lab: making %s\n' "$name" >&2
            # shellcheck disable=SC2016
            bash -euo pipefail -c 'file=$1; shift; . "$file"; "$@"' lab "$file" "$@" "$making" </dev/null >"$lab_cache/$name.log" 2>&1
            status=$?
            if [ "$status" -ne 0 ]; then
                tail -n 30 "$lab_cache/$name.log" >&2
                rm -rf --one-file-system "$making"
                lab_die "making $name failed (status $status; all of it: $lab_cache/$name.log)"
            fi
            touch "$making/used"
            echo $((SECONDS - begin)) >"$making/seconds"
            chmod 755 "$making"
            # What lies in memory only would be missing after a power cut, under a name that says it is whole.
            sync -f "$making"
            mv -T "$making" "$folder"
            printf 'lab: made %s in %d s\n' "$name" $((SECONDS - begin)) >&2
        fi
        exec {fd}>&-
    fi
    touch "$folder/used"
    printf '%s\n' "$folder"
}
