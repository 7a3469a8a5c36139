#!/usr/bin/env bash
# Kills a backup to two replicas, a directory and an S3 server, with SIGKILL at random moments, lets it finish, and holds the
# outcome against a backup that nobody disturbed. Prints a line PASS or FAIL for each claim; exits with an error if one failed. Leaves
# nothing behind. Takes some minutes, and 2 GiB below TMPDIR.
#
#   examples/kill.sh                        50 kills, 256 MiB: half of it from /usr, half noise
#   KILL_COUNT=5 KILL_MIB=48 examples/kill.sh
#   KILL_SEED=7 examples/kill.sh            the same moments again, as far as a machine repeats itself
#
# What counts as uploaded: on the S3 server the bodies of all uploads that it stored, whether or not the client lived to hear of
# it; in the directory every file at the end, also what a killed run left half written in tmp/. A body that a kill cut off on its
# way to the S3 server was never acknowledged; those are counted apart, in full length, and printed, and judged by nothing.
#
# The shudao and the shudao-s3-server in target/ are taken, or SHUDAO_BIN and S3_SERVER_BIN. Needs rsync and python3.
set -euo pipefail
export LC_ALL=C.UTF-8
here="$(cd "$(dirname "$0")/.." && pwd)"
kills="${KILL_COUNT:-50}" mib="${KILL_MIB:-256}" seed="${KILL_SEED:-$RANDOM}"
RANDOM="$seed"

find_program() {
    local name="$1" given="$2" candidate
    for candidate in "$given" "${CARGO_TARGET_DIR:-$here/target}"/{release,debug}/"$name"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            echo "$candidate"
            return
        fi
    done
    echo "no $name found: build it with 'cargo build --workspace', or name it in the environment" >&2
    exit 1
}
bin="$(find_program shudao "${SHUDAO_BIN:-}")"
server="$(find_program shudao-s3-server "${S3_SERVER_BIN:-}")"
for tool in rsync python3 timeout; do
    command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 1; }
done

room="$(mktemp -d "${TMPDIR:-/tmp}/shudao-kill.XXXXXX")"
trap 'chmod -R u+rwX "$room" 2>/dev/null; rm -rf "$room"' EXIT
export SHUDAO_IDENTITY="$room/identity" AWS_ACCESS_KEY_ID=SHUDAOTESTACCESSKEY0 AWS_SECRET_ACCESS_KEY=s3-secret-plum-harbour-violin-0123456789 AWS_REGION=us-east-1
source="$room/source"
failed=0

say() { printf '\n== %s\n' "$*"; }

verdict() {
    if "${@:2}"; then
        printf 'PASS  %s\n' "$1"
    else
        printf 'FAIL  %s\n' "$1"
        failed=1
    fi
}

# Half of the data is files of this system, in the order of their names; the other half is noise, most of it in one file,
# so that there is something that neither compresses nor is stored already, and something to be killed in the middle of.
plant() {
    mkdir -p "$source/noise"
    python3 - "$source" "$((mib / 2))" <<'PYTHON'
import os, shutil, sys
target, room = sys.argv[1], int(sys.argv[2]) << 20
for directory, inner, names in os.walk('/usr/share'):
    inner.sort()
    for name in sorted(names):
        path = os.path.join(directory, name)
        if room <= 0:
            sys.exit()
        if os.path.isfile(path) and not os.path.islink(path):
            to = target + path
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy2(path, to)
            room -= os.path.getsize(path)
PYTHON
    head -c "$((mib * 3 / 8))M" /dev/urandom >"$source/noise/large"
    head -c "$((mib / 16))M" /dev/urandom >"$source/noise/middle"
    ln "$source/noise/middle" "$source/noise/second-name"
    local number
    for number in $(seq 1 $((mib / 2))); do head -c 128K /dev/urandom >"$source/noise/small-$number"; done
}

bytes_in() { { find "$@" -type f -printf '%s\n' 2>/dev/null || true; } | awk '{sum += $1} END {print sum + 0}'; }
in_mib() { awk -v bytes="$1" 'BEGIN {printf "%.1f MiB", bytes / 1048576}'; }
at_most() { python3 -c 'import sys; a, b, c = map(float, sys.argv[1:]); sys.exit(not a <= b * c)' "$1" "$2" "$3"; }
times() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f times", a / b}'; }

# What the S3 server has received so far: bytes of uploads begun, of uploads stored, and keys stored more than once.
traffic() {
    echo >&"${s3[1]}"
    read -r begun stored again <&"${s3[0]}"
}

# The vault of this name, in both places.
use() {
    export SHUDAO_STATE_DIR="$room/$1-state" SHUDAO_CACHE_DIR="$room/$1-cache"
    directory="$room/$1"
    remote="${addresses[$1]}"
}

# Slow enough that there is time to be killed.
pace=(--limit "$(((mib + 15) / 16))MiB")
# A backup on both replicas with the options in $pace, run by the given command.
backup() { "$@" "$bin" backup --quiet "${pace[@]}" --source data --vault "$directory" --vault "$remote" "$source" >>"$room/out" 2>&1; }

"$bin" vault key identity --quiet "$SHUDAO_IDENTITY" >/dev/null
coproc s3 { exec "$server" undisturbed killed; }
declare -A addresses
for name in undisturbed killed; do read -r addresses[$name] <&"${s3[0]}"; done

say "plant $mib MiB; kills: $kills; seed: $seed"
plant
sleep 3 # Until every file's times have settled: what changed just now is read again on purpose.
echo "$(find "$source" -type f | wc -l) files, $(in_mib "$(bytes_in "$source")")"

say "a backup that nobody disturbs, at ${pace[1]}/s to each replica"
use undisturbed
"$bin" vault init --quiet --no-recovery-kit --recipient "$room/identity.pub" "$directory" "$remote"
traffic
before=$stored
start="$(date +%s.%N)"
backup env || { cat "$room/out"; exit 1; }
whole="$(date +%s.%N | awk -v start="$start" '{print $1 - start}')"
traffic
calm_remote=$((stored - before))
calm_local="$(bytes_in "$directory")"
echo "$whole s; stored $(in_mib "$calm_local") in the directory, $(in_mib "$calm_remote") on the S3 server"

say "the same, killed $kills times"
use killed
"$bin" vault init --quiet --no-recovery-kit --recipient "$room/identity.pub" "$directory" "$remote"
traffic
before=$stored begun_before=$begun
killed=0 ended=0
slow=("${pace[@]}")
# A run's moment lies in this part of an undisturbed one's time, so that all together go on for about as long as that one; or in
# two packs' part.
short=$(((kills + 1) / 2)) long=$((calm_local / 67108864))
[ "$short" -ge 2 ] || short=2
[ "$long" -ge 1 ] || long=1
[ "$long" -le "$short" ] || long=$short
while [ "$killed" -lt "$kills" ] && [ "$ended" -lt "$kills" ]; do
    # Kills are spread over the whole of the work: when the others have stored less than their share, a run gets longer, or is as
    # fast as it can, so that kills hit uploads, too: the limit waits before an upload and not in it.
    done_percent=$(($(bytes_in "$directory/packs") * 100 / calm_local))
    part=$short pace=("${slow[@]}")
    if [ "$done_percent" -lt $((killed * 100 / kills)) ]; then
        if [ $((RANDOM % 2)) = 0 ]; then part=$long; else part=$((short * 8)) pace=(); fi
    fi
    moment="$(awk -v whole="$whole" -v part="$part" -v share="$RANDOM" 'BEGIN {printf "%.3f", 0.05 + whole / part * share / 32768}')"
    code=0
    backup timeout --signal=KILL "$moment" 2>/dev/null || code=$?
    case "$code" in
    137) killed=$((killed + 1)) && printf 'killed after %s s, %s %% stored\n' "$moment" "$done_percent" ;;
    0) # It ended before its moment: the next ones get something to do.
        ended=$((ended + 1)) && printf 'ended before %s s\n' "$moment"
        head -c "$((mib / 4))M" /dev/urandom >"$source/noise/late-$ended"
        ;;
    *) tail -5 "$room/out" && verdict "a run that is killed leaves nothing that stops the next one (exit code $code)" false && break ;;
    esac
done >"$room/kills"
sort "$room/kills" | awk '{count[$1]++} END {for (what in count) print count[what], what}'
tail -3 "$room/kills"
pace=("${slow[@]}")
verdict "$killed of $kills runs died by SIGKILL; $ended ended before their moment" [ "$killed" = "$kills" ]
code=0
backup env || code=$?
[ "$code" = 0 ] || tail -5 "$room/out"
verdict "the last run, undisturbed, ends well (exit code $code)" [ "$code" = 0 ]
traffic
remote_bytes=$((stored - before)) local_bytes="$(bytes_in "$directory")" cut_bytes=$((begun - begun_before - stored + before))
if [ "$ended" != 0 ]; then
    # What came later goes to the undisturbed vault as well, so that the two can be held against each other.
    before=$stored
    use undisturbed
    backup env || { cat "$room/out"; exit 1; }
    traffic
    calm_remote=$((calm_remote + stored - before)) calm_local="$(bytes_in "$directory")"
    use killed
fi

say "each replica alone"
for place in "$directory" "$remote"; do
    rm -rf "$SHUDAO_CACHE_DIR" "$room/restored"
    kind="the S3 server"
    [ "$place" = "$directory" ] && kind="the directory"
    code=0
    "$bin" restore latest --quiet --vault "$place" --to "$room/restored" >"$room/out" 2>&1 || code=$?
    rsync -naHAXc --delete --numeric-ids --itemize-changes "$source/" "$room/restored/" >"$room/difference" 2>&1 || echo "rsync failed" >>"$room/difference"
    head -5 "$room/difference"
    verdict "$kind alone restores the source, by rsync -naHAXc (exit code $code)" [ "$code$(wc -c <"$room/difference")" = 00 ]
    code=0
    "$bin" check --read-data --quiet --vault "$place" >"$room/out" 2>&1 || code=$?
    [ "$code" = 0 ] || tail -5 "$room/out"
    verdict "$kind alone passes check --read-data (exit code $code)" [ "$code" = 0 ]
done

say "what was uploaded"
verdict "the directory holds $(in_mib "$local_bytes"), $(times "$local_bytes" "$calm_local") the undisturbed run's; $(in_mib "$(bytes_in "$directory/tmp")") of it are left of cut-off writes" \
    at_most "$local_bytes" "$calm_local" 1.1
verdict "the S3 server stored $(in_mib "$remote_bytes"), $(times "$remote_bytes" "$calm_remote") the undisturbed run's" at_most "$remote_bytes" "$calm_remote" 1.1
verdict "no object was stored twice there (keys stored again: $again)" [ "$again" = 0 ]
echo "      beside these, uploads of $(in_mib "$cut_bytes") were cut off by kills or refused as being there, in full length"
exit "$failed"
