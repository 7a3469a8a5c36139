//! How data moves: sources, chunking, the pipeline, restore.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | what stands on a source: the walk, excludes, files as they are read, a command's output |
//! | [`chunker`] | where content is cut into chunks |

pub mod chunker;
pub mod source;
