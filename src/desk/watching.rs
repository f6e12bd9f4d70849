//! The worker that follows runs in folders.

use std::{path::PathBuf, time::Duration};

use super::{
    Voice,
    follower::{Follower, News},
    worker::{Ear, Heard},
};
use crate::{
    event::{Command, messages::Reply},
    panics,
    train::{command_file, lock},
};

/// Pause between two looks at all folders.
const PAUSE: Duration = Duration::from_millis(200);

/// What this worker is asked for.
pub(super) enum Wish {
    Watch(PathBuf),
    Forget(PathBuf),
    Tell(PathBuf, Command),
}

pub(super) async fn work(wishes: Ear<Wish>, voice: Voice) {
    let mut followed: Vec<Followed> = Vec::new();
    let mut more = false;
    loop {
        let wish = if followed.is_empty() {
            wishes.next().await.map_or(Heard::Gone, Heard::Wish)
        } else {
            wishes.within(if more { Duration::ZERO } else { PAUSE }).await
        };
        match wish {
            Heard::Wish(wish) => {
                hear(wish, &mut followed, &voice);
                continue;
            }
            Heard::Gone => return,
            Heard::Silence => {}
        }
        more = false;
        for one in &mut followed {
            more |= one.look(&voice);
        }
    }
}

fn hear(wish: Wish, followed: &mut Vec<Followed>, voice: &Voice) {
    match wish {
        Wish::Watch(folder) => {
            let again = followed.iter().any(|one| one.follower.folder() == folder);
            followed.retain(|one| one.follower.folder() != folder);
            let mut one = Followed { follower: Follower::new(&folder), again };
            // The first news comes at once, even where there is none.
            one.look(voice);
            followed.push(one);
        }
        Wish::Forget(folder) => followed.retain(|one| one.follower.folder() != folder),
        Wish::Tell(folder, command) => {
            if let Err(error) = command_file::send(&folder, command) {
                let running = lock::is_held(&folder);
                let problem = Some(error.to_string());
                voice.say(Reply::Watched { folder, events: Vec::new(), anew: false, running, problem });
            }
        }
    }
}

struct Followed {
    follower: Follower,
    /// Whether the first news must say that it begins again.
    again: bool,
}

impl Followed {
    /// Tells what is new; whether there is more to be told at once.
    fn look(&mut self, voice: &Voice) -> bool {
        let looked = panics::guard(|| Ok(self.follower.look()));
        let (news, more) =
            looked.unwrap_or_else(|error| (Some(News { problem: Some(error.to_string()), ..News::default() }), false));
        if let Some(News { events, anew, running, problem }) = news {
            let anew = anew || std::mem::take(&mut self.again);
            let folder = self.follower.folder().to_path_buf();
            voice.say(Reply::Watched { folder, events, anew, running, problem });
        }
        more
    }
}
