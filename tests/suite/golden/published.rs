//! Configurations as published models have them, with all the fields that mean nothing here: none may be refused.

use agoge::model::family::describe;
use serde_json::Value;

fn published() -> Vec<Value> {
    serde_json::from_str(include_str!("published.json")).expect("JSON")
}

#[test]
fn published_configurations_are_read_whole() {
    for config in published() {
        describe(&config).unwrap_or_else(|e| panic!("{}: {e}", config["model_type"]));
    }
}

/// What the formats of published models count as their size, embeddings included.
#[test]
fn published_sizes_are_those_of_the_models() {
    let sizes: Vec<(String, usize)> = published()
        .iter()
        .filter_map(|config| {
            let architecture = describe(config).ok()?;
            Some((architecture.model_type.clone(), architecture.parameters()))
        })
        .collect();
    let size = |model_type: &str| sizes.iter().find(|(name, _)| name == model_type).expect("it is read").1;
    // Pythia-160m's card; BERT base with its pooler; GPT-2's smallest; OLMo-2-1B's index.
    assert_eq!(size("gpt_neox"), 162_322_944);
    assert_eq!(size("bert"), 109_482_240);
    assert_eq!(size("gpt2"), 124_439_808);
    assert_eq!(size("olmo2"), 1_484_916_736);
}
