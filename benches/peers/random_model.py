"""Writes a model of random weights in bf16 into a folder that holds only a config.json.

    python random_model.py SHAPE OUT        e.g. benches/peers/shapes/SmolLM2-135M /tmp/SmolLM2-135M
"""
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

config = AutoConfig.from_pretrained(sys.argv[1])
torch.manual_seed(0)
with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(sys.argv[2])
