# Sourced by scripts that compile for another platform. `std_for TARGET CRATES` finds the standard library of a target:
# installed, fetched by rustup, or built from its source, of which CRATES are then the parts (of -Zbuild-std). Afterwards
# `cargo_flags` is what cargo needs besides `--target`, and `clippy` how clippy is called. With AGOGE_STD=source it is
# always built.

std_for() {
    local target=$1 crates=$2 candidate compiler
    has_std() { compgen -G "$(rustc --print sysroot)/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; }
    cargo_flags=()
    clippy=(cargo clippy)
    if [ "${AGOGE_STD:-}" = source ]; then
        :
    elif has_std; then
        echo "using the installed target $target" >&2
        return
    elif command -v rustup >/dev/null && timeout 300 rustup target add "$target" >/dev/null 2>&1 && has_std; then
        echo "rustup has added the target $target" >&2
        return
    fi
    # A compiler with the source of its library beside it. Debian has one: apt-get install rustc-web rust-web-src
    compiler=
    for candidate in "$(rustup which rustc 2>/dev/null || true)" rustc /usr/bin/rustc; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
            [ -e "$("$candidate" --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]; then
            compiler=$(command -v "$candidate")
            break
        fi
    done
    if [ -z "$compiler" ]; then
        echo "there is no standard library for $target: run 'rustup target add $target', or on Debian" >&2
        echo "'apt-get install rustc-web rust-web-src', and call this again" >&2
        return 1
    fi
    echo "building the standard library of $target from source with $("$compiler" --version)" >&2
    export RUSTC=$compiler RUSTDOC=${compiler%rustc}rustdoc RUSTC_BOOTSTRAP=1
    cargo_flags=("-Zbuild-std=$crates")
    # Clippy must be that of the compiler. Debian has it: apt-get install rust-web-clippy
    clippy=("${compiler%rustc}cargo-clippy" clippy)
}
