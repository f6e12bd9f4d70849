//! The record of a run in a folder, followed from outside: figures and events in the order in which they happened, the
//! past first. The run may be over, at work in another process, about to begin, or damaged.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::tail::{Change, Tail};
use crate::{
    event::{Event, Metrics},
    storage,
    train::{event_log::EVENTS, lock, metrics},
};

/// Bytes of each file that one look reads.
const CHUNK_BYTES: usize = 256 << 10;
/// Most events of one look: a window must be able to draw between two of them.
const MOST_EVENTS: usize = 2_000;

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// What happened since the last look, in order.
    pub events: Vec<Event>,
    /// Whether the run began anew: what was found before is void.
    pub anew: bool,
    /// Whether some process is at it.
    pub running: bool,
    /// What could not be read, as a sentence.
    pub problem: Option<String>,
}

/// A followed folder.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    figures: Record<Metrics>,
    events: Record<(i64, Event)>,
    /// Step at which the session that is being read began.
    session: i64,
    /// Step of the last figures that were given out.
    reached: i64,
    /// Events that are ahead of the figures and have waited for one look.
    waited: usize,
    best: f64,
    /// What was reported last, so that only news is news.
    reported: Option<(bool, Option<String>)>,
}

/// One of the two files.
#[derive(Debug)]
struct Record<T> {
    tail: Tail,
    waiting: VecDeque<T>,
    /// Whether the file may hold more that was not read yet.
    more: bool,
    unreadable: usize,
    trouble: Option<String>,
}

impl<T> Record<T> {
    fn new(path: PathBuf) -> Self {
        Self { tail: Tail::new(path), waiting: VecDeque::new(), more: false, unreadable: 0, trouble: None }
    }

    fn restart(&mut self) {
        self.tail.restart();
        (self.more, self.unreadable) = (false, 0);
        self.waiting.clear();
    }

    /// Whether the file is another one than before.
    fn replaced(&mut self) -> bool {
        let change = self.tail.look();
        self.more = change == Change::Grown;
        self.trouble = match &change {
            Change::Unreadable(why) => Some(why.clone()),
            _ => None,
        };
        change == Change::Replaced
    }

    /// Reads a part of what is new, unless enough of it waits already.
    fn read(&mut self, mut parse: impl FnMut(&[u8]) -> Option<T>) {
        if self.trouble.is_some() || self.waiting.len() > MOST_EVENTS {
            return;
        }
        let (waiting, unreadable) = (&mut self.waiting, &mut self.unreadable);
        let read = self.tail.read(CHUNK_BYTES, |line| match parse(line) {
            Some(item) => waiting.push_back(item),
            None => *unreadable += 1,
        });
        match read {
            Ok(more) => self.more = more,
            // Gone since it was looked at; the next look knows.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => self.more = false,
            Err(e) => (self.more, self.trouble) = (false, Some(e.to_string())),
        }
    }

    /// What is wrong with the file.
    fn problem(&self) -> Option<String> {
        let name = self.tail.path().file_name().unwrap_or_default().to_string_lossy();
        if let Some(trouble) = &self.trouble {
            return Some(format!("{name} cannot be read: {trouble}"));
        }
        match self.unreadable + self.tail.left_out {
            0 => None,
            1 => Some(format!("1 line of {name} cannot be read and is left out")),
            lines => Some(format!("{lines} lines of {name} cannot be read and are left out")),
        }
    }
}

impl Follower {
    /// Follows the run in a folder, which may appear later.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            figures: Record::new(folder.join(metrics::FILE)),
            events: Record::new(folder.join(EVENTS)),
            session: -1,
            reached: -1,
            waited: 0,
            best: f64::INFINITY,
            reported: None,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads a part of what is new: `None` where nothing is. Also says whether there is more to be read at once.
    pub fn look(&mut self) -> (Option<News>, bool) {
        // Asked first: of a run that is not at work any more everything is there to be read.
        let running = lock::is_held(&self.folder);
        let anew = self.figures.replaced() | self.events.replaced();
        if anew {
            self.figures.restart();
            self.events.restart();
            (self.session, self.reached, self.waited, self.best) = (-1, -1, 0, f64::INFINITY);
            // So that what is there is read at once.
            self.figures.replaced();
            self.events.replaced();
        }
        // Figures first: whatever happened before the last of them is then among the events.
        if self.figures.more {
            self.figures.read(|line| serde_json::from_slice(line).ok());
        }
        if self.events.more {
            let session = &mut self.session;
            self.events.read(|line| Some(placed(serde_json::from_slice(line).ok()?, session)));
        }
        let events = self.merged();
        let problem = self.problem();
        let more = self.figures.more || self.events.more || !self.figures.waiting.is_empty();
        let known = self.reported.as_ref().is_some_and(|last| (last.0, &last.1) == (running, &problem));
        if events.is_empty() && !anew && known {
            return (None, more);
        }
        self.reported = Some((running, problem.clone()));
        (Some(News { events, anew, running, problem }), more)
    }

    /// What waits in both files, in the order in which it happened, as far as that can be known yet.
    fn merged(&mut self) -> Vec<Event> {
        let mut merged = Vec::new();
        while merged.len() < MOST_EVENTS {
            let (figures, event) = (self.figures.waiting.front(), self.events.waiting.front());
            let take_figures = match (figures.map(step_of), event.map(|(place, _)| *place)) {
                (None, None) => break,
                (Some(step), Some(place)) => step <= place,
                (Some(_), None) if self.events.more => break,
                (Some(_), None) => true,
                (None, Some(_)) if self.figures.more => break,
                // Figures of its step may be on their way: it waits for one look.
                (None, Some(place)) if place > self.reached && self.waited == 0 => break,
                (None, Some(_)) => false,
            };
            if take_figures {
                let figures = self.figures.waiting.pop_front().expect("there are some");
                self.reached = step_of(&figures);
                merged.push(self.event_of(figures));
            } else {
                let (_, event) = self.events.waiting.pop_front().expect("there is one");
                self.waited = self.waited.saturating_sub(1);
                merged.push(event);
            }
        }
        if !self.figures.more && self.figures.waiting.is_empty() {
            self.waited = self.events.waiting.len();
        }
        merged
    }

    /// A line of figures as the event that it was.
    fn event_of(&mut self, figures: Metrics) -> Event {
        match figures.eval_loss {
            Some(loss) if figures.loss.is_none() => {
                let best = figures.step > 0 && loss < self.best;
                if best {
                    self.best = loss;
                }
                Event::Evaluated { metrics: figures, perplexity: loss.exp(), best }
            }
            _ => Event::Step(figures),
        }
    }

    fn problem(&self) -> Option<String> {
        let problems: Vec<String> = [self.figures.problem(), self.events.problem()].into_iter().flatten().collect();
        if !problems.is_empty() {
            return Some(format!("{}: {}", self.folder.display(), problems.join("; ")));
        }
        let there = [self.figures.tail.path(), self.events.tail.path()].iter().any(storage::exists);
        (!there).then(|| format!("{}: there is no record of a run in this folder yet", self.folder.display()))
    }
}

fn step_of(figures: &Metrics) -> i64 {
    i64::try_from(figures.step).unwrap_or(i64::MAX)
}

/// An event with its place: it comes after the figures of this step and before those of the next.
fn placed(event: Event, session: &mut i64) -> (i64, Event) {
    let step = event.step().map(|step| i64::try_from(step).unwrap_or(i64::MAX));
    let place = match (&event, step) {
        // The evaluation before the first step is a part of the run.
        (Event::Started(_), Some(0)) => -1,
        (Event::Data { .. }, _) => *session,
        (Event::Failed { .. }, _) => i64::MAX,
        (_, step) => step.unwrap_or(*session),
    };
    if matches!(event, Event::Started(_)) {
        *session = place;
    }
    (place, event)
}
