#!/usr/bin/env bash
# Backs up a tree with every oddity that a file system has, restores it, and compares the two with tools that are not
# ours. Exits with an error on the first difference. Leaves nothing behind.
#
#   examples/roundtrip.sh               with the shudao that lies in target/, or in the PATH
#   SHUDAO_BIN=... examples/roundtrip.sh
#
# Needs rsync, acl, attr, libcap2-bin, b3sum and python3. As an ordinary user it leaves out devices, owners,
# capabilities and privileged modes, and says so.
set -euo pipefail
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"
here="$(cd "$(dirname "$0")/.." && pwd)"

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAIL: %s\n' "$*" >&2; exit 1; }

find_shudao() {
    local candidate
    for candidate in "${SHUDAO_BIN:-}" "${CARGO_TARGET_DIR:-$here/target}"/{release,debug}/shudao "$(command -v shudao || true)"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            echo "$candidate"
            return
        fi
    done
    fail "no shudao found: build it with 'cargo build --release', or set SHUDAO_BIN"
}

for tool in rsync setfacl getfacl setfattr setcap getcap b3sum python3 du find; do
    command -v "$tool" >/dev/null || fail "$tool is missing: ./test installs it"
done
bin="$(find_shudao)"
room="$(mktemp -d "${TMPDIR:-/tmp}/shudao-roundtrip.XXXXXX")"
trap 'chmod -R u+rwX "$room" 2>/dev/null; rm -rf "$room"' EXIT
source="$room/source" target="$room/restored"
export SHUDAO_VAULT="$room/vault" SHUDAO_STATE_DIR="$room/state" SHUDAO_CACHE_DIR="$room/cache"
SHUDAO_PASSWORD="round-trip-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')"
export SHUDAO_PASSWORD
root=no
[ "$(id -u)" = 0 ] && root=yes

shudao() {
    printf '$ shudao %s\n' "$*"
    "$bin" "$@"
}

plant_contents() {
    mkdir -p contents/empty-directory
    : >contents/empty
    printf x >contents/one-byte
    seq 1 200000 >contents/text
    head -c 20M /dev/urandom >contents/noise
    cp contents/noise contents/noise-again
    head -c 1M /dev/zero >contents/written-zeros
    local number
    for number in $(seq 1 300); do echo "small file $number" >"contents/small-$number"; done
    truncate -s 16M contents/hole-only
    truncate -s 64M contents/holes-between
    local at
    for at in 0 7 31 63; do
        dd if=contents/noise of=contents/holes-between bs=1M count=1 seek="$at" conv=notrunc status=none
    done
}

plant_links() {
    mkdir -p links/other
    echo 'three names, one file' >links/first
    ln links/first links/second
    ln links/first links/other/third
    ln -s first links/relative
    ln -s ../contents links/directory
    ln -s /nowhere/at/all links/dangling
    ln -s itself links/itself
    ln -s $'strange \xff\nsecond line' links/strange
}

plant_names() {
    mkdir names
    local name
    for name in 'with space' ' edges ' $'new\nline' $'tab\tand\rreturn' 'back\slash' $'quote"and\'tick`' -n --help ... '~' '#hash' \
        '!negated' 'star*[and]?' $'control \x01\x1b[31m' $'latin-1 \xe9' $'\xff\xfe\xfd' '政务云 蜀道' "$(printf 'n%.0s' {1..255})"; do
        printf '%s' "$name" >"names/$name"
    done
    mkdir names/a $'names/directory\nwith newline'
    touch names/a/x names/a-b names/a.b names/a0 $'names/directory\nwith newline/inside'
}

plant_attributes() {
    mkdir -p attributes/inheriting
    echo attributes >attributes/file
    setfattr -n user.empty -v '' attributes/file
    setfattr -n user.binary -v 0x00ff0a80 attributes/file
    setfattr -n user.long -v "$(head -c 1200 contents/text | tr '\n' ' ')" attributes/file
    echo guarded >attributes/guarded
    setfacl -m u:1001:rw,g:1002:r,m::rw attributes/guarded
    setfacl -m u:1001:rwx,d:u:1001:rwx attributes/inheriting
    echo heir >attributes/inheriting/heir
}

plant_modes_and_times() {
    mkdir modes times
    local mode
    for mode in 0400 0444 0640 0777; do
        echo "$mode" >"modes/file-$mode"
        chmod "$mode" "modes/file-$mode"
    done
    mkdir modes/closed && echo inside >modes/closed/inside && chmod 0555 modes/closed
    echo old >times/old && touch -d '1969-12-31 12:00:00.987654321 UTC' times/old
    echo future >times/future && touch -d '2096-10-02 07:06:40.123456789 UTC' times/future
    touch -h -d '2001-02-03 04:05:06.7 UTC' links/dangling
    mkdir times/directory && echo newer >times/directory/newer && touch -d '2000-01-01 UTC' times/directory
}

plant_special() {
    mkdir special
    mkfifo special/fifo
    python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' special/daemon.socket
    [ "$root" = yes ] || return 0
    mknod special/null c 1 3
    mknod special/block b 7 200
    mkdir owners
    echo given >owners/given && chown 1001:1002 owners/given
    echo unknown >owners/unknown && chown 1234567:7654321 owners/unknown
    for mode in 0000 1644 2755 4755; do
        echo "$mode" >"modes/file-$mode" && chown 1001:1002 "modes/file-$mode" && chmod "$mode" "modes/file-$mode"
    done
    echo capable >attributes/capable && chmod 0755 attributes/capable && setcap cap_net_bind_service+ep attributes/capable
}

# Directories inside directories, far beyond the longest path that a system call takes.
plant_deep() {
    mkdir -p "$1"
    python3 - "$1" <<'PYTHON'
import os, sys
here = os.open(sys.argv[1], os.O_RDONLY)
for level in range(30):
    name = f'{level:02}-' + 'd' * 200
    os.mkdir(name, dir_fd=here)
    here = os.open(name, os.O_RDONLY, dir_fd=here)
    with os.fdopen(os.open('file', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here), 'w') as file:
        file.write(f'level {level}')
PYTHON
}

equal() {
    local what="$1" left="$2" right="$3"
    if diff "$left" "$right" >"$room/difference"; then
        echo "equal: $what ($(wc -l <"$left") lines)"
    else
        head -40 "$room/difference"
        fail "$what differs"
    fi
}

# What a tool says of both trees, run inside each. Sockets cannot be backed up and are left out.
compare_listing() {
    local what="$1" part="$2"
    shift 2
    (cd "$source/$part" && "$@" | grep -av '\.socket$') >"$room/left"
    (cd "$target/$part" && "$@" | grep -av '\.socket$') >"$room/right"
    equal "$what" "$room/left" "$room/right"
}

acls() { find . -type s -prune -o -print0 | LC_ALL=C sort -z | xargs -0 getfacl -P -n -p 2>&1; }
capabilities() { getcap -r . | LC_ALL=C sort; }
allocated() { find . -type f -size +64k -printf '%P\n' | LC_ALL=C sort | while read -r file; do printf '%s %s\n' "$(($(du -B 16k "$file" | cut -f1)))" "$file"; done; }
deep() { find . -printf '%P %y %m %U %G %T@\n' -type f -execdir b3sum {} ';' | LC_ALL=C sort; }
digests() { find . -type f -print0 | LC_ALL=C sort -z | xargs -0 b3sum --no-names | LC_ALL=C sort; }

say "plant a tree with every oddity in $source"
mkdir -p "$source/plain"
(cd "$source/plain" && plant_contents && plant_links && plant_names && plant_attributes && plant_modes_and_times && plant_special)
plant_deep "$source/deep"
[ "$root" = yes ] || echo "not root: devices, owners, capabilities and privileged modes are left out"
echo "$(find "$source" | wc -l) paths, $(du -sh "$source" | cut -f1)"

say "back it up, twice"
shudao vault init --no-recovery-kit "$SHUDAO_VAULT"
shudao backup "$source"
shudao backup "$source"

say "restore it to $target"
shudao restore latest --to "$target"

say "compare with tools that are not ours"
differences="$(rsync -naHAXc --delete --numeric-ids --itemize-changes --exclude='*.socket' --exclude=/deep/ "$source/" "$target/")"
[ -z "$differences" ] || { echo "$differences"; fail "rsync sees differences"; }
echo "equal: rsync -naHAXc --itemize-changes prints nothing"
compare_listing "access lists by getfacl" plain acls
compare_listing "capabilities by getcap" plain capabilities
compare_listing "room on disk by du, holes counted" plain allocated
compare_listing "paths beyond PATH_MAX by find and b3sum" deep deep
[ ! -e "$target/plain/special/daemon.socket" ] || fail "a socket was restored"

say "compare digests of ls --json with b3sum"
"$bin" ls latest --json | python3 -c '
import json, sys
for line in sys.stdin:
    entry = json.loads(line)
    if entry.get("type") == "entry" and "blake3" in entry:
        print(entry["blake3"])' | LC_ALL=C sort >"$room/shown"
(cd "$source" && find . -type f -execdir b3sum --no-names {} + | LC_ALL=C sort) >"$room/computed"
equal "digests" "$room/shown" "$room/computed"

say "let shudao prove it, too"
shudao verify latest "$target"
shudao check --read-data

printf '\nPASS: what went in came back identical\n'
