//! Panics of the layers below (an allocation that does not fit, a driver that gives up) as one sentence.

use std::sync::Mutex;

static MESSAGE: Mutex<Option<String>> = Mutex::new(None);

/// Keeps the first panic's message instead of printing a backtrace; `AGOGE_PANIC=1` prints as usual.
pub fn install() {
    if std::env::var_os("AGOGE_PANIC").is_some() {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("no message").to_owned();
        let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        if let Ok(mut message) = MESSAGE.lock() {
            message.get_or_insert(format!("{text}{place}"));
        }
    }));
}

/// What to tell a person about the panic.
pub fn sentence() -> String {
    let message = MESSAGE.lock().ok().and_then(|message| message.clone()).unwrap_or_default();
    let lower = message.to_lowercase();
    if ["out of memory", "outofmemory", "allocation", "buffer size", "max_buffer_size"]
        .iter()
        .any(|w| lower.contains(w))
    {
        return format!(
            "the device ran out of memory; use a smaller --batch-size (with more --grad-accumulation-steps), a smaller \
             --max-seq-length, --grad-checkpointing, or --device cpu [{}]",
            first_line(&message)
        );
    }
    format!(
        "the device or this program failed inside: {}; the last checkpoint is whole; run again with AGOGE_PANIC=1 for \
         the place and report it",
        first_line(&message)
    )
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}
