//! The forward pass of a transformer: embedding, blocks, final norm, head.
//!
//! Activations are matrices `[B * T, D]`: rows of the batch one below the other.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{
    architecture::{Activation, Architecture},
    attention::{Attention, KeyValues, Layout},
    parameter::{Parameter, Role},
    rope::{RopeTables, inverse_frequencies},
};
use crate::kernel;

/// A linear layer `y = x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    /// `[outputs, inputs]`.
    pub weight: Parameter,
    /// `[outputs]`.
    pub bias: Option<Parameter>,
}

impl Linear {
    /// `[T, outputs]` for `x` `[T, inputs]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = self.weight.linear(x);
        match &self.bias {
            Some(bias) => y + bias.small(),
            None => y,
        }
    }
}

/// Gated feed-forward layer (Shazeer 2020).
#[derive(Debug)]
pub struct FeedForward {
    /// `[F, D]`.
    pub gate: Linear,
    /// `[F, D]`.
    pub up: Linear,
    /// `[D, F]`.
    pub down: Linear,
}

impl FeedForward {
    fn forward(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        let (gate, up) = (self.gate.forward(x.clone()), self.up.forward(x));
        self.down.forward(match activation {
            Activation::Silu => kernel::gated(gate, up, kernel::Activation::Silu),
        })
    }
}

/// One transformer block, normalised before each part.
#[derive(Debug)]
pub struct Block {
    /// Before attention, `[D]`.
    pub attention_norm: Parameter,
    /// Self-attention.
    pub attention: Attention,
    /// Before the feed-forward layer, `[D]`.
    pub feed_forward_norm: Parameter,
    /// Feed-forward layer.
    pub feed_forward: FeedForward,
}

/// Keys and values of all blocks.
#[derive(Debug, Default)]
pub struct Cache {
    blocks: Vec<Option<KeyValues>>,
    /// Positions so far.
    positions: usize,
}

/// Where the tensors of a new transformer come from: a file, or a random generator.
pub trait ParameterSource {
    /// The parameter of this name, shape and role.
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter;
}

/// A transformer-only transformer.
#[derive(Debug)]
pub struct Transformer {
    /// Its description.
    pub architecture: Architecture,
    /// `[V, D]`; the head as well where it is tied.
    pub embedding: Parameter,
    /// Blocks in order.
    pub blocks: Vec<Block>,
    /// Before the head, `[D]`.
    pub norm: Parameter,
    /// `[V, D]`, unless tied.
    pub head: Option<Parameter>,
    frequencies: Vec<f64>,
    device: Device,
}

impl Transformer {
    /// Builds a transformer from the tensors of `source`, asking for them by their Hugging Face names.
    pub fn new(architecture: Architecture, device: &Device, source: &mut dyn ParameterSource) -> Self {
        let a = &architecture;
        let (d, f, q, kv) = (a.hidden_size, a.intermediate_size, a.heads * a.head_dim, a.kv_heads * a.head_dim);
        let linear = |source: &mut dyn ParameterSource, name: &str, outputs: usize, inputs: usize, bias: bool| Linear {
            weight: source.parameter(&format!("{name}.weight"), &[outputs, inputs], Role::Linear),
            bias: bias.then(|| source.parameter(&format!("{name}.bias"), &[outputs], Role::Bias)),
        };
        let embedding = source.parameter("model.embed_tokens.weight", &[a.vocab_size, d], Role::Embedding);
        let blocks = (0..a.layers)
            .map(|layer| {
                let path = |part: &str| format!("model.layers.{layer}.{part}");
                Block {
                    attention_norm: source.parameter(&path("input_layernorm.weight"), &[d], Role::Norm),
                    attention: Attention {
                        query: linear(source, &path("self_attn.q_proj"), q, d, a.qkv_bias),
                        key: linear(source, &path("self_attn.k_proj"), kv, d, a.qkv_bias),
                        value: linear(source, &path("self_attn.v_proj"), kv, d, a.qkv_bias),
                        output: linear(source, &path("self_attn.o_proj"), d, q, a.output_bias),
                        norms: a.qk_norm.then(|| {
                            ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
                                .map(|name| source.parameter(&path(name), &[a.head_dim], Role::Norm))
                        }),
                    },
                    feed_forward_norm: source.parameter(&path("post_attention_layernorm.weight"), &[d], Role::Norm),
                    feed_forward: FeedForward {
                        gate: linear(source, &path("mlp.gate_proj"), f, d, a.mlp_bias),
                        up: linear(source, &path("mlp.up_proj"), f, d, a.mlp_bias),
                        down: linear(source, &path("mlp.down_proj"), d, f, a.mlp_bias),
                    },
                }
            })
            .collect();
        let norm = source.parameter("model.norm.weight", &[d], Role::Norm);
        let head = (!a.tied_head).then(|| source.parameter("lm_head.weight", &[a.vocab_size, d], Role::Linear));
        let frequencies = inverse_frequencies(&a.rope, a.head_dim);
        Self { embedding, blocks, norm, head, frequencies, device: device.clone(), architecture }
    }

    /// What attention needs to know of a batch of `rows` right-padded rows of `width` tokens. Padding needs no mask
    /// for the loss, because later positions are hidden from earlier ones anyway; `mask` `[B * T]` (0 = padding) makes
    /// the outputs at padded positions those of Hugging Face too.
    pub fn layout(&self, rows: usize, width: usize, mask: Option<&[u8]>) -> Layout {
        let padding = mask.map_or_else(|| vec![1], |mask| mask.iter().map(|&kept| i32::from(kept)).collect());
        self.layout_from(rows, 0, width, padding)
    }

    fn layout_from(&self, rows: usize, start: usize, width: usize, padding: Vec<i32>) -> Layout {
        let len = padding.len();
        Layout {
            rows,
            width,
            rope: RopeTables::new(&self.frequencies, start, width, &self.device),
            start,
            padding: Tensor::from_data(TensorData::new(padding, [len]), (&self.device, DType::I32)),
        }
    }

    /// Embeddings `[B * T, D]` of `ids` `[B * T]`.
    pub fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.embedding.embed(ids)
    }

    /// One block.
    pub fn block(&self, index: usize, x: Tensor<2>, layout: &Layout) -> Tensor<2> {
        self.block_with(index, x, layout, None)
    }

    fn block_with(
        &self,
        index: usize,
        x: Tensor<2>,
        layout: &Layout,
        past: Option<&mut Option<KeyValues>>,
    ) -> Tensor<2> {
        let block = &self.blocks[index];
        let attended =
            block.attention.forward(&self.architecture, self.normalise(&block.attention_norm, x.clone()), layout, past);
        let x = x + attended;
        let fed = block
            .feed_forward
            .forward(self.normalise(&block.feed_forward_norm, x.clone()), self.architecture.activation);
        x + fed
    }

    /// Logits `[N, V]` of hidden states `[N, D]` after the last block.
    pub fn head(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.normalise(&self.norm, x);
        self.head.as_ref().unwrap_or(&self.embedding).linear(x)
    }

    /// Hidden states `[B * T, D]` of `ids` `[B * T]` after the last block, before the head.
    pub fn hidden(&self, ids: Tensor<1, Int>, layout: &Layout) -> Tensor<2> {
        let mut x = self.embed(ids);
        for index in 0..self.blocks.len() {
            x = self.block(index, x, layout);
        }
        x
    }

    /// Logits `[B * T, V]` of `ids` `[B * T]`.
    pub fn forward(&self, ids: Tensor<1, Int>, layout: &Layout) -> Tensor<2> {
        self.head(self.hidden(ids, layout))
    }

    /// Logits `[1, V]` after the last of the next `ids` `[T]` of one sequence, continuing from `cache`.
    pub fn forward_cached(&self, ids: Tensor<1, Int>, cache: &mut Cache) -> Tensor<2> {
        let [width] = ids.dims();
        let layout = self.layout_from(1, cache.positions, width, vec![1]);
        cache.blocks.resize(self.blocks.len(), None);
        let mut x = self.embed(ids);
        for index in 0..self.blocks.len() {
            x = self.block_with(index, x, &layout, Some(&mut cache.blocks[index]));
        }
        cache.positions += width;
        self.head(x.slice_dim(0, width - 1..width))
    }

    /// RMSNorm (Zhang and Sennrich 2019).
    fn normalise(&self, scale: &Parameter, x: Tensor<2>) -> Tensor<2> {
        kernel::rms_norm(x, scale.small(), self.architecture.norm_eps as f32)
    }

    /// Every parameter, in the order of the checkpoint's names.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut all = vec![&self.embedding];
        for block in &self.blocks {
            all.push(&block.attention_norm);
            for layer in block.linears() {
                all.push(&layer.weight);
                all.extend(&layer.bias);
            }
            all.extend(block.attention.norms.iter().flatten());
            all.push(&block.feed_forward_norm);
        }
        all.push(&self.norm);
        all.extend(&self.head);
        all
    }

    /// Every parameter, to be changed.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let mut all = vec![&mut self.embedding];
        for block in &mut self.blocks {
            all.push(&mut block.attention_norm);
            let (attention, mlp) = (&mut block.attention, &mut block.feed_forward);
            for layer in [
                &mut attention.query,
                &mut attention.key,
                &mut attention.value,
                &mut attention.output,
                &mut mlp.gate,
                &mut mlp.up,
                &mut mlp.down,
            ] {
                all.push(&mut layer.weight);
                all.extend(&mut layer.bias);
            }
            all.extend(attention.norms.iter_mut().flatten());
            all.push(&mut block.feed_forward_norm);
        }
        all.push(&mut self.norm);
        all.extend(&mut self.head);
        all
    }

    /// The parameter of this name.
    pub fn parameter_mut(&mut self, name: &str) -> Option<&mut Parameter> {
        self.parameters_mut().into_iter().find(|parameter| parameter.name == name)
    }

    /// Number of values in all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|parameter| parameter.len()).sum()
    }

    /// The device that holds the model.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl Block {
    fn linears(&self) -> [&Linear; 7] {
        let (attention, mlp) = (&self.attention, &self.feed_forward);
        [&attention.query, &attention.key, &attention.value, &attention.output, &mlp.gate, &mlp.up, &mlp.down]
    }
}
