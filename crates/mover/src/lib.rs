//! How data moves: sources, chunking, the pipeline, restore.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the walk over a file tree, files as they are read, a command's output |
//! | [`chunker`] | where files are cut (pure) |
//! | [`backup`] | from a source to a snapshot |
//! | [`ingest`] | new chunks on their way into packs |
//! | [`presence`] | whether what earlier sessions stored is where the logs say |
//! | [`fanout`] | packs on their way to each replica |
//! | [`restore`] | from a snapshot back to files |
//!
//! # What a backup holds in memory
//!
//! N is the number of processors, at most 16. There are N readers and N sealers.
//!
//! | what | bytes at most |
//! |---|---|
//! | content packs being filled, waiting or on their way to the store (`lane`) | 4 × 32 MiB |
//! | metadata packs, the same | 2 × 8 MiB |
//! | with several replicas: packs that one has and others wait for, and two on their way to each further one | 2 × 32 MiB, and 2 × 32 MiB a further replica |
//! | frames: 2 open, 4 waiting, one in the hands of each reader, of the pump and of the assembler | (8 + N) × 1 MiB |
//! | sealers: plain, compressed and sealed frame, the frame opened again, zstd's contexts | N × 8 MiB |
//! | readers: read buffer, and bytes not cut yet, in a vector that doubles | N × 5 MiB |
//! | directories of stored packs until their segment is written, and that segment | 16 MiB |
//! | opened frames of the parent's tree | 48 MiB |
//! | pages of the index | 16 MiB |
//! | the block of a large file that is not hashed yet, in each reader | N × 64 KiB |
//! | names of the directory being walked; more are sorted on disk | 64 MiB |
//! | 512 paths between pump and assembler; their attributes count too, mostly none | 1 MiB |
//!
//! With the default profile, whose chunks have at most 1 MiB; with another one, frames and readers grow with its maximum.
//!
//! Three things grow with the source, and no bound is kept on them yet: 21 bytes for each chunk stored by *this* run in
//! a table that is between 44 % and 88 % full, and half as much again while it doubles (a million new chunks: 44 MiB);
//! 1.5 bytes for each chunk of the vault (the index's filter); and the entry of each hard-link group whose last name was
//! not met yet.
//!
//! The only writer of packs; the verifier must never depend on this crate.

pub mod backup;
mod batch;
pub mod chunker;
pub mod fanout;
pub mod ingest;
mod lane;
pub mod presence;
pub mod restore;
pub mod source;
pub mod survey;
