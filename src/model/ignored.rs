//! Fields of `config.json` that change nothing of what a model computes here, in any family. What is in none of these groups,
//! is not read and is not switched off is refused by name: it may change the model.

use serde_json::Value;

/// Where the model comes from and what it was made with.
const ORIGIN: &str = "model_type architectures transformers_version dtype torch_dtype _name_or_path name_or_path _commit_hash \
    auto_map custom_pipelines finetuning_task task_specific_params is_llama_config unsloth_fixed unsloth_version \
    transformers.js_config sentence_transformers language license tags sparta_pretrained_model agoge_template";

/// What classes are called. `problem_type` is not among them: it changes the loss.
const CLASSES: &str = "id2label label2id num_labels _num_labels sbert_ce_default_activation_function";

/// How text is made and which tokens are special: read from here, from `generation_config.json` or from the tokenizer by
/// whoever needs them.
const GENERATION: &str = "use_cache cache_implementation bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id \
    mask_token_id unk_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id tokenizer_class \
    prefix max_length min_length max_new_tokens do_sample early_stopping num_beams num_beam_groups \
    diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size \
    encoder_no_repeat_ngram_size bad_words_ids num_return_sequences suppress_tokens begin_suppress_tokens \
    exponential_decay_length_penalty model_max_length max_sequence_length seq_length";

/// Dropout of the pretraining. No model here drops anything of its own: the dropout of a method is a setting of the run.
const DROPOUT: &str = "dropout attention_dropout hidden_dropout embedding_dropout mlp_dropout residual_dropout classifier_dropout \
    hidden_dropout_prob attention_probs_dropout_prob classifier_dropout_prob attn_pdrop embd_pdrop resid_pdrop \
    summary_first_dropout summary_last_dropout";

/// How another program computes the same, or what else it returns.
const IMPLEMENTATION: &str = "pretraining_tp attn_implementation _attn_implementation _attn_implementation_autoset \
    _attn_implementation_internal _flash_attn_2_enabled deterministic_flash_attn reference_compile \
    repad_logits_with_grad reorder_and_upcast_attn gradient_checkpointing chunk_size_feed_forward torchscript \
    use_bfloat16 return_dict output_attentions output_hidden_states output_scores return_dict_in_generate \
    remove_invalid_values tf_legacy_loss output_past keys_to_ignore_at_inference";

/// Fresh weights that another program would draw.
const FRESH: &str = "initializer_range initializer_factor initializer_cutoff_factor";

/// Whether a field has the value with which it changes nothing.
fn neutral(key: &str, value: &Value) -> bool {
    match key {
        "problem_type" => value.as_str() == Some("single_label_classification"),
        "partial_rotary_factor" => value.as_f64() == Some(1.0),
        _ => false,
    }
}

/// Whether a field that was not read changes nothing: it is in one of the groups above, or switched off.
pub(super) fn harmless(key: &str, value: &Value) -> bool {
    let off = match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    let groups = [ORIGIN, CLASSES, GENERATION, DROPOUT, IMPLEMENTATION, FRESH];
    let listed = groups.into_iter().flat_map(str::split_whitespace).any(|name| name == key);
    off || listed || neutral(key, value)
}
