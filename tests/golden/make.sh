#!/usr/bin/env bash
# Makes the golden vault of this build's format version anew: tests/golden/v<version>, with README.md and expected.json.
#
#   tests/golden/make.sh                with the shudao that `cargo build --workspace` made
#   SHUDAO_BIN=... tests/golden/make.sh       (and with declare_bad, an example of crates/vault, in examples/ beside it)
#
# Version 0 may be made anew when the layout changes; say so in docs/format/README.md. A later version never may.
# Run it as root, so that the entries belong to numbers 0:0 on every machine. Needs acl, attr and python3.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 TZ=UTC PATH="$PATH:/usr/sbin:/sbin"
here="$(cd "$(dirname "$0")" && pwd)"
bin="${SHUDAO_BIN:-${CARGO_TARGET_DIR:-$here/../../target}/debug/shudao}"
declare_bad="${bin%/*}/examples/declare_bad"
[ -x "$declare_bad" ] || { echo "no declare_bad at $declare_bad: run cargo build --workspace --examples" >&2; exit 1; }
[ -x "$bin" ] || { echo "no shudao at $bin: run cargo build --workspace, or set SHUDAO_BIN" >&2; exit 1; }
version="$(sed -n 's/^pub const FORMAT_VERSION: u8 = \([0-9]*\);/\1/p' "$here/../../crates/vault/src/object.rs")"
out="$here/v$version"

room="$(mktemp -d "${TMPDIR:-/tmp}/shudao-golden.XXXXXX")"
trap 'chmod -R u+rwX "$room" 2>/dev/null; rm -rf "$room"' EXIT
tree="$room/tree"
password="golden-kettle-lantern-orchard-owner"
writer_password="golden-kettle-lantern-orchard-writer"

# Everyone works on a machine of their own. What they print is of no interest, unless it is asked for.
owner() { SHUDAO_PASSWORD="$password" person owner "$@"; }
writer() { SHUDAO_PASSWORD="$writer_password" person writer "$@"; }
person() {
    local name="$1"
    shift
    env -i PATH="$PATH" HOME="$room/$name" SHUDAO_STATE_DIR="$room/$name/state" SHUDAO_CACHE_DIR="$room/$name/cache" \
        SHUDAO_VAULT="$room/vault" SHUDAO_PASSWORD="$SHUDAO_PASSWORD" SHUDAO_NEW_PASSWORD="$writer_password" "$bin" "$@"
}
snapshot_of() { python3 -c 'import json, sys; print(json.loads(sys.stdin.readlines()[-1])["snapshot"])'; }

# Long enough for several chunks, and next to nothing when compressed.
text() { awk -v lines="$1" 'BEGIN { for (n = 1; n <= lines; n++) print int(n / 1000), "the road to Shu is harder than climbing to the sky" }'; }

plant() {
    mkdir -p contents/empty-directory links/other names modes attributes times many
    : >contents/empty
    printf x >contents/one-byte
    text 6000 >contents/text
    python3 - <<'PYTHON'
import random
random.seed(7)
open("contents/noise", "wb").write(random.randbytes(9000))
# More pieces than an entry holds, so that the list of extents gets nodes of its own.
with open("contents/holes-between", "wb") as file:
    for piece in range(24):
        file.seek(piece * 65536)
        file.write(bytes([65 + piece]) * 4096)
    file.truncate(24 * 65536)
for name in (b"new\nline", b"latin-1 \xe9\xe8", b"star*[and]?", b" space ", "政务云 蜀道".encode(), b"n" * 255):
    open(b"names/" + name, "wb").write(name)
PYTHON
    truncate -s 1M contents/hole-only
    printf 'three names, one file' >links/first
    ln links/first links/second
    ln links/first links/other/third
    ln -s first links/relative
    ln -s nowhere/to/be/found links/dangling
    ln -s $'not utf-8 \xff' links/strange
    mkfifo contents/fifo
    local mode number
    for mode in 0000 0444 0777 1644 4755; do
        echo "mode $mode" >"modes/$mode"
        chmod "$mode" "modes/$mode"
    done
    mkdir -m 2775 modes/directory
    mkdir names/a
    for number in names/a/x names/a-b names/a.b names/a0; do echo "$number" >"$number"; done
    echo attributes >attributes/file
    setfattr -n user.empty attributes/file
    setfattr -n user.binary -v 0x00ff0a80 attributes/file
    setfattr -n user.long -v "$(printf 'v%.0s' $(seq 1 900))" attributes/file
    echo guarded >attributes/guarded
    setfacl -m u:1001:rw,g:1002:r,m::rw attributes/guarded
    for number in $(seq -w 1 150); do echo "small file $number" >"many/small-$number"; done
    for number in epoch before-1970 after-2038 nanoseconds; do echo "$number" >"times/$number"; done
}

# Times are part of the manifest, and these are the same whenever this runs.
set_times() {
    find . -depth -exec touch -h -d '2026-01-02 03:04:05.678901234 UTC' {} +
    touch -d '1970-01-01 00:00:00 UTC' times/epoch
    touch -d '1969-12-30 23:59:59.999999999 UTC' times/before-1970
    touch -d '2096-10-02 07:06:40.987654321 UTC' times/after-2038
    touch -d '2023-11-14 22:13:20.000000001 UTC' times/nanoseconds
    touch -d '2026-01-02 03:04:05.678901234 UTC' times
}

# One snapshot as the tests expect it: what `snapshots` and `ls` say, reduced to what must never change.
expect() {
    local role="$1" snapshot="$2"
    "$role" ls "$snapshot" --json >"$room/ls"
    "$role" snapshots --json >"$room/snapshots"
    python3 - "$role" "$snapshot" "$room/ls" "$room/snapshots" <<'PYTHON'
import json, sys
role, snapshot, ls, snapshots = sys.argv[1:]
rows = lambda path: [row for row in map(json.loads, open(path)) if row["type"] != "summary"]
facts = next(row for row in rows(snapshots) if row["snapshot"] == snapshot)
kept = ("path", "path_hex", "kind", "size", "blake3")
print(json.dumps({
    "role": role,
    "snapshot": snapshot,
    "source": facts["source"],
    "held": facts["held"],
    "manifest_root": facts["manifest_root"],
    "entries": [{key: row[key] for key in kept if key in row} for row in rows(ls)],
}))
PYTHON
}

mkdir -p "$tree" "$room/owner" "$room/writer"
owner vault init --no-recovery-kit "$room/vault" >/dev/null
owner vault key add --role writer >/dev/null

cd "$tree"
plant
set_times
first="$(owner backup --json --source archive . | snapshot_of)"

echo 'a draft that was dropped' >contents/draft
set_times
dropped="$(owner backup --json --source archive . | snapshot_of)"
owner forget "$dropped" --yes >/dev/null

rm contents/draft many/small-017
text 20 >>contents/text
mv links/other/third links/moved
mv contents/noise many/noise
chmod 0640 contents/one-byte
rm contents/fifo
mkdir contents/fifo
ln -sf second links/relative
set_times
second="$(owner backup --json --source archive --tag quarterly . | snapshot_of)"
owner hold "$first" >/dev/null

mkdir "$room/letters"
cd "$room/letters"
mkdir in out
cp "$tree/contents/text" out/report
for number in $(seq 1 5); do echo "letter $number" >"in/letter-$number"; done
find . -depth -exec touch -h -d '2026-01-02 03:04:05 UTC' {} +
third="$(writer backup --json --source letters . | snapshot_of)"
cd "$here"

expect owner "$first" >"$room/expected"
expect owner "$second" >>"$room/expected"
expect writer "$third" >>"$room/expected"

# The frame that holds a file's content is declared bad, as if a check had found it lying. Others are in it too.
read -r marred offset < <(SHUDAO_PASSWORD="$password" "$declare_bad" "$room/vault" "$tree/many/noise")
owner check --read-data >/dev/null

rm -rf "$out"
mkdir -p "$out"
cp -r "$room/vault" "$out/vault"
# What the repository cannot hold is not what a reader may need.
find "$out/vault" -type d -empty -delete
python3 - "$room/expected" "$dropped" "$password" "$writer_password" "$marred" "$offset" >"$out/expected.json" <<'PYTHON'
import json, sys
expected, dropped, password, writer_password, marred, offset = sys.argv[1:]
json.dump({
    "passwords": {"owner": password, "writer": writer_password},
    "forgotten": dropped,
    "bad": {"pack": marred, "offset": int(offset)},
    "snapshots": [json.loads(line) for line in open(expected)],
}, sys.stdout, indent=1, ensure_ascii=False)
print()
PYTHON
python3 - "$out/expected.json" "$version" >"$out/README.md" <<'PYTHON'
import json, sys
expected, version = json.load(open(sys.argv[1])), sys.argv[2]
print(f"""# The golden vault of format version {version}

A small vault that every build must read: `vault/` is the replica, `expected.json` what must come out of it. The tests
work on a copy. `tests/golden/make.sh` made it with the binary of its time; it is not made by hand.

It holds a tree of every kind of entry that needs no root to make, in two generations (text, a sparse file whose extent
list has nodes of its own, hard links, symbolic links, a pipe, names that are not UTF-8, modes, attributes, an access
list, times before 1970 and after 2038), a writer's snapshot, a snapshot that was forgotten, a hold, a frame that is
declared bad (`expected.json` names the pack and a byte in the frame, which is whole), and the owner's vouch for
all packs.
""")
if version == "0":
    print("""Version 0 is not frozen: this folder may be made anew when the layout changes, with a note in the history of
`docs/format/README.md`. From version 1 on a folder here is never changed.
""")
print("| Who | Password |\n|---|---|")
for role, password in expected["passwords"].items():
    print(f"| {role} | `{password}` |")
print("\n| Snapshot | Source | Key | Held | Manifest root |\n|---|---|---|---|---|")
for snapshot in expected["snapshots"]:
    held = "yes" if snapshot["held"] else "no"
    print(f"| `{snapshot['snapshot'][:16]}…` | {snapshot['source']} | {snapshot['role']} | {held} | `{snapshot['manifest_root']}` |")
print(f"| `{expected['forgotten'][:16]}…` | archive | owner | forgotten | |")
PYTHON
du -sh "$out"
