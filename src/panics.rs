//! Panics of the layers below (an allocation that does not fit, a driver that gives up) as one sentence.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use crate::{Error, Result};

/// Most panics that are kept: the first one says what is wrong, those behind it only follow from it.
const MOST_KEPT: usize = 100;

/// A panic, as the hook saw it.
struct Seen {
    number: u64,
    thread: ThreadId,
    text: String,
}

/// Panics that nobody has asked about yet, and the threads that are inside of [`guard`].
struct Known {
    next: u64,
    seen: Vec<Seen>,
    /// With the number of the first panic that can be theirs.
    guarded: Vec<(ThreadId, u64)>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { next: 0, seen: Vec::new(), guarded: Vec::new() });

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// The first panic that belongs to this thread: its own, or one of a thread that works for it.
    fn of(&self, thread: ThreadId) -> Option<&Seen> {
        let since = self.guarded.iter().rfind(|(guarded, _)| *guarded == thread).map_or(0, |(_, since)| *since);
        let anothers = |id| id != thread && self.guarded.iter().any(|(guarded, _)| *guarded == id);
        self.seen.iter().find(|seen| seen.number >= since && !anothers(seen.thread))
    }
}

/// Keeps panics' messages instead of printing backtraces; `AGOGE_PANIC=1` prints as usual.
pub fn install() {
    if std::env::var_os("AGOGE_PANIC").is_some() {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("no message").to_owned();
        let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        let mut known = known();
        if known.seen.len() < MOST_KEPT {
            let number = known.next;
            known.next += 1;
            known.seen.push(Seen { number, thread: thread::current().id(), text: text + &place });
        }
    }));
}

/// Does some work whose panics become errors; the thread can go on with something else.
///
/// # Errors
/// Those of the work, and [`sentence`] where it panics.
pub fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    attempt(work)?
}

/// Lets go of something whose panics on the way are of no interest any more, such as tensors of a device that is gone.
pub fn let_go<T>(thing: T) {
    let _ = attempt(|| drop(thing));
}

/// As [`guard`], for those who do something else about a panic than about an error of the work.
///
/// # Errors
/// [`sentence`] where the work panics, and only then.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T> {
    caught(work).map_err(|panic| Error::Run(describe(&panic.with_place)))
}

/// What is known of a panic.
#[derive(Clone, Debug)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// The message and the place in the source that it came from, as far as the hook saw it.
    with_place: String,
}

/// Does some work; a panic in it, or in a thread that works for this one, is returned.
///
/// # Errors
/// The work panicked. (Where panics abort, as in a browser, it does not return.)
pub fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, Panic> {
    let me = thread::current().id();
    {
        let mut known = known();
        let since = known.next;
        known.guarded.push((me, since));
    }
    let done = catch_unwind(AssertUnwindSafe(work));
    let mut known = known();
    let seen = known.of(me).map(|seen| (seen.number, seen.text.clone()));
    // The innermost of this thread: work may do guarded work in turn.
    if let Some(at) = known.guarded.iter().rposition(|(guarded, _)| *guarded == me) {
        known.guarded.remove(at);
    }
    known.seen.retain(|one| one.thread != me);
    match done {
        Ok(done) => Ok(done),
        Err(payload) => {
            // What followed from it is of no interest to others.
            let first = seen.as_ref().map_or(u64::MAX, |(number, _)| *number);
            let guarded: Vec<ThreadId> = known.guarded.iter().map(|(guarded, _)| *guarded).collect();
            known.seen.retain(|one| one.number < first || guarded.contains(&one.thread));
            let message = payload.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let with_place = seen.map_or_else(|| message.to_owned(), |(_, text)| text);
            Err(Panic { message: message.to_owned(), with_place })
        }
    }
}

/// What to tell a person about the panic of this thread.
pub fn sentence() -> String {
    describe(known().of(thread::current().id()).map_or("no message", |seen| &seen.text))
}

/// The sentence for the message of a panic.
pub fn describe(message: &str) -> String {
    let first_line = message.lines().next().unwrap_or(message);
    let lower = message.to_lowercase();
    if ["out of memory", "outofmemory", "allocation", "buffer size", "max_buffer_size"]
        .iter()
        .any(|w| lower.contains(w))
    {
        return format!(
            "the device ran out of memory; use a smaller --batch-size (with more --grad-accumulation-steps), a smaller \
             --max-seq-length, --grad-checkpointing, or --device cpu [{first_line}]"
        );
    }
    format!(
        "the device or this program failed inside: {first_line}; the last checkpoint is whole; run again with \
         AGOGE_PANIC=1 for the place and report it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_panic_is_an_error_and_the_next_work_is_done() {
        let failed = guard::<()>(|| panic!("cannot grow: Out of Memory\nand more"));
        let told = failed.expect_err("a panic").to_string();
        assert!(told.contains("ran out of memory") && told.ends_with("Out of Memory]"), "{told}");
        let failed = guard::<()>(|| std::panic::panic_any(7)).expect_err("a panic").to_string();
        assert!(failed.contains("failed inside: no message"), "{failed}");
        assert_eq!(guard(|| Ok(7)).expect("good work"), 7);
        assert!(!known().guarded.iter().any(|(guarded, _)| *guarded == thread::current().id()));
    }

    #[test]
    fn guarded_work_may_do_guarded_work() {
        let failed = guard::<()>(|| {
            assert_eq!(caught(|| panic!("inner")).expect_err("a panic").message, "inner");
            let me = thread::current().id();
            assert!(known().guarded.iter().any(|(guarded, _)| *guarded == me), "the outer work is still guarded");
            panic!("outer")
        });
        assert!(failed.expect_err("a panic").to_string().contains("failed inside: outer"));
    }

    #[test]
    fn each_thread_has_the_panics_that_are_its_own() {
        let ids: Vec<ThreadId> = (0..3).map(|_| thread::spawn(|| ()).thread().id()).collect();
        let seen = |number, at: usize, text: &str| Seen { number, thread: ids[at], text: text.into() };
        let known = Known {
            next: 4,
            seen: vec![seen(0, 2, "old"), seen(1, 1, "other"), seen(2, 2, "worker"), seen(3, 0, "mine")],
            guarded: vec![(ids[0], 1), (ids[1], 1)],
        };
        let of = |at: usize| known.of(ids[at]).map(|seen| seen.text.as_str());
        assert_eq!([of(0), of(1), of(2)], [Some("worker"), Some("other"), Some("old")]);
    }
}
