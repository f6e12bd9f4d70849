"""Seconds of a fine-tuning step in PyTorch: the SpaRTA authors' package, Hugging Face's PEFT (LoRA) and full fine-tuning.

    python pytorch_steps.py --model FOLDER --method sparta --batch-size 8 --tokens 128 [--classes 2] [--steps 20]
                            [--device cuda] [--dtype float32|bfloat16]

Models, methods and storage types may be lists with commas; each combination writes one JSON object, with the names that
`agoge bench speed --json` uses. A step is what a training loop does: forward, backward, clipping of the global gradient
norm, AdamW, zeroed gradients. float32 is float32: TF32 stays off, as PyTorch has it.
"""
import argparse, gc, importlib.metadata, itertools, json, os, resource, time

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification


def linear_weights(model):
    """Names of the weights of linear layers inside the model, without its head."""
    heads = ("lm_head", "score", "classifier")
    return [f"{name}.weight" for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and not name.startswith(heads)]


def trained(model, method, density, rank):
    """The model as `method` trains it, what its optimizer steps, and the rank."""
    if method == "full":
        return model, list(model.parameters()), 0
    names = linear_weights(model)
    if method == "lora":
        from peft import LoraConfig, get_peft_model
        if not rank:
            # As many numbers as `density` of the weights, as nearly as can be.
            sizes = [p.shape for name, p in model.named_parameters() if name in set(names)]
            rank = max(1, round(density * sum(a * b for a, b in sizes) / sum(a + b for a, b in sizes)))
        targets = [name.removesuffix(".weight") for name in names]
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
        for name, p in model.named_parameters():
            if "classifier" in name or "pooler" in name:
                p.requires_grad = True
        return model, [p for p in model.parameters() if p.requires_grad], rank
    from peft_sparta.sparta import SpaRTA
    chosen = set(names)
    frozen = [name for name, _ in model.named_parameters() if name not in chosen]
    total = sum(p.numel() for p in model.parameters())
    wanted = density * sum(p.numel() for name, p in model.named_parameters() if name in chosen)
    sparse = SpaRTA(model, sparsity=1 - wanted / total, frozen_modules=frozen)
    sparse.train()
    # Its rule for the head of a classifier knows Llama's name only: that of BERT stays frozen here.
    return sparse, list(sparse.parameters()), 0


def measure(a, path, method, dtype):
    torch.manual_seed(0)
    cuda = a.device == "cuda"
    dtype_of = getattr(torch, dtype)
    if a.classes:
        model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=a.classes, dtype=dtype_of)
    else:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype_of)
    model = model.to(a.device)
    vocabulary = model.config.vocab_size
    # Dropout of the pretraining is off, as in agoge.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    model, parameters, rank = trained(model, method, a.density, a.rank)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
    ids = (torch.arange(a.batch_size * a.tokens) % vocabulary).reshape(a.batch_size, a.tokens).to(a.device)
    labels = (torch.arange(a.batch_size) % a.classes).to(a.device) if a.classes else ids
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    secs = []
    for step in range(3 + a.steps):
        started = time.perf_counter()
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss = loss.item()
        if step >= 3:
            secs.append(time.perf_counter() - started)
    secs.sort()
    median = secs[len(secs) // 2]
    package = {"sparta": "peft-sparta", "lora": "peft", "full": "torch"}[method]
    figures = {
        "program": f"PyTorch {torch.__version__}, {package} {importlib.metadata.version(package)}",
        "device": torch.cuda.get_device_name() if cuda else "cpu", "dtype": dtype,
        "model": path, "method": method, "batch_size": a.batch_size, "tokens": a.tokens, "rank": rank,
        "trained": sum(p.numel() for p in parameters), "step_secs": median, "shortest_step_secs": secs[0],
        "tokens_per_sec": a.batch_size * a.tokens / median, "loss": loss,
        "peak_resident_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if cuda:
        figures["peak_allocated_bytes"] = torch.cuda.max_memory_allocated()
        figures["reserved_bytes"] = torch.cuda.max_memory_reserved()
    return figures


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--model", required=True)
    ap.add_argument("--method", default="sparta", help="sparta, lora, full")
    ap.add_argument("--dtype", default="float32")
    ap.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    ap.add_argument("--batch-size", type=int, default=8)
    ap.add_argument("--tokens", type=int, default=64)
    ap.add_argument("--classes", type=int, default=0, help="tell so many classes apart instead of predicting tokens")
    ap.add_argument("--density", type=float, default=0.01, help="share of each linear weight (sparta)")
    ap.add_argument("--rank", type=int, default=0,
                    help="of each linear weight (lora); 0: that of about as many numbers as sparta trains")
    ap.add_argument("--steps", type=int, default=20)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    for combination in itertools.product(a.model.split(","), a.dtype.split(","), a.method.split(",")):
        print(json.dumps(measure(a, combination[0], combination[2], combination[1])), flush=True)
        gc.collect()
        if a.device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
