"""Times the same fine-tuning steps in agoge and in PyTorch, in turn, and prints a table.

    cargo build --release
    pip install -r benches/peers/requirements.txt
    python benches/peers/run.py --models FOLDER [--agoge target/release/agoge] [--methods sparta,lora,full] [--rounds 3]
                                  [--threads N] [--gpu]

On the CPU, FOLDER holds the model folders stories260K, babyllama105 and all-MiniLM-L6-v2; those that are missing are left
out. With --gpu the models are those of benches/peers/shapes with random weights in bf16, which random_model.py writes into
FOLDER where they are missing; PyTorch computes on CUDA in float32 and in bfloat16, agoge in f32 with weights in f32 and in 16
bits. AGOGE_COOPERATIVE_MATRIX=1 in the environment lets agoge use tensor cores.

Every program gets a process of its own for each round; the table shows the round with the shortest step. All figures are
written to --out as JSON, one object a line. With --threads 1 other work on the machine matters least: threads that wait for
each other wait for whatever else runs, PyTorch's more than agoge's.
"""
import argparse, json, os, subprocess, sys
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))


class Workload(NamedTuple):
    model: str
    rows: int
    tokens: int
    classes: int
    rank: int  # of LoRA: about as many numbers as 1 % of each linear weight


ON_CPU = [Workload("stories260K", 8, 128, 0, 1), Workload("babyllama105", 8, 256, 0, 1),
          Workload("all-MiniLM-L6-v2", 16, 64, 2, 3)]
ON_GPU = [Workload("SmolLM2-135M", 4, 512, 0, 3), Workload("Qwen2.5-0.5B", 4, 512, 0, 7),
          Workload("Llama-3.2-1B", 4, 512, 0, 14)]
# What agoge calls the storage types of PyTorch.
WEIGHTS = {"float32": "f32", "bfloat16": "auto"}


def agoge(a, load, model, method, dtype):
    command = [a.agoge, "bench", "speed", "--json", "--device", "gpu" if a.gpu else "cpu", "--model", model, "--method",
               method, "--batch-size", str(load.rows), "--max-seq-length", str(load.tokens), "--steps", str(a.steps)]
    command += ["--weights-dtype", WEIGHTS[dtype]] if a.gpu else []
    command += ["--task", "classify"] if load.classes else []
    if method != "full":
        command += ["--target-modules", "all-linear", "--density", "0.01", "--lora-rank", str(load.rank)]
    return command


def pytorch(a, load, model, method, dtype):
    return [sys.executable, os.path.join(HERE, "pytorch_steps.py"), "--model", model, "--method", method, "--dtype", dtype,
            "--device", "cuda" if a.gpu else "cpu", "--batch-size", str(load.rows), "--tokens", str(load.tokens), "--classes",
            str(load.classes), "--rank", str(load.rank), "--steps", str(a.steps), "--threads", str(a.threads)]


def run(command, threads):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def memory(figures, gpu):
    """Bytes at most: what the GPU's allocator holds, or of the process."""
    return figures["reserved_bytes" if gpu else "peak_resident_bytes"]


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--models", required=True)
    ap.add_argument("--agoge", default="target/release/agoge")
    ap.add_argument("--methods", default="sparta,lora,full")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--steps", type=int, default=10)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--gpu", action="store_true")
    ap.add_argument("--out", default="peers.jsonl")
    a = ap.parse_args()
    print("| model | type | method | trained | PyTorch, ms a step | agoge, ms a step | times as fast | PyTorch, MB | agoge, MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    with open(a.out, "w") as out:
        for load in ON_GPU if a.gpu else ON_CPU:
            model = os.path.join(a.models, load.model)
            if a.gpu and not os.path.exists(os.path.join(model, "model.safetensors")):
                shape = os.path.join(HERE, "shapes", load.model)
                run([sys.executable, os.path.join(HERE, "random_model.py"), shape, model], a.threads)
            if not os.path.isdir(model):
                print(f"{model}: no such folder, left out", file=sys.stderr)
                continue
            for dtype in WEIGHTS if a.gpu else ["float32"]:
                for method in a.methods.split(","):
                    found = {"agoge": [], "pytorch": []}
                    for _ in range(a.rounds):
                        for who, command in (("agoge", agoge), ("pytorch", pytorch)):
                            said = run(command(a, load, model, method, dtype), a.threads)
                            found[who].append(json.loads(said.strip().splitlines()[-1]))
                    for figures in found["agoge"] + found["pytorch"]:
                        out.write(json.dumps(figures) + "\n")
                    best = {who: min(all, key=lambda figures: figures["shortest_step_secs"]) for who, all in found.items()}
                    ours, theirs = best["agoge"], best["pytorch"]
                    secs = [figures["shortest_step_secs"] for figures in (theirs, ours)]
                    peaks = [memory(figures, a.gpu) / 1e6 for figures in (theirs, ours)]
                    print(f"| {load.model}, {load.rows} x {load.tokens} | {dtype} | {method} | {ours['trained']:,} "
                          f"| {1e3 * secs[0]:.0f} | {1e3 * secs[1]:.0f} | {secs[0] / secs[1]:.2f} | {peaks[0]:.0f} "
                          f"| {peaks[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
