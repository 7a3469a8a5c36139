#!/usr/bin/env bash
# Measures peak memory on 300,000 files of 1 KiB, one directory of a million names, and a sparse file of 20 GiB with
# 1 GiB of data: backup, a second backup, restore and verify of each. Prints a line PASS or FAIL for each; exits with
# an error if one failed. Takes some minutes, 5 GiB on disk and 1.5 million inodes below TMPDIR.
#
#   examples/scale.sh [small-files] [names] [sparse]      all three without arguments
#
# The shudao in target/release is taken, or SHUDAO_BIN. SCALE_PERCENT=1 makes everything smaller.
set -euo pipefail
export LC_ALL=C.UTF-8
here="$(cd "$(dirname "$0")/.." && pwd)"
bin="${SHUDAO_BIN:-${CARGO_TARGET_DIR:-$here/target}/release/shudao}"
percent="${SCALE_PERCENT:-100}"
memory_mib_max=300
[ -x "$bin" ] || { echo "no shudao at $bin: build it with 'cargo build --release', or set SHUDAO_BIN" >&2; exit 1; }
command -v python3 >/dev/null || { echo "python3 is missing" >&2; exit 1; }

room="$(mktemp -d "${TMPDIR:-/tmp}/shudao-scale.XXXXXX")"
trap 'rm -rf "$room"' EXIT
SHUDAO_PASSWORD="scale-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')"
export SHUDAO_PASSWORD
failed=0

verdict() {
    local good="$1" what="$2"
    if [ "$good" = yes ]; then
        printf 'PASS  %s\n' "$what"
    else
        printf 'FAIL  %s\n' "$what"
        failed=1
    fi
}

# Runs shudao, and judges its exit code and the most memory that it had resident at once.
measure() {
    local what="$1" report code=0 mib seconds
    shift
    report="$(python3 - "$room/out" "$bin" "$@" <<'PYTHON'
import os, resource, subprocess, sys, time
start = time.monotonic()
with open(sys.argv[1], 'wb') as out:
    code = subprocess.run(sys.argv[2:], stdout=out, stderr=subprocess.STDOUT).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, usage.ru_maxrss // 1024, round(time.monotonic() - start, 1))
PYTHON
)"
    read -r code mib seconds <<<"$report"
    if [ "$code" = 0 ] && [ "$mib" -lt "$memory_mib_max" ]; then
        verdict yes "$what: peak $mib MiB, $seconds s"
    else
        verdict no "$what: exit code $code, peak $mib MiB (at most $memory_mib_max are allowed), $seconds s"
        [ "$code" = 0 ] || tail -5 "$room/out"
    fi
}

# Backup, second backup, restore and verify of the tree in $room/source.
job() {
    local what="$1"
    export SHUDAO_VAULT="$room/vault" SHUDAO_STATE_DIR="$room/state" SHUDAO_CACHE_DIR="$room/cache"
    "$bin" vault init --no-recovery-kit "$SHUDAO_VAULT" >/dev/null
    measure "$what: first backup" backup "$room/source"
    measure "$what: second backup" backup "$room/source"
    measure "$what: restore" restore latest --to "$room/restored"
    measure "$what: verify" verify latest "$room/restored"
    "${compare[@]}" && verdict yes "$what: came back equal" || verdict no "$what: came back different"
    rm -rf "$room/source" "$room/restored" "$room/vault" "$room/state" "$room/cache"
}

# A directory's own size is the file system's affair.
listing() { (cd "$1" && find . \( -type d -printf '%P d %m %T@\n' \) -o -printf '%P %y %m %s %T@\n' | sort); }
same_tree() { diff <(listing "$room/source") <(listing "$room/restored") | head -5 | tee "$room/difference"; [ ! -s "$room/difference" ]; }
same_image() { cmp "$room/source/image" "$room/restored/image" && [ "$(du -m "$room/restored/image" | cut -f1)" -le "$(($(du -m "$room/source/image" | cut -f1) + 1))" ]; }

small-files() {
    local count=$((300000 * percent / 100))
    echo "-- $count files of 1 KiB"
    python3 - "$room/source" "$count" <<'PYTHON'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
body = os.urandom(1024)
for n in range(count):
    if n % 1000 == 0:
        directory = f'{root}/{n // 1000:04}'
        os.makedirs(directory)
    with open(f'{directory}/{n:07}', 'wb') as file:
        file.write(n.to_bytes(16, 'big') + body[16:])
PYTHON
    compare=(same_tree)
    job "$count files of 1 KiB"
}

names() {
    local count=$((1000000 * percent / 100))
    echo "-- one directory of $count names"
    python3 - "$room/source/directory" "$count" <<'PYTHON'
import os, sys
os.makedirs(sys.argv[1])
directory = os.open(sys.argv[1], os.O_RDONLY)
for n in range(int(sys.argv[2])):
    os.close(os.open(f'name-{n:08}', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory))
PYTHON
    compare=(same_tree)
    job "one directory of $count names"
}

sparse() {
    local data_mib=$((1024 * percent / 100)) part
    [ "$data_mib" -ge 16 ] || data_mib=16
    echo "-- a sparse file of 20 GiB with $data_mib MiB of data"
    mkdir -p "$room/source"
    truncate -s 20G "$room/source/image"
    for part in $(seq 0 15); do
        dd if=/dev/urandom of="$room/source/image" bs=1M count=$((data_mib / 16)) seek=$((part * 1280)) conv=notrunc iflag=fullblock status=none
    done
    compare=(same_image)
    job "a sparse file of 20 GiB"
}

[ "$#" -gt 0 ] || set -- small-files names sparse
for part in "$@"; do
    case "$part" in
    small-files | names | sparse) "$part" ;;
    *) echo "usage: examples/scale.sh [small-files] [names] [sparse]" >&2; exit 2 ;;
    esac
done
exit "$failed"
