"""Times the same fine-tuning steps in agoge and in PyTorch, in turn, and prints a table.

    cargo build --release
    pip install -r benches/peers/requirements.txt
    python benches/peers/run.py --models FOLDER [--agoge target/release/agoge] [--methods sparta,lora,full] [--rounds 3]
                                  [--threads N]

FOLDER holds the model folders stories260K, babyllama105 and all-MiniLM-L6-v2; those that are missing are left out. Every
program gets a process of its own for each round; the table shows the round with the shortest step. All figures are written to
--out as JSON, one object a line. With --threads 1 other work on the machine matters least: threads that wait for each other
wait for whatever else runs, PyTorch's more than agoge's.
"""
import argparse, json, os, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Model folder, rows, tokens in a row, classes, rank of LoRA (about as many numbers as 1 % of each linear weight).
WORKLOADS = [("stories260K", 8, 128, 0, 1), ("babyllama105", 8, 256, 0, 1), ("all-MiniLM-L6-v2", 16, 64, 2, 3)]


def agoge(program, model, method, rows, tokens, classes, rank, steps):
    command = [program, "bench", "speed", "--json", "--device", "cpu", "--model", model, "--method", method, "--batch-size",
               str(rows), "--max-seq-length", str(tokens), "--steps", str(steps)]
    command += ["--task", "classify"] if classes else []
    if method != "full":
        command += ["--target-modules", "all-linear", "--density", "0.01", "--lora-rank", str(rank)]
    return command


def pytorch(model, method, rows, tokens, classes, rank, steps, threads):
    return [sys.executable, os.path.join(HERE, "pytorch_steps.py"), "--model", model, "--method", method, "--batch-size",
            str(rows), "--tokens", str(tokens), "--classes", str(classes), "--rank", str(rank), "--steps", str(steps), "--threads", str(threads)]


def measure(command, threads):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--models", required=True)
    ap.add_argument("--agoge", default="target/release/agoge")
    ap.add_argument("--methods", default="sparta,lora,full")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--steps", type=int, default=10)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--out", default="peers.jsonl")
    a = ap.parse_args()
    print("| model | method | trained | PyTorch, ms a step | agoge, ms a step | times as fast | PyTorch, MB | agoge, MB |")
    print("|---|---|---|---|---|---|---|---|")
    with open(a.out, "w") as out:
        for name, rows, tokens, classes, rank in WORKLOADS:
            model = os.path.join(a.models, name)
            if not os.path.isdir(model):
                print(f"{model}: no such folder, left out", file=sys.stderr)
                continue
            for method in a.methods.split(","):
                found = {"agoge": [], "pytorch": []}
                for _ in range(a.rounds):
                    shape = (model, method, rows, tokens, classes, rank, a.steps)
                    found["agoge"].append(measure(agoge(a.agoge, *shape), a.threads))
                    found["pytorch"].append(measure(pytorch(*shape, a.threads), a.threads))
                for figures in found["agoge"] + found["pytorch"]:
                    out.write(json.dumps(figures) + "\n")
                best = {who: min(all, key=lambda figures: figures["shortest_step_secs"]) for who, all in found.items()}
                ours, theirs = best["agoge"], best["pytorch"]
                secs = [figures["shortest_step_secs"] for figures in (theirs, ours)]
                peaks = [figures["peak_resident_bytes"] / 1e6 for figures in (theirs, ours)]
                print(f"| {name}, {rows} x {tokens} | {method} | {ours['trained']:,} | {1e3 * secs[0]:.0f} | {1e3 * secs[1]:.0f} "
                      f"| {secs[0] / secs[1]:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
