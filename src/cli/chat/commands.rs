//! The commands of a conversation.

/// What a line may begin with, behind a slash: name, what follows it, and what it does.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("base", "", "answer without the adapter, or with it again"),
    ("adapter", "DIR", "answer with the adapter in this folder instead"),
    ("again", "", "answer the last message once more"),
    ("undo", "", "forget the last message and its answer"),
    ("reset", "", "forget the conversation"),
    ("system", "TEXT", "set the system message; without TEXT remove it"),
    ("help", "", "this list"),
    ("exit", "", "leave, as Ctrl-D does; Ctrl-C stops an answer"),
];
