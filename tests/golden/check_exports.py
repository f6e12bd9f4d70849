"""Checks by hand that other programs take what agoge writes. Needs a network once, for the packages; not part of the tests.

    pip install torch transformers peft gguf xllamacpp
    python tests/golden/check_exports.py AGOGE [GOLDEN]

AGOGE is the program, GOLDEN a folder of reference cases (default: that of this script). Adapters are exported and loaded
by stock PEFT, and as the loader of the SpaRTA authors' package does it; their logits must be the recorded ones. Models are
written as GGUF, read by the gguf package, and run by llama.cpp, whose greedy tokens must be the recorded ones.
"""
import json, os, shutil, subprocess, sys, tempfile
import numpy as np
import torch
from gguf import GGUFReader, dequantize
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

AGOGE = sys.argv[1]
GOLDEN = sys.argv[2] if len(sys.argv) > 2 else os.path.dirname(os.path.abspath(__file__))
WORK = tempfile.mkdtemp()
FAILED = []


def agoge(*arguments):
    subprocess.run([AGOGE, *arguments], check=True, stdout=subprocess.DEVNULL)


def report(what, good):
    print("ok  " if good else "FAIL", what)
    if not good:
        FAILED.append(what)


def base(case):
    return AutoModelForCausalLM.from_pretrained(os.path.join(GOLDEN, case), dtype=torch.float32).eval()


def same_logits(what, case, model):
    values = load_file(os.path.join(GOLDEN, case, "case.safetensors"))
    expected = load_file(os.path.join(GOLDEN, case, "after.safetensors"))["logits"]
    with torch.no_grad():
        logits = model(input_ids=values["input_ids"][0].long(), attention_mask=values["attention_mask"][0].long()).logits
    report(f"{what}: logits differ by at most {(logits - expected).abs().max():.1e}", torch.allclose(logits, expected, atol=1e-4))


def adapters():
    for case, folder in [("train-lora", "adapter-peft"), ("train-shira", "adapter-peft"), ("train-sparta", "adapter-peft-sparta")]:
        model, adapter = os.path.join(GOLDEN, case), os.path.join(GOLDEN, case, folder)
        out = os.path.join(WORK, case + "-peft")
        agoge("export", "--model", model, "--adapter", adapter, "--format", "peft", "--out", out)
        same_logits(f"{case} by PEFT", case, PeftModel.from_pretrained(base(case), out).eval())
        if case == "train-lora":
            continue
        out = os.path.join(WORK, case + "-sparta")
        agoge("export", "--model", model, "--adapter", adapter, "--format", "sparta", "--out", out)
        plain, deltas = base(case), load_file(os.path.join(out, "sparse_deltas.safetensors"))
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                places = deltas.pop(f"indices.{name}").unbind(1)
                parameter[places] = (parameter[places].float() + deltas.pop(f"deltas.{name}").float()).to(parameter.dtype)
        report(f"{case} as SpaRTA: nothing is left over", not deltas)
        same_logits(f"{case} as SpaRTA", case, plain)


def tokenizer(folder, rows):
    """A byte-level tokenizer of as many tokens as the model has rows."""
    tokens = ["<unk>", "<s>", "</s>"] + [chr(33 + i) for i in range(rows - 3)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": i, "content": tokens[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False} for i in range(3)]
    model = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": False, "vocab": {t: i for i, t in enumerate(tokens)}, "merges": []}
    json.dump({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": level, "post_processor": None,
               "decoder": level, "model": model}, open(os.path.join(folder, "tokenizer.json"), "w"))
    json.dump({"bos_token": "<s>", "eos_token": "</s>"}, open(os.path.join(folder, "tokenizer_config.json"), "w"))


def greedy(path, ids, count):
    import xllamacpp
    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.n_ctx, settings.n_gpu_layers, settings.n_parallel, settings.warmup, settings.fit_params = 64, 0, 1, False, False
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(settings)
    made, logprobs = list(ids), []
    for _ in range(count):
        answer = server.handle_completions({"prompt": made, "max_tokens": 1, "temperature": 0.0, "top_k": 1, "logprobs": 5})
        answer = answer if isinstance(answer, dict) else json.loads(answer)
        made.append(answer["choices"][0]["logprobs"]["content"][0]["id"])
        logprobs.append(answer["choices"][0]["logprobs"]["content"][0]["logprob"])
    return made, logprobs


def models():
    for case in sorted(os.listdir(GOLDEN)):
        folder, path = os.path.join(WORK, case), os.path.join(WORK, case + ".gguf")
        values = os.path.join(GOLDEN, case, "case.safetensors")
        if not os.path.exists(values):
            continue
        values = load_file(values)
        if "greedy" not in values:
            continue
        shutil.copytree(os.path.join(GOLDEN, case), folder)
        tokenizer(folder, json.load(open(os.path.join(folder, "config.json")))["vocab_size"])
        config = json.load(open(os.path.join(folder, "config.json")))
        if config["model_type"] == "mistral":        # llama.cpp has no attention windows for this family
            json.dump({**config, "sliding_window": None}, open(os.path.join(folder, "config.json"), "w"))
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        start = values["greedy"].flatten()[:4].long()
        with torch.no_grad():
            expected = plain.generate(start[None], max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None)
            logits = plain(input_ids=expected).logits[0]
        expected = expected[0].tolist()
        if config["model_type"] != "mistral":
            report(f"{case}: transformers makes the recorded tokens", expected == values["greedy"].flatten().tolist())
        agoge("merge", "--model", folder, "--format", "gguf", "--dtype", "f32", "--out", path)
        made, logprobs = greedy(path, expected[:4], len(expected) - 4)
        reference = logits.log_softmax(-1)[range(3, len(expected) - 1), expected[4:]]
        worst = (torch.tensor(logprobs) - reference).abs().max().item()
        report(f"{case} by llama.cpp: greedy tokens, log-probabilities differ by at most {worst:.1e}", made == expected and worst < 2e-3)
        for kind in ["f16", "bf16", "q8_0"]:
            small = os.path.join(WORK, f"{case}-{kind}.gguf")
            agoge("merge", "--model", folder, "--format", "gguf", "--dtype", kind, "--out", small)
            exact = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
            worst = 0.0
            for t in GGUFReader(small).tensors:
                scale = np.abs(exact[t.name]).max()
                worst = max(worst, np.abs(dequantize(t.data, t.tensor_type) - exact[t.name]).max() / scale)
            report(f"{case} as {kind}: off by at most {worst:.1e} of the largest number", worst < 5e-3)


if __name__ == "__main__":
    adapters()
    models()
    shutil.rmtree(WORK)
    sys.exit(f"{len(FAILED)} checks failed" if FAILED else 0)
