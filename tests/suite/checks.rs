//! Settings that are checked before a run starts.

use std::path::PathBuf;

use agoge::{
    config::{List, RunConfig},
    device::DeviceChoice,
    event::messages::{Reply, Request, Setup},
};

use crate::{fixture::TestFolder, front_end::Front};

#[test]
fn faults_are_found_setting_by_setting() {
    let place = TestFolder::new();
    let mut front = Front::open();
    let mut number = 0;
    let mut check = |setup: Setup| {
        number += 1;
        front.workers.send(Request::Check { number, setup: Box::new(setup) });
        front.until("answer", |reply| match reply {
            Reply::Checked { number: of, faults, facts, .. } if *of == number => Some((faults.clone(), facts.clone())),
            _ => None,
        })
    };
    let plain = |config: RunConfig| Setup { config, ..Setup::default() };
    let good = place.config("out");
    let (faults, facts) = check(plain(good.clone()));
    assert_eq!(faults, []);
    assert_eq!(facts[0], "llama, 17,664 parameters, 2 layers");
    assert!(facts[1].starts_with("23 rows, ") && facts[2].starts_with("validation: 6 rows, "), "{facts:?}");
    assert!(!place.path("out").exists(), "nothing is created");

    place.write("empty/train.jsonl", "");
    place.write("broken/train.jsonl", "{\"text\": \"a b\"}\n{\"text\": ");
    place.write("taken/config.json", "{}");
    place.write("gpt/config.json", "{\"model_type\": \"mamba\"}");
    place.write("file", "x");
    std::fs::create_dir_all(place.path("nomodel")).expect("a folder");
    let list = |items: &[&str]| List(items.iter().map(|&item| item.to_owned()).collect());
    let cases: Vec<(&str, &str, RunConfig)> = vec![
        ("model", "no such folder", RunConfig { model: place.path("nothing"), ..good.clone() }),
        ("model", "no config.json", RunConfig { model: place.path("nomodel"), ..good.clone() }),
        ("model", "mamba", RunConfig { model: place.path("gpt"), ..good.clone() }),
        ("model", "--model is missing", RunConfig { model: PathBuf::new(), ..good.clone() }),
        ("revision", "no revisions", RunConfig { revision: "main".into(), ..good.clone() }),
        ("data", "no file or folder", RunConfig { data: place.path("nothing"), ..good.clone() }),
        ("data", "is empty", RunConfig { data: place.path("empty"), ..good.clone() }),
        ("data", "not valid JSON", RunConfig { data: place.path("broken"), ..good.clone() }),
        ("data", "--data is missing", RunConfig { data: PathBuf::new(), ..good.clone() }),
        ("valid_data", "no file or folder", RunConfig { valid_data: place.path("nothing"), ..good.clone() }),
        ("valid_data", "not valid JSON", RunConfig { valid_data: place.path("broken/train.jsonl"), ..good.clone() }),
        ("out", "a run in this folder", RunConfig { out: place.path("taken"), ..good.clone() }),
        ("out", "there is a model", RunConfig { out: place.path("model"), ..good.clone() }),
        ("out", "is a file", RunConfig { out: place.path("file/out"), ..good.clone() }),
        ("out", "--out is missing", RunConfig { out: PathBuf::new(), ..good.clone() }),
        ("method", "no method", RunConfig { method: "magic".into(), ..good.clone() }),
        ("mask", "no such mask", RunConfig { mask: "magic".into(), ..good.clone() }),
        ("target_modules", "no parameter", RunConfig { target_modules: list(&["x_proj"]), ..good.clone() }),
        ("frozen_modules", "no parameter", RunConfig { frozen_modules: list(&["x_proj"]), ..good.clone() }),
        ("device", "no such device", RunConfig { device: DeviceChoice::Index(99), ..good.clone() }),
        ("max_seq_length", "only 64 positions", RunConfig { max_seq_length: 65, ..good.clone() }),
        ("sample_prompts", "positions", good.with("sample_prompts", &"a".repeat(64)).expect("a setting")),
        ("init_adapter", "", RunConfig { init_adapter: place.path("model"), ..good.clone() }),
        ("batch_size", "at least 1", RunConfig { batch_size: 0, ..good.clone() }),
        ("classes", "", RunConfig { task: agoge::config::Task::Classify, classes: list(&["a"]), ..good.clone() }),
    ];
    for (setting, words, config) in cases {
        let (faults, _) = check(plain(config));
        let found = faults.iter().find(|fault| fault.setting == setting && fault.message.contains(words));
        if setting == "classes" {
            // Rows without labels: whatever is blamed, it is said.
            assert!(!faults.is_empty());
            continue;
        }
        assert!(found.is_some() && faults.len() == 1, "{setting} {words}: {faults:?}");
    }
    // All at once.
    let (faults, _) =
        check(plain(RunConfig { batch_size: 0, beta1: 2.0, data: place.path("nothing"), ..good.clone() }));
    let settings: Vec<&str> = faults.iter().map(|fault| fault.setting.as_str()).collect();
    assert_eq!(settings, ["beta1", "batch_size", "data"]);
    let resumed = Setup { config: good.clone(), resume: true, ..Setup::default() };
    let (faults, _) = check(resumed);
    assert!(faults.iter().all(|fault| fault.setting == "out") && faults.len() == 2, "{faults:?}");
    // The demo needs no paths, and may leave nothing behind.
    let (faults, facts) = check(Setup { config: RunConfig::default(), demo: true, ..Setup::default() });
    assert_eq!(faults, []);
    assert_eq!(facts[0], "llama, 844,928 parameters, 4 layers");
    // A repository that no cache has is no fault: it is fetched when the run starts.
    let (faults, facts) = check(plain(RunConfig { model: "no-such-owner/no-such-name".into(), ..good.clone() }));
    assert!(faults.is_empty() && facts[0].contains("fetched when the run starts"), "{faults:?} {facts:?}");

    // Of many that wait the last one is answered.
    for number in 1000..1050 {
        front.workers.send(Request::Check { number, setup: Box::new(plain(good.clone())) });
    }
    let before = front.replies.len();
    front.until("the last answer", |reply| matches!(reply, Reply::Checked { number: 1049, .. }).then_some(()));
    assert!(front.replies.len() - before < 40, "{} of 50 were answered", front.replies.len() - before);
    front.workers.send(Request::Devices);
    let devices = front.until("devices", |reply| match reply {
        Reply::Devices { devices } => Some(devices.clone()),
        _ => None,
    });
    assert_eq!(devices.last().expect("the CPU").choice, "cpu");
}

#[test]
fn large_data_is_known_by_its_first_part() {
    let place = TestFolder::new();
    let row = "{\"prompt\": \"a round shield of bronze\", \"completion\": \"is a hoplon\"}\n";
    place.write("large/train.jsonl", &row.repeat(21_000_000 / row.len()));
    let mut front = Front::open();
    let setup = Setup { config: RunConfig { data: place.path("large"), ..place.config("out") }, ..Setup::default() };
    front.workers.send(Request::Check { number: 1, setup: Box::new(setup) });
    let (faults, facts) = front.until("answer", |reply| match reply {
        Reply::Checked { faults, facts, .. } => Some((faults.clone(), facts.clone())),
        _ => None,
    });
    assert_eq!(faults, []);
    assert!(facts[1].contains(" rows, ") && facts[1].contains("in the first 9.5 % of 21 MB"), "{facts:?}");
}
