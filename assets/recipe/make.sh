#!/usr/bin/env bash
# Remakes everything in assets/: the text of the story grammar, the tokenizer, the pretrained model and the demo data.
# About half an hour on two cores, most of it pretraining. Same seed, same bytes (the model: on the same kind of device).
set -euo pipefail
cd "$(dirname "$0")/../.."

work="${1:-target/recipe}"
mkdir -p "$work/text" "$work/init"
cargo build --release --bin agoge --example make_assets
make_assets="${CARGO_TARGET_DIR:-target}/release/examples/make_assets"
agoge="${CARGO_TARGET_DIR:-target}/release/agoge"

"$make_assets" text --out "$work/text" --seed 1 --megabytes 12
"$make_assets" tokenizer --text "$work/text/train.txt" --vocab 1024 --out "$work/init/tokenizer.json"
"$make_assets" demo --out assets/demo --seed 1

# Pretraining: every weight, from random ones.
cp assets/recipe/config.json "$work/init/"
"$agoge" train --config assets/recipe/pretrain.toml --model "$work/init" --data "$work/text" --out "$work/run" \
    --device cpu --overwrite

# The weights of the full run, in f16, are the embedded model.
"$make_assets" pack --init "$work/init" --run "$work/run" --out assets/model
