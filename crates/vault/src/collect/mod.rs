//! Collection: what is waste on a replica, and how it goes.

pub mod reach;
