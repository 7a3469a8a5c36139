//! The `shudao` command.
fn main() {}
