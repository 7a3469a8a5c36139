//! What goes wrong between a client and its storage, on purpose and by a seed.
//!
//! [`Store::with_faults`] gives a client's view of a store that others share; each view has its own seed, plan and
//! switches. The same seed and the same order of calls give the same faults. Nothing here runs in a store that was
//! opened at an address.
//!
//! ```text
//! request ─▶ dead? outage? ─▶ delay ─▶ late requests of others land ─▶ fault? ─▶ storage ─▶ delay ─▶ answer
//!              │ never ends     │                                        │
//!              ▼                ▼ dropped here: it may still land        ▼ lost, lost after the effect, or lands later
//! ```

mod clock;
mod site;
#[cfg(test)]
mod tests;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind};

pub use clock::SkewedClock;
pub(super) use site::Site;

use super::backend::Backend;
use super::draw::Draw;
use super::remote::Remote;
use super::{Inner, Memory, Store, StoreOptions};

/// Rates are in thousandths.
const WHOLE: u64 = 1000;

/// Keeps the draws for faults apart from those for pauses, which have the same seed.
const SEED_MASK: u64 = 0xfa17_5eed;

/// The kinds of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A whole object or a range of one.
    Read,
    /// An object's size.
    Size,
    /// A creation.
    Create,
    /// A deletion.
    Delete,
    /// A listing.
    List,
}

/// What can go wrong with one request. One that a kind of request cannot have acts as [`Fault::LostRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives, and an error says that the store did not answer.
    LostRequest,
    /// It happens, and its answer is lost.
    LostAnswer,
    /// A creation or a deletion times out, and happens after some later requests.
    Late,
    /// A read gives less than was asked for: a whole object without its end, a range as damage.
    Cut,
    /// A read gives bytes of which one bit is wrong, this once.
    Flipped,
    /// A listing shows what was there some changes ago.
    Stale,
    /// A listing lacks a stretch of what is there.
    Partial,
}

const REQUESTS: [Request; 5] =
    [Request::Read, Request::Size, Request::Create, Request::Delete, Request::List];
const FAULTS: [Fault; 7] = [
    Fault::LostRequest,
    Fault::LostAnswer,
    Fault::Late,
    Fault::Cut,
    Fault::Flipped,
    Fault::Stale,
    Fault::Partial,
];

/// What the storage makes of create-if-absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// Exactly one creation of a name succeeds.
    #[default]
    Kept,
    /// It is ignored: every sender is told that it won, and the last one's bytes stay.
    LastWins,
    /// Every sender is told that it won, and the first one's bytes stay.
    FirstWins,
    /// It is looked at before the write, not with it: senders at the same time all win, and the last one's bytes stay.
    Racy,
}

/// How often what goes wrong. The default is: nothing.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// How often which fault of a single request; see [`Plan::with`].
    pub rates: Rates,
    /// How many thousandths of the requests, and of the answers, are delayed.
    pub delay_permille: u16,
    /// The longest delay.
    pub delay_max: Duration,
    /// How many thousandths of the requests find the store refusing, from then on, for a while.
    pub outage_permille: u16,
    /// The longest time that the store refuses.
    pub outage_max: Duration,
    /// After how many further requests of all views a late one lands at the latest.
    pub late_requests_max: u64,
    /// What becomes of create-if-absent.
    pub condition: Condition,
}

/// For each kind of request and each fault, in how many thousandths of the requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates([[u16; FAULTS.len()]; REQUESTS.len()]);

impl Plan {
    /// A storage with every fault that a network and a busy server have, each in `permille` thousandths of the
    /// requests that can have it: it forgets nothing that it acknowledged and keeps create-if-absent.
    pub fn rough(permille: u16) -> Self {
        let mut plan = Self {
            delay_permille: permille.saturating_mul(10),
            delay_max: Duration::from_secs(30),
            outage_permille: permille / 10,
            outage_max: Duration::from_secs(60),
            late_requests_max: 50,
            ..Self::default()
        };
        for request in REQUESTS {
            for fault in FAULTS.into_iter().filter(|fault| fault.concerns(request)) {
                plan = plan.with(request, fault, permille);
            }
        }
        plan
    }

    /// The same plan in which `permille` thousandths of these requests have this fault.
    #[must_use]
    pub fn with(mut self, request: Request, fault: Fault, permille: u16) -> Self {
        self.rates.0[request as usize][fault as usize] = permille;
        self
    }

    /// The fault of one request for a number below [`WHOLE`].
    fn fault(&self, request: Request, drawn: u64) -> Option<Fault> {
        let mut end = 0;
        FAULTS.into_iter().find(|fault| {
            end += u64::from(self.rates.0[request as usize][*fault as usize]);
            drawn < end
        })
    }
}

impl Fault {
    /// Whether this kind of request can have this fault as such.
    fn concerns(self, request: Request) -> bool {
        let changes = matches!(request, Request::Create | Request::Delete);
        match self {
            Self::LostRequest => true,
            Self::LostAnswer | Self::Late => changes,
            Self::Cut | Self::Flipped => request == Request::Read,
            Self::Stale | Self::Partial => request == Request::List,
        }
    }
}

/// The switches of one view. Clones are the same switches.
#[derive(Clone)]
pub struct Faults {
    view: Arc<View>,
}

struct View {
    /// The store whose storage is seen.
    under: Arc<Inner>,
    draw: Draw,
    switches: Mutex<Switches>,
}

#[derive(Default)]
struct Switches {
    plan: Plan,
    /// What is to go wrong once, with the next such request.
    once: Vec<(Request, String, Fault)>,
    refuses_until: Option<Instant>,
    paused_until: Option<Instant>,
    dead: bool,
    /// After how many more requests the client dies; none means never.
    requests_left: Option<u64>,
    injected: u64,
}

impl Store {
    /// A client's view of this store in which things go wrong by `plan`, and the switches for it. The view's clones
    /// share both; the store itself stays free of faults. Seed, pauses and limits are those of `options`.
    pub fn with_faults(&self, plan: Plan, options: &StoreOptions) -> (Self, Faults) {
        let view = View {
            under: Arc::clone(&self.inner),
            draw: Draw::new(options.seed ^ SEED_MASK),
            switches: Mutex::new(Switches { plan, ..Switches::default() }),
        };
        let faults = Faults { view: Arc::new(view) };
        let store = Self::of(self.inner.address.clone(), Backend::Faulty(faults.clone()), options);
        (store, faults)
    }
}

impl Faults {
    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.view.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the plan.
    pub fn set_plan(&self, plan: Plan) {
        self.switches().plan = plan;
    }

    /// Makes `fault` happen to the next such request for `path`, once, whatever the plan says. Of several the first
    /// happens first.
    pub fn once(&self, request: Request, path: &str, fault: Fault) {
        self.switches().once.push((request, path.to_owned(), fault));
    }

    /// The store refuses everything of this view from now on for so long: 503.
    pub fn refuse_for(&self, while_: Duration) {
        self.switches().refuses_until = Some(Instant::now() + while_);
    }

    /// The client's machine stands still from now on for so long: nothing that it asks leaves it, no answer comes in.
    pub fn pause_for(&self, while_: Duration) {
        self.switches().paused_until = Some(Instant::now() + while_);
    }

    /// The client is dead: no request of this view ever ends from now on, and one that is under way may still land
    /// once its caller is dropped. A client that comes back is another view.
    pub fn kill(&self) {
        self.switches().dead = true;
    }

    /// The client dies with the request after this many more; that one may or may not happen.
    pub fn kill_after(&self, requests: u64) {
        self.switches().requests_left = Some(requests);
    }

    /// Whether the client is dead.
    pub fn is_dead(&self) -> bool {
        self.switches().dead
    }

    /// Everything that is still on its way to the storage, from all views, lands now.
    pub async fn settle(&self) {
        let under = &self.view.under;
        under.site.settle(&under.backend).await;
    }

    /// How many faults there were; delays are none.
    pub fn injected(&self) -> u64 {
        self.switches().injected
    }

    /// The inside of the storage that is seen, if it is one in memory.
    pub(super) fn inside(&self) -> Option<Memory> {
        Store { inner: Arc::clone(&self.view.under) }.inside()
    }

    pub(super) fn remote(&self) -> Option<&Remote> {
        self.view.under.backend.remote()
    }

    /// Whether something with this rate happens now.
    fn happens(&self, permille: u16) -> bool {
        self.view.draw.below(WHOLE) < u64::from(permille)
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faults({} injected)", self.injected())
    }
}

fn unanswered(request: Request, path: &str) -> Error {
    Error::new(Kind::Unavailable, format!("{request:?} {path}: no answer, by a planned fault"))
}
