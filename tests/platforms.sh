#!/usr/bin/env bash
# Compiles the program for Windows and macOS on a machine that has neither, as far as to the linker, warnings denied: the
# parts that only they have are compiled nowhere else. Takes a few minutes for each. Besides Rust it needs a C compiler for
# Windows, and the targets' standard libraries or their source; on Debian it installs what is missing:
#
#   apt-get install gcc-mingw-w64-x86-64 rustc-web rust-web-src rust-web-clippy
#
#   tests/platforms.sh             both
#   tests/platforms.sh TARGET...   only these
set -euo pipefail
cd "$(dirname "$0")/.."
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(x86_64-pc-windows-gnu aarch64-apple-darwin)
# shellcheck source=.ci/std.sh
. .ci/std.sh

packages=()
command -v x86_64-w64-mingw32-gcc >/dev/null || packages+=(gcc-mingw-w64-x86-64)
for target in "${targets[@]}"; do
    (std_for "$target" std) 2>/dev/null || { packages+=(rustc-web rust-web-src rust-web-clippy) && break; }
done
if [ ${#packages[@]} -gt 0 ] && command -v apt-get >/dev/null; then
    sudo=$(command -v sudo || true)
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# Nothing is linked, so for macOS, whose compiler no other system has, empty objects will do.
stand_in=$(mktemp -d)
trap 'rm -rf "$stand_in"' EXIT
cat >"$stand_in/cc" <<'SCRIPT'
#!/bin/sh
# Leaves an empty file wherever a compiler or an archiver would leave one.
for argument; do
    if [ "$last" = -o ]; then : >"$argument"; fi
    case $argument in *.a) : >"$argument" ;; esac
    last=$argument
done
SCRIPT
chmod +x "$stand_in/cc"
export CC_aarch64_apple_darwin="$stand_in/cc" CXX_aarch64_apple_darwin="$stand_in/cc" AR_aarch64_apple_darwin="$stand_in/cc"
export SDKROOT="$stand_in"

for target in "${targets[@]}"; do
    started=$SECONDS
    (
        std_for "$target" std,panic_unwind
        "${clippy[@]}" --quiet --locked --target "$target" ${cargo_flags[@]+"${cargo_flags[@]}"} -- -D warnings
    )
    echo "$target: compiles without warnings ($((SECONDS - started)) s)"
done
