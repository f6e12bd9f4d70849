#!/usr/bin/env bash
# Builds the page into web/dist: static files for any web server. Needs Rust, and brotli and wasm-opt where they are there
# to make the download smaller.
#
#   web/build.sh            the page as it is published
#   web/build.sh --quick    without wasm-opt and brotli
#   web/build.sh --lint     no page: only what clippy says, warnings denied (on Debian with rust-web-clippy)
set -euo pipefail
cd "$(dirname "$0")/.."

quick=${1:-}
target=wasm32-unknown-unknown
out=web/dist
# Where wasm-bindgen is put if the machine does not have the right one.
tools="${AGOGE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/agoge-tools}"
say() { printf 'web: %s\n' "$*" >&2; }

# shellcheck source=.ci/std.sh
. .ci/std.sh
std_for $target std,panic_abort
if [ ${#cargo_flags[@]} -gt 0 ] && ! command -v rust-lld >/dev/null; then
    linker=$(find "$("$RUSTC" --print sysroot)" "$(env -u RUSTC rustc --print sysroot)" /usr/lib/rustlib -name rust-lld -print -quit 2>/dev/null || true)
    if [ -n "$linker" ]; then export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker; fi
fi

# Random numbers come from the browser.
export RUSTFLAGS="${RUSTFLAGS:-} --cfg getrandom_backend=\"wasm_js\""
if [ "$quick" = --lint ]; then
    # The library is a part of the package: it is looked at as well. The profile is the page's, whose build scripts then serve both.
    "${clippy[@]}" --locked --package agoge-web --profile web --target $target ${cargo_flags[@]+"${cargo_flags[@]}"} -- -D warnings
    exit
fi
say "compiling (ten minutes the first time)"
# wasm-bindgen looks up which features of WebAssembly are used, in a section that the profile's "strip = true" would remove; the
# names of functions go in the next step.
cargo rustc --locked --package agoge-web --profile web --target $target ${cargo_flags[@]+"${cargo_flags[@]}"} -- -C strip=debuginfo
unset RUSTC RUSTDOC RUSTC_BOOTSTRAP RUSTFLAGS

version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
bindgen=wasm-bindgen
if [ "$(wasm-bindgen --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
    bindgen="$tools/bin/wasm-bindgen"
    if [ "$("$bindgen" --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
        say "installing wasm-bindgen $version into $tools"
        cargo install --quiet wasm-bindgen-cli --version "$version" --root "$tools" --force
    fi
fi

rm -rf $out.new
mkdir -p $out.new
"$bindgen" "${CARGO_TARGET_DIR:-target}/$target/web/agoge_web.wasm" --target web --no-typescript \
    --remove-name-section --remove-producers-section --out-dir $out.new
wasm=$out.new/agoge_web_bg.wasm
if [ "$quick" != --quick ] && command -v wasm-opt >/dev/null; then
    say "making it smaller with $(wasm-opt --version)"
    # What compilers for this target use today; older versions of the tool want to be told.
    features="--enable-bulk-memory --enable-mutable-globals --enable-nontrapping-float-to-int --enable-sign-ext"
    features="$features --enable-reference-types --enable-multivalue"
    # shellcheck disable=SC2086
    if wasm-opt -O2 $features "$wasm" -o "$wasm.small" 2>/tmp/wasm-opt.$$; then
        mv "$wasm.small" "$wasm"
    else
        say "it does not understand this file and is left out: $(head -n 1 /tmp/wasm-opt.$$)"
    fi
    rm -f /tmp/wasm-opt.$$ "$wasm.small"
fi

cp -R web/page/. $out.new/
cp assets/icon.svg $out.new/
size=$(stat -c %s "$wasm" 2>/dev/null || stat -f %z "$wasm")
sed -i.bak "s/<html lang=\"en\">/<html lang=\"en\" data-size=\"$size\">/" $out.new/index.html
rm $out.new/index.html.bak
if [ "$quick" != --quick ] && command -v brotli >/dev/null; then
    for file in $out.new/*.wasm $out.new/*.js $out.new/*.css $out.new/*.html; do brotli -q 9 -k -f "$file"; done
    download=$(cat $out.new/*.br | wc -c)
    embedded=$(cat assets/model/* assets/demo/* | brotli -q 9 -c | wc -c)
    say "download: $download bytes with brotli, $((download - embedded)) of them code and $embedded the embedded model and data"
fi
rm -rf $out
mv $out.new $out
say "done: $out ($size bytes of code); 'agoge serve-web' shows it on this machine"
