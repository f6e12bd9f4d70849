//! Work with the adapters of runs: text with and without them, merged models, exported adapters.

use std::path::Path;

use agoge::{
    config::RunConfig,
    demo,
    device::{ComputeDevice, DeviceChoice},
    event::{
        Event,
        messages::{Reply, Request, RunState, TaskEnding},
    },
    method::adapter::Adapter,
    model::Pretrained,
    train::lock,
};
use tempfile::TempDir;

use crate::{
    fixture::{agoge, text},
    front_end::{Front, short},
};

#[test]
fn text_is_written_with_and_without_the_adapter_and_the_run_is_merged_and_exported() {
    let place = TempDir::new().expect("a folder");
    let (out, merged, exported) =
        (place.path().join("run"), place.path().join("merged"), place.path().join("exported"));
    let mut front = Front::open();
    front.start(&RunConfig { batch_size: 8, learning_rate: 3e-2, ..short(&out, 25) });
    assert_eq!(front.over(), RunState::Ended);
    let prompt = demo::examples()[1].prompt.clone();
    let generate_in = |folder: &Path, number, max_tokens| Request::Generate {
        number,
        folder: folder.to_path_buf(),
        prompt: prompt.clone(),
        temperature: 0.0,
        max_tokens,
        seed: 0,
    };
    let generate = |number, max_tokens| generate_in(&out, number, max_tokens);
    front.workers.send(generate(1, 12));
    let (how, said) = front.task(1);
    assert!(how == TaskEnding::Done && said.contains("tokens/s"), "{said}");
    let side = |front: &Front, wanted: u64, with: bool| -> String {
        let pieces = front.replies.iter().filter_map(|reply| match reply {
            Reply::Text { number, adapted, text, .. } if *number == wanted && *adapted == with => Some(text.as_str()),
            _ => None,
        });
        pieces.collect()
    };
    let done = |front: &Front, wanted: u64| {
        let done = |reply: &&Reply| matches!(reply, Reply::Text { number, done: true, .. } if *number == wanted);
        front.replies.iter().filter(done).count()
    };
    assert_eq!(done(&front, 1), 2);
    assert_ne!(side(&front, 1, true), side(&front, 1, false));
    // Each side is what the program itself says.
    let says = |more: &[&str]| {
        let all = ["generate", "--device", "cpu", "--quiet", "--max-tokens", "12", "--prompt", &prompt];
        let output = agoge(&[&all[..], more].concat());
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let adapted = format!("{prompt}{}\n", side(&front, 1, true));
    assert_eq!(adapted, says(&["--model", "agoge-demo", "--adapter", text(&out)]));
    assert_eq!(format!("{prompt}{}\n", side(&front, 1, false)), says(&["--model", "agoge-demo"]));

    // The model stays for the next prompt. A text that nobody wants any more ends before its last token.
    let before = front.replies.len();
    front.workers.send(generate(2, 200));
    front.workers.send(generate(3, 200));
    front.workers.send(Request::StopGenerating);
    assert_eq!((front.task(2).1, front.task(3).1), ("stopped".into(), "stopped".into()));
    assert_eq!((done(&front, 2), done(&front, 3)), (2, 2));
    assert!(
        !front.replies[before..].iter().any(|reply| matches!(reply, Reply::Task { ending: None, .. })),
        "loaded again"
    );

    front.workers.send(Request::Merge { number: 4, folder: out.clone(), out: merged.clone() });
    let (how, said) = front.task(4);
    assert!(how == TaskEnding::Done && said.contains("844,928 parameters"), "{said}");
    assert_eq!(adapted, says(&["--model", text(&merged)]), "a merged model needs no adapter");
    front.workers.send(Request::Export {
        number: 5,
        folder: out.clone(),
        format: "sparta".into(),
        out: exported.clone(),
    });
    let (how, said) = front.task(5);
    assert_eq!(how, TaskEnding::Done, "{said}");
    let trained = |folder: &Path| Adapter::read(folder).expect("an adapter").info.trained_parameters;
    assert_eq!(trained(&exported), trained(&out));
    // What is there already stays as it is, and the folder of a run is no place for a model.
    for (number, to, words) in [(6, &merged, "there is a model in this folder already"), (7, &out, "there is a run")] {
        front.workers.send(Request::Merge { number, folder: out.clone(), out: to.clone() });
        let (how, said) = front.task(number);
        assert!(how == TaskEnding::Failed && said.contains(words), "{said}");
    }
    // An adapter without its run is used on the model that it names: the program's own, and one that stands beside the
    // config.json of a model.
    let alone = place.path().join("alone");
    std::fs::create_dir(&alone).expect("a folder");
    for name in ["adapter.json", "adapter.safetensors"] {
        std::fs::copy(out.join(name), alone.join(name)).expect("a file");
    }
    for (number, folder) in [(9, &alone), (10, &exported)] {
        front.workers.send(generate_in(folder, number, 12));
        let (how, said) = front.task(number);
        assert_eq!(how, TaskEnding::Done, "{said}");
        for with in [true, false] {
            assert_eq!(side(&front, number, with), side(&front, 1, with), "{}", folder.display());
        }
    }
    let nowhere = place.path().join("nowhere");
    front.workers.send(Request::Export { number: 8, folder: nowhere.clone(), format: "peft".into(), out: nowhere });
    assert!(front.task(8).1.contains("not an adapter folder"));
    // The program knows the run as well.
    let told = String::from_utf8(agoge(&["inspect", text(&out)]).stdout).expect("UTF-8");
    assert!(told.contains("base model   agoge-demo"), "{told}");
    let mut base = Pretrained::load(&merged, &ComputeDevice::cpu()).expect("a model");
    assert!(Adapter::read(&out).expect("an adapter").apply(&mut base, &ComputeDevice::cpu()).is_err());
}

#[test]
fn a_paused_run_writes_text_with_its_best_adapter() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let place = TempDir::new().expect("a folder");
        let out = place.path().join("run");
        let mut front = Front::open();
        front.start(&RunConfig { device, eval_steps: 2, ..short(&out, 1_000_000) });
        front.until("a best adapter", |reply| match reply {
            Reply::Event { event } => matches!(**event, Event::Evaluated { best: true, .. }).then_some(()),
            _ => None,
        });
        front.workers.send(Request::Pause);
        front.state("pause", |state| *state == RunState::Paused);
        // On the same device, by another thread.
        let prompt = "Messenger: Who are you?\nSpartan:".to_owned();
        let (folder, temperature) = (out.clone(), 0.7);
        front.workers.send(Request::Generate { number: 1, folder, prompt, temperature, max_tokens: 3, seed: 1 });
        let (how, said) = front.task(1);
        assert!(how == TaskEnding::Done && said.starts_with("6 tokens"), "{said}");
        front.workers.send(Request::Resume);
        front.step(4);
        front.workers.stop();
        assert!(!lock::is_held(&out));
    }
}
