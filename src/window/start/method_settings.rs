//! Which settings a method reads, as far as the form needs it. The only place in the window that names methods.

/// The two methods that the form offers to train one after the other, in this order.
pub const COMPARED_METHODS: [&str; 2] = ["lora", "sparta"];

/// Settings that one method only reads.
const OF_ONE_METHOD: [(&str, &[&str]); 2] = [
    ("sparta", &["sparsity", "density", "trainable_parameters", "mask", "trainable_tokens", "explicit_indices"]),
    ("lora", &["lora_rank", "lora_alpha", "lora_dropout", "lora_rs"]),
];

/// Whether `method` reads `setting`.
pub fn reads(method: &str, setting: &str) -> bool {
    OF_ONE_METHOD.iter().all(|(name, settings)| *name == method || !settings.contains(&setting))
}
