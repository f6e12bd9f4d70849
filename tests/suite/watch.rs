//! The record of a run, followed from outside: long ones, damaged ones, and ones that come and go.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use agoge::{
    event::{Event, Metrics},
    rng::Stream,
    train::event_log::{EVENTS, EventLog},
    workers::follower::{Follower, News},
};
use tempfile::TempDir;

fn figures(step: u64) -> Event {
    Event::Step(Metrics { step, loss: Some(2.0 + 1.0 / step as f64), elapsed_secs: step as f64, ..Metrics::default() })
}

fn sample(step: u64) -> Event {
    Event::Sample { step, prompt: "Who is there?".into(), text: " A friend.".into() }
}

/// Everything that is new, which must come to an end.
fn all(follower: &mut Follower) -> News {
    let mut whole = News::default();
    // Something that waits for its figures waits for one look.
    for _ in 0..2 {
        for looks in 0.. {
            assert!(looks < 10_000, "it does not come to an end");
            let (news, more) = follower.look();
            if let Some(news) = news {
                assert!(news.events.len() <= 2_000, "a window could not draw between these");
                if news.anew {
                    whole.events.clear();
                }
                whole.events.extend(news.events);
                whole.anew |= news.anew;
                (whole.running, whole.problem) = (news.running, news.problem);
            }
            if !more {
                break;
            }
        }
    }
    whole
}

fn write(out: &Path, events: &[Event]) {
    let mut log = EventLog::open(out, u64::MAX).expect("a record");
    events.iter().for_each(|event| log.write(event).expect("written"));
}

fn story(steps: u64) -> Vec<Event> {
    (1..=steps)
        .flat_map(|step| {
            let mut events = vec![figures(step)];
            if step.is_multiple_of(5) {
                let metrics = Metrics { step, eval_loss: Some(3.0 - step as f64 / 1e6), ..Metrics::default() };
                let perplexity = metrics.eval_loss.map_or(0.0, f64::exp);
                events.extend([Event::Evaluated { metrics, perplexity, best: true }, sample(step)]);
            }
            events
        })
        .collect()
}

fn names(events: &[Event]) -> Vec<(u64, &'static str)> {
    let name = |event: &Event| match event {
        Event::Step(_) => "step",
        Event::Evaluated { best: true, .. } => "evaluated",
        Event::Sample { .. } => "sample",
        _ => "other",
    };
    events.iter().map(|event| (event.step().unwrap_or(0), name(event))).collect()
}

#[test]
fn figures_and_events_come_in_order_once() {
    let folder = TempDir::new().expect("a folder");
    let mut follower = Follower::new(folder.path());
    assert!(all(&mut follower).problem.is_some_and(|problem| problem.contains("no record")));
    let told = story(23);
    write(folder.path(), &told[..10]);
    let first = all(&mut follower);
    assert_eq!((names(&first.events), first.problem.clone(), first.anew), (names(&told[..10]), None, false));
    write(folder.path(), &told[10..]);
    assert_eq!(names(&all(&mut follower).events), names(&told[10..]));
    assert_eq!(follower.look(), (None, false), "nothing is no news");
    // A run that goes on from an earlier step makes what was heard void.
    drop(EventLog::open(folder.path(), 12).expect("a record"));
    let again = all(&mut follower);
    assert!(again.anew);
    assert_eq!(names(&again.events), names(&told.iter().filter(|e| e.step() <= Some(12)).cloned().collect::<Vec<_>>()));
    std::fs::remove_dir_all(folder.path()).expect("removed");
    let gone = all(&mut follower);
    assert!(gone.anew && gone.events.is_empty() && gone.problem.is_some());
}

#[test]
fn long_records_come_quickly_and_in_pieces() {
    let folder = TempDir::new().expect("a folder");
    let told = story(80_000);
    write(folder.path(), &told);
    let begun = Instant::now();
    let mut follower = Follower::new(folder.path());
    let heard = all(&mut follower);
    let took = begun.elapsed();
    assert_eq!(names(&heard.events), names(&told));
    println!("{} lines in {took:?}", told.len());
    // Generous: the machine of the tests may be doing other things, and this is not an optimised build.
    assert!(told.len() >= 100_000 && took < Duration::from_secs(10), "{took:?}");
}

/// One random change of a file.
fn damage(bytes: &mut Vec<u8>, random: &mut Stream) {
    let place = |bytes: &[u8], random: &mut Stream| random.below(bytes.len() as u64 + 1) as usize;
    match random.below(7) {
        0 => {
            for _ in 0..=random.below(20) {
                let at = place(bytes, random);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.bits() as u8;
                }
            }
        }
        1 => bytes.truncate(place(bytes, random)),
        2 => {
            let at = place(bytes, random);
            let rubbish: Vec<u8> = (0..random.below(300)).map(|_| random.bits() as u8).collect();
            bytes.splice(at..at, rubbish);
        }
        3 => {
            let (from, to) = (place(bytes, random), place(bytes, random));
            let copied = bytes[from.min(to)..from.max(to)].to_vec();
            let at = place(bytes, random);
            bytes.splice(at..at, copied.into_iter().take(2_000));
        }
        4 => {
            let (from, to) = (place(bytes, random), place(bytes, random));
            bytes.drain(from.min(to)..from.max(to));
        }
        // A number that no program writes.
        5 => {
            let at = place(bytes, random);
            bytes.splice(at..at, b"{\"step\":18446744073709551615,\"loss\":1e999,\"tokens\":-1}\n".to_vec());
        }
        _ => bytes.extend_from_slice(b"{\"event\":\"saved\",\"step\":3,\"path\":\"x\"}\n{\"event\":\"sam"),
    }
}

#[test]
fn ten_thousand_random_damages_do_no_harm() {
    let folder = TempDir::new().expect("a folder");
    let whole = TempDir::new().expect("a folder");
    let told = story(20);
    write(whole.path(), &told);
    let files = ["metrics.jsonl", EVENTS];
    let good = files.map(|file| std::fs::read(whole.path().join(file)).expect(file));
    let mut random = Stream::new(7, "damage");
    let mut follower = Follower::new(folder.path());
    let mut unreadable = 0;
    for round in 0..10_000 {
        let at = random.below(2) as usize;
        let path = folder.path().join(files[at]);
        let mut bytes = if random.below(4) > 0 { std::fs::read(&path).unwrap_or_default() } else { good[at].clone() };
        damage(&mut bytes, &mut random);
        bytes.truncate(20_000);
        match random.below(40) {
            0 => drop(std::fs::remove_file(&path)),
            _ => std::fs::write(&path, &bytes).expect("written"),
        }
        let news = all(&mut follower);
        unreadable += usize::from(news.problem.is_some());
        if round % 100 == 0 {
            follower = Follower::new(folder.path());
        }
    }
    assert!(unreadable > 1_000, "only {unreadable} times something could not be read");
    for (file, bytes) in files.iter().zip(&good) {
        std::fs::write(folder.path().join(file), bytes).expect("written");
    }
    let news = all(&mut Follower::new(folder.path()));
    assert_eq!((names(&news.events), news.problem), (names(&told), None));
}

#[test]
fn odd_files_are_a_problem_and_no_more() {
    let folder = TempDir::new().expect("a folder");
    std::fs::create_dir(folder.path().join("metrics.jsonl")).expect("a folder");
    std::fs::write(folder.path().join(EVENTS), b"\xff\xfe\x00\n[]\n{}\n").expect("written");
    let mut follower = Follower::new(folder.path());
    let problem = all(&mut follower).problem.expect("two problems");
    assert!(problem.contains("metrics.jsonl cannot be read: it is not a file"), "{problem}");
    assert!(problem.contains("3 lines of events.jsonl cannot be read"), "{problem}");
    assert!(!follower.look().1, "and nobody is kept busy by it");
    std::fs::remove_dir(folder.path().join("metrics.jsonl")).expect("removed");
    std::fs::remove_file(folder.path().join(EVENTS)).expect("removed");
    write(folder.path(), &story(3));
    let news = all(&mut follower);
    assert_eq!((names(&news.events), news.problem), (names(&story(3)), None));
}
