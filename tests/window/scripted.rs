//! A window with scripted workers: the test sends the replies, and reads the requests.

use std::{
    cell::RefCell,
    collections::VecDeque,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex},
};

use agoge::{
    config::RunConfig,
    data::{DataReport, SplitReport},
    event::{
        Ending, Event, Metrics, Started, TrainedTensor,
        messages::{Reply, Request},
    },
    window::{App, Link, Options, RepaintInterval, SavedState},
};
use egui_kittest::Harness;

/// Scripted workers.
#[derive(Clone, Default)]
pub struct Script {
    replies: Rc<RefCell<VecDeque<Reply>>>,
    requests: Rc<RefCell<Vec<Request>>>,
}

impl Script {
    /// Sends a reply to the window.
    pub fn reply(&self, reply: Reply) {
        self.replies.borrow_mut().push_back(reply);
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.take()
    }

    fn link(&self) -> Link {
        let (requests, replies) = (self.requests.clone(), self.replies.clone());
        Link {
            send: Box::new(move |request| requests.borrow_mut().push(request)),
            receive: Box::new(move || replies.borrow_mut().pop_front()),
            download_folder: None,
        }
    }
}

/// Options as the program gives them.
pub fn options() -> Options {
    Options {
        runs_folder: "runs".into(),
        demo: RunConfig {
            model: "agoge-demo".into(),
            data: "agoge-demo".into(),
            learning_rate: 1e-2,
            ..RunConfig::default()
        },
        choices: vec![
            ("method", ["sparta", "lora", "full", "head"].map(str::to_owned).to_vec()),
            ("mask", ["random", "magnitude-low"].map(str::to_owned).to_vec()),
        ],
        method_settings: vec![("sparta", &["sparsity", "mask"]), ("lora", &["lora_rank"])],
        comparisons: vec![("sparta", ["lora", "sparta"]), ("lora", ["lora", "sparta"])],
        adapter_files: vec!["adapter.json", "adapter_config.json"],
        layouts: ["peft", "sparta", "agoge"].map(|name| (name.to_owned(), String::new())).to_vec(),
        ..Options::default()
    }
}

/// A window of `width` by `height` points on a software adapter.
pub fn window(
    width: f32,
    height: f32,
    theme: egui::Theme,
    saved: SavedState,
    script: &Script,
) -> Harness<'static, App> {
    window_with(width, height, theme, saved, options(), script)
}

/// The same with other options.
pub fn window_with(
    width: f32,
    height: f32,
    theme: egui::Theme,
    saved: SavedState,
    options: Options,
    script: &Script,
) -> Harness<'static, App> {
    let link = script.link();
    Harness::builder().with_size(egui::vec2(width, height)).with_theme(theme).wgpu().build_eframe(move |context| {
        App::new(&context.egui_ctx, link, options, saved, RepaintInterval::new(false), Arc::new(Mutex::default()))
    })
}

/// The events of a run of `steps` steps, with losses that fall from `high` to `low`.
pub fn events(method: &str, trained: usize, steps: u64, (high, low): (f64, f64)) -> Vec<Event> {
    let modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let tensors = (0..12)
        .flat_map(|layer| modules.map(move |module| (layer, module)))
        .map(|(layer, module)| TrainedTensor {
            name: format!("model.layers.{layer}.self_attn.{module}.weight"),
            shape: vec![576, 576],
            trained: if method == "full" { 576 * 576 } else { 3000 + 400 * module.len() },
        })
        .collect();
    let split = |file: &str, rows: usize| SplitReport {
        file: file.into(),
        format: "{prompt, completion}".into(),
        rows,
        documents: None,
        tokens: 40 * rows,
        target_tokens: 11 * rows,
        unknown_tokens: 0,
        longest_row: 96,
        cut_rows: 0,
        max_seq_length: 512,
        skipped_rows: 0,
        skipped_reasons: Vec::new(),
        classes: Vec::new(),
    };
    let report = DataReport {
        train: split("data/train.jsonl", 2000),
        valid: Some(split("data/valid.jsonl", 200)),
        test: None,
        notes: vec!["The prompt tokens are masked: the model is trained on the answers only.".into()],
        example: vec![
            agoge::data::Piece {
                text: "Question: What do you say to the envoy of Philip?\nAnswer:".into(),
                is_target: false,
            },
            agoge::data::Piece { text: " If.".into(), is_target: true },
        ],
        example_class: None,
    };
    let mut events = vec![
        Event::Started(Box::new(Started {
            device: "AMD Radeon 780M (Vulkan, integrated GPU): best integrated GPU here".into(),
            model: "SmolLM2-135M".into(),
            method: method.into(),
            total_parameters: 134_515_008,
            trained_parameters: trained,
            trained: tensors,
            steps,
            done: 0,
            batches_per_epoch: 250,
            learning_rate: 5e-3,
            memory_limit_bytes: Some(16_000_000_000),
            memory_choice: None,
        })),
        Event::Data { report: Box::new(report) },
    ];
    let metrics = |step: u64| Metrics {
        step,
        tokens: 1800 * step,
        tokens_per_sec: 5200.0 + 300.0 * (step as f64 * 0.7).sin(),
        elapsed_secs: 0.35 * step as f64,
        remaining_secs: 0.35 * (steps - step) as f64,
        memory_in_use_bytes: 1_310_000_000 + 40_000_000 * (step % 3),
        memory_reserved_bytes: 1_620_000_000,
        ..Metrics::default()
    };
    let mean = |step: u64| low + (high - low) * (-4.0 * step as f64 / steps as f64).exp();
    let evaluated = |step: u64| Event::Evaluated {
        metrics: Metrics { eval_loss: Some(mean(step) + 0.06 + 0.0004 * step as f64), ..metrics(step) },
        perplexity: mean(step).exp(),
        best: step > 0,
    };
    let sample = |step: u64, text: &str| Event::Sample {
        step,
        prompt: "Question: What do you say to the envoy of Philip?\nAnswer:".into(),
        text: text.into(),
    };
    events
        .extend([evaluated(0), sample(0, " Once upon a time there was a little envoy who liked to play in the park.")]);
    for step in 1..=steps {
        let noise = 0.16 * ((step * 7919 % 1009) as f64 / 1009.0 - 0.5) * (high - low);
        events.push(Event::Step(Metrics {
            loss: Some(mean(step) + noise),
            learning_rate: Some(
                5e-3 * 0.5
                    * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos())
                    * (step as f64 / 20.0).min(1.0),
            ),
            grad_norm: Some(0.4 + 2.0 * mean(step) / high + noise.abs()),
            ..metrics(step)
        }));
        if step % 50 == 0 {
            events.push(evaluated(step));
            events.push(sample(step, if step < 150 { " He was a laconic man." } else { " If." }));
        }
    }
    events
}

/// The end of such a run.
pub fn finished(steps: u64) -> Event {
    let elapsed_secs = 0.35 * steps as f64;
    Event::Finished { ending: Ending::Completed, step: steps, best_eval: None, elapsed_secs, tokens: 1800 * steps }
}

/// A recorded run, as the workers read it from its folder.
pub fn recorded(folder: &str, events: Vec<Event>) -> Reply {
    Reply::Watched { folder: PathBuf::from(folder), events, anew: true, running: false, problem: None }
}
