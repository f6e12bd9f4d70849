#!/usr/bin/env bash
# Builds the page into web/dist: static files for any web server. Needs Rust, and brotli and wasm-opt where they are there
# to make the download smaller.
#
#   web/build.sh            the page as it is published
#   web/build.sh --quick    without wasm-opt and brotli
set -euo pipefail
cd "$(dirname "$0")/.."

quick=${1:-}
target=wasm32-unknown-unknown
out=web/dist
# Where wasm-bindgen is put if the machine does not have the right one.
tools="${AGOGE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/agoge-tools}"
say() { printf 'web: %s\n' "$*" >&2; }

# The standard library for browsers: installed, fetched by rustup, or built from its source.
cargo_flags=()
has_std() { compgen -G "$("$1" --print sysroot)/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; }
src_of() { echo "$("$1" --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml"; }
if has_std rustc; then
    say "using the installed target $target"
elif command -v rustup >/dev/null && timeout 300 rustup target add $target >/dev/null 2>&1 && has_std rustc; then
    say "rustup has added the target $target"
else
    # A compiler with the source of its library beside it. Debian has one: apt-get install rustc-web rust-web-src
    compiler=
    for candidate in "$(rustup which rustc 2>/dev/null || true)" rustc /usr/bin/rustc; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && [ -e "$(src_of "$candidate")" ]; then
            compiler=$candidate
            break
        fi
    done
    if [ -z "$compiler" ]; then
        say "there is no standard library for $target: run 'rustup target add $target', or on Debian"
        say "'apt-get install rustc-web rust-web-src', and call this again"
        exit 1
    fi
    say "building the standard library from source with $("$compiler" --version)"
    export RUSTC=$compiler RUSTDOC=${compiler%rustc}rustdoc RUSTC_BOOTSTRAP=1
    cargo_flags=(-Zbuild-std=std,panic_abort)
    if ! command -v rust-lld >/dev/null; then
        linker=$(find "$(rustc --print sysroot)" "$(env -u RUSTC rustc --print sysroot)" /usr/lib/rustlib -name rust-lld -print -quit 2>/dev/null || true)
        if [ -n "$linker" ]; then export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker; fi
    fi
fi

say "compiling (ten minutes the first time)"
# Random numbers come from the browser.
export RUSTFLAGS="${RUSTFLAGS:-} --cfg getrandom_backend=\"wasm_js\""
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
