//! When, and in which order.
//!
//! | module | holds |
//! |---|---|
//! | [`forecast`] | how long a first and a daily run will take, from what was measured (pure) |

pub mod forecast;
