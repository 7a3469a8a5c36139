#!/usr/bin/env bash
# Installs the programs that Shudao is compared with: into target/peers, and GNU time and rsync from Debian's packages.
# The newest restic and rclone that Debian has and that run here are taken without changing what this machine installs
# otherwise. rustic and bupstash are built from their crates, which takes half an hour on two cores; leave them out with
# `benches/peers.sh restic rclone borg`.
set -euo pipefail
cd "$(dirname "$0")/.."
peers="${CARGO_TARGET_DIR:-$PWD/target}/peers"
mkdir -p "$peers"
wanted=("$@")
[ "${#wanted[@]}" -gt 0 ] || wanted=(restic rclone borg bupstash rustic)

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2; }

# A package of Debian's unstable suite, unpacked; nothing is installed.
from_unstable() {
    local name="$1" room list keys=/usr/share/keyrings/debian-archive-keyring.gpg
    room="$(mktemp -d)"
    list="$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | head -1)"
    mkdir -p "$room/state/lists/partial" "$room/cache/archives/partial"
    echo "deb [signed-by=$keys] ${list:?no source of packages is set up} sid main" >"$room/sources"
    local apt=(apt-get -qq -o "Dir::Etc::SourceList=$room/sources" -o Dir::Etc::SourceParts=- -o "Dir::State=$room/state"
        -o "Dir::Cache=$room/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$room" && "${apt[@]}" download "$name" && dpkg -x "$name"_*.deb unpacked)
    cp "$room/unpacked/usr/bin/$name" "$peers/$name"
    rm -rf "$room"
}

install time rsync
for peer in "${wanted[@]}"; do
    echo "== $peer" >&2
    case "$peer" in
        restic | rclone)
            [ -x "$peers/$peer" ] || from_unstable "$peer" ;;
        borg)
            [ -x "$peers/venv/bin/borg" ] && continue
            install python3-venv python3-dev build-essential pkg-config libssl-dev libacl1-dev liblz4-dev libzstd-dev libxxhash-dev
            python3 -m venv "$peers/venv"
            "$peers/venv/bin/pip" install --quiet --disable-pip-version-check 'borgbackup<2' ;;
        bupstash)
            [ -x "$peers/bupstash" ] && continue
            install libsodium-dev pkg-config
            cargo install --quiet --locked --root "$peers/built" bupstash && cp "$peers/built/bin/bupstash" "$peers/" ;;
        rustic)
            [ -x "$peers/rustic" ] && continue
            cargo install --quiet --locked --root "$peers/built" rustic-rs && cp "$peers/built/bin/rustic" "$peers/" ;;
        *)
            echo "no such program: $peer" >&2
            exit 2 ;;
    esac
done
