//! The worker that follows runs in folders.

use std::{path::PathBuf, time::Duration};

use super::{
    follower::{Follower, News},
    worker::{Received, Replies, Requests},
};
use crate::{
    event::{Command, messages::Reply},
    panics,
    train::{command_file, lock},
};

/// Pause between two looks at all folders.
const PAUSE: Duration = Duration::from_millis(200);

/// What this worker is asked for.
pub(super) enum WatchRequest {
    Watch(PathBuf),
    Forget(PathBuf),
    Command(PathBuf, Command),
}

pub(super) async fn work(requests: Requests<WatchRequest>, replies: Replies) {
    let mut followed: Vec<Followed> = Vec::new();
    let mut more = false;
    loop {
        let received = if followed.is_empty() {
            requests.next().await.map_or(Received::Closed, Received::Request)
        } else {
            requests.within(if more { Duration::ZERO } else { PAUSE }).await
        };
        match received {
            Received::Request(request) => {
                serve(request, &mut followed, &replies);
                continue;
            }
            Received::Closed => return,
            Received::Nothing => {}
        }
        more = false;
        for one in &mut followed {
            more |= one.look(&replies);
        }
    }
}

fn serve(request: WatchRequest, followed: &mut Vec<Followed>, replies: &Replies) {
    match request {
        WatchRequest::Watch(folder) => {
            let again = followed.iter().any(|one| one.follower.folder() == folder);
            followed.retain(|one| one.follower.folder() != folder);
            let mut one = Followed { follower: Follower::new(&folder), again };
            // The first news comes at once, even where there is none.
            one.look(replies);
            followed.push(one);
        }
        WatchRequest::Forget(folder) => followed.retain(|one| one.follower.folder() != folder),
        WatchRequest::Command(folder, command) => {
            if let Err(error) = command_file::send(&folder, command) {
                let running = lock::is_held(&folder);
                let problem = Some(error.to_string());
                replies.send(Reply::Watched { folder, events: Vec::new(), anew: false, running, problem });
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
    /// Reports what is new; whether there is more to be reported at once.
    fn look(&mut self, replies: &Replies) -> bool {
        let looked = panics::guard(|| Ok(self.follower.look()));
        let (news, more) =
            looked.unwrap_or_else(|error| (Some(News { problem: Some(error.to_string()), ..News::default() }), false));
        if let Some(News { events, anew, running, problem }) = news {
            let anew = anew || std::mem::take(&mut self.again);
            let folder = self.follower.folder().to_path_buf();
            replies.send(Reply::Watched { folder, events, anew, running, problem });
        }
        more
    }
}
