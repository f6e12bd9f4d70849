"""Seconds of a fine-tuning step in PyTorch: the SpaRTA authors' package, Hugging Face's PEFT (LoRA) and full fine-tuning.

    python pytorch_steps.py --model FOLDER --method sparta --batch-size 8 --tokens 128 [--classes 2] [--steps 20]

Writes one JSON object, with the names that `agoge bench speed --json` uses. A step is what a training loop does: forward,
backward, clipping of the global gradient norm, AdamW, zeroed gradients. Everything is float32 on the CPU.
"""
import argparse, importlib.metadata, json, os, resource, time

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification


def linear_weights(model):
    """Names of the weights of linear layers inside the model, without its head."""
    heads = ("lm_head", "score", "classifier")
    return [f"{name}.weight" for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and not name.startswith(heads)]


def trained(model, method, density, rank):
    """The model as `method` trains it, and what its optimizer steps."""
    if method == "full":
        return model, list(model.parameters())
    names = linear_weights(model)
    if method == "lora":
        from peft import LoraConfig, get_peft_model
        targets = [name.removesuffix(".weight") for name in names]
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
        for name, p in model.named_parameters():
            if "classifier" in name or "pooler" in name:
                p.requires_grad = True
        return model, [p for p in model.parameters() if p.requires_grad]
    from peft_sparta.sparta import SpaRTA
    chosen = set(names)
    frozen = [name for name, _ in model.named_parameters() if name not in chosen]
    total = sum(p.numel() for p in model.parameters())
    wanted = density * sum(p.numel() for name, p in model.named_parameters() if name in chosen)
    sparse = SpaRTA(model, sparsity=1 - wanted / total, frozen_modules=frozen)
    sparse.train()
    # Its rule for the head of a classifier knows Llama's name only: that of BERT stays frozen here.
    return sparse, list(sparse.parameters())


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--model", required=True)
    ap.add_argument("--method", choices=["sparta", "lora", "full"], default="sparta")
    ap.add_argument("--batch-size", type=int, default=8)
    ap.add_argument("--tokens", type=int, default=64)
    ap.add_argument("--classes", type=int, default=0, help="tell so many classes apart instead of predicting tokens")
    ap.add_argument("--density", type=float, default=0.01, help="share of each linear weight (sparta)")
    ap.add_argument("--rank", type=int, default=1, help="of each linear weight (lora)")
    ap.add_argument("--steps", type=int, default=20)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    if a.classes:
        model = AutoModelForSequenceClassification.from_pretrained(a.model, num_labels=a.classes, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    vocabulary = model.config.vocab_size
    # Dropout of the pretraining is off, as in agoge.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    model, parameters = trained(model, a.method, a.density, a.rank)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
    ids = (torch.arange(a.batch_size * a.tokens) % vocabulary).reshape(a.batch_size, a.tokens)
    labels = torch.arange(a.batch_size) % a.classes if a.classes else ids
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
    package = {"sparta": "peft-sparta", "lora": "peft", "full": "torch"}[a.method]
    print(json.dumps({
        "program": f"PyTorch {torch.__version__}, {package} {importlib.metadata.version(package)}",
        "model": a.model, "method": a.method, "batch_size": a.batch_size, "tokens": a.tokens,
        "trained": sum(p.numel() for p in parameters), "step_secs": median, "shortest_step_secs": secs[0],
        "tokens_per_sec": a.batch_size * a.tokens / median, "loss": loss,
        "peak_resident_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    main()
