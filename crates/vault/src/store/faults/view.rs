//! The way of one request through a view: see the picture in [`super`].

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

use super::super::backend::{Backend, Trust};
use super::super::{Creation, Listed, ends_at};
use super::site::Change;
use super::{Fault, Faults, Request, Switches, WHOLE, unanswered};

/// How a request came to the storage.
enum Arrival {
    /// The client died before.
    Never,
    /// It got an error on the way.
    Failed(Error),
    /// It is there, with something wrong about it or nothing.
    There(Option<Fault>),
}

/// A change that has not reached the storage. If its caller goes away now, it may land later, or never.
struct OnTheWay<'a> {
    faults: &'a Faults,
    change: Option<Change>,
}

impl OnTheWay<'_> {
    /// Takes the change off the way, to be done now or never.
    fn take(&mut self) -> Option<Change> {
        self.change.take()
    }
}

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        if let Some(change) = self.change.take()
            && self.faults.view.draw.below(2) == 0
        {
            self.faults.leave(change);
        }
    }
}

impl Faults {
    fn backend(&self) -> &Backend {
        &self.view.under.backend
    }

    pub(in crate::store) async fn prepare(&self) -> Result<()> {
        self.backend().prepare().await
    }

    pub(in crate::store) fn claims_create_if_absent(&self) -> bool {
        self.backend().claims_create_if_absent()
    }

    pub(in crate::store) async fn read(&self, path: &str) -> Result<Bytes> {
        let fault = self.asked(Request::Read, path).await?;
        let bytes = self.backend().read(path).await;
        self.answer().await;
        let bytes = bytes?;
        Ok(match fault {
            Some(Fault::Cut) => {
                let len = self.view.draw.below(bytes.len() as u64);
                bytes.slice(..usize::try_from(len).unwrap_or_default())
            }
            Some(Fault::Flipped) => self.flipped(bytes),
            _ => bytes,
        })
    }

    pub(in crate::store) async fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        let fault = self.asked(Request::Read, path).await?;
        let bytes = self.backend().read_range(path, offset, len).await;
        self.answer().await;
        match fault {
            Some(Fault::Cut) => Err(ends_at(path, offset + self.view.draw.below(len), offset, len)),
            Some(Fault::Flipped) => Ok(self.flipped(bytes?)),
            _ => bytes,
        }
    }

    pub(in crate::store) async fn size(&self, path: &str) -> Result<Option<u64>> {
        self.asked(Request::Size, path).await?;
        let size = self.backend().size(path).await;
        self.answer().await;
        size
    }

    pub(in crate::store) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let fault = self.asked(Request::List, prefix).await?;
        let listed = self.backend().list(prefix).await;
        self.answer().await;
        let mut listed = listed?;
        match fault {
            Some(Fault::Stale) => {
                let back = 1 + self.view.draw.below(16);
                return Ok(self.view.under.site.rewind(prefix, listed, back));
            }
            Some(Fault::Partial) => {
                let at = self.index(listed.len());
                let len = 1 + self.index(listed.len() - at);
                listed.drain(at..(at + len).min(listed.len()));
            }
            _ => {}
        }
        Ok(listed)
    }

    pub(in crate::store) async fn create(&self, path: &str, bytes: Bytes, trust: Trust) -> Result<Creation> {
        let condition = self.switches().plan.condition;
        self.change(Request::Create, Change::Create { path: path.to_owned(), bytes, trust, condition }).await
    }

    pub(in crate::store) async fn replace(&self, path: &str, bytes: Bytes) -> Result<()> {
        let change = Change::Replace { path: path.to_owned(), bytes };
        self.change(Request::Create, change).await.map(|_| ())
    }

    pub(in crate::store) async fn delete(&self, path: &str) -> Result<()> {
        self.change(Request::Delete, Change::Delete { path: path.to_owned() }).await.map(|_| ())
    }

    async fn change(&self, request: Request, change: Change) -> Result<Creation> {
        let path = change.path().to_owned();
        let mut way = OnTheWay { faults: self, change: Some(change) };
        let arrival = self.arrive(request, &path).await;
        if matches!(arrival, Arrival::Never) {
            drop(way);
            return pending().await;
        }
        let Some(change) = way.take() else { return pending().await };
        match arrival {
            Arrival::Never => pending().await,
            Arrival::Failed(error) => Err(error),
            Arrival::There(Some(Fault::Late)) => {
                self.leave(change);
                Err(unanswered(request, &path))
            }
            Arrival::There(fault) => {
                let done = self.view.under.site.land(self.backend(), change).await;
                self.answer().await;
                if fault == Some(Fault::LostAnswer) { Err(unanswered(request, &path)) } else { done }
            }
        }
    }

    /// A request that changes nothing comes to the storage.
    async fn asked(&self, request: Request, path: &str) -> Result<Option<Fault>> {
        match self.arrive(request, path).await {
            Arrival::Never => pending().await,
            Arrival::Failed(error) => Err(error),
            Arrival::There(fault) => Ok(fault),
        }
    }

    async fn arrive(&self, request: Request, path: &str) -> Arrival {
        if self.dies() {
            return Arrival::Never;
        }
        self.delay().await;
        if self.is_dead() {
            return Arrival::Never;
        }
        if let Some(error) = self.refusal(request, path) {
            return Arrival::Failed(error);
        }
        let under = &self.view.under;
        under.site.pass(&under.backend).await;
        match self.next_fault(request, path) {
            Some(fault) if fault == Fault::LostRequest || !fault.concerns(request) => {
                Arrival::Failed(unanswered(request, path))
            }
            fault => Arrival::There(fault),
        }
    }

    /// The answer is on its way back; a dead client never gets it.
    async fn answer(&self) {
        self.delay().await;
        if self.is_dead() {
            pending::<()>().await;
        }
    }
}

impl Faults {
    /// Leaves `change` on its way to the storage, whatever becomes of this client.
    fn leave(&self, change: Change) {
        let requests_max = self.switches().plan.late_requests_max;
        let requests_left = self.view.draw.below(requests_max.saturating_add(1));
        self.view.under.site.leave(change, requests_left);
    }

    /// Whether the client is dead, or dies with this request.
    fn dies(&self) -> bool {
        let mut switches = self.switches();
        match &mut switches.requests_left {
            Some(0) => switches.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        switches.dead
    }

    async fn delay(&self) {
        let (permille, delay_max, paused_until) = {
            let switches = self.switches();
            (switches.plan.delay_permille, switches.plan.delay_max, switches.paused_until)
        };
        if self.happens(permille) {
            tokio::time::sleep(self.some_of(delay_max)).await;
        }
        if let Some(until) = paused_until.filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// The error of a store that refuses at this time.
    fn refusal(&self, request: Request, path: &str) -> Option<Error> {
        let (permille, outage_max) = {
            let switches = self.switches();
            (switches.plan.outage_permille, switches.plan.outage_max)
        };
        if self.happens(permille) && !self.switches().refuses() {
            self.refuse_for(self.some_of(outage_max));
        }
        let mut switches = self.switches();
        if !switches.refuses() {
            return None;
        }
        switches.injected += 1;
        Some(Error::new(Kind::Unavailable, format!("{request:?} {path}: the store asks to slow down")))
    }

    fn next_fault(&self, request: Request, path: &str) -> Option<Fault> {
        let drawn = self.view.draw.below(WHOLE);
        let mut switches = self.switches();
        let fault = switches.once_for(request, path).or_else(|| switches.plan.fault(request, drawn));
        switches.injected += u64::from(fault.is_some());
        fault
    }

    fn flipped(&self, bytes: Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        let at = self.index(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << self.view.draw.below(8);
        }
        bytes.into()
    }

    /// A time of at most `most`.
    fn some_of(&self, most: Duration) -> Duration {
        let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.view.draw.below(most_us.saturating_add(1)))
    }

    fn index(&self, len: usize) -> usize {
        usize::try_from(self.view.draw.below(len as u64)).unwrap_or_default()
    }
}

impl Switches {
    fn refuses(&self) -> bool {
        self.refuses_until.is_some_and(|until| until > Instant::now())
    }

    fn once_for(&mut self, request: Request, path: &str) -> Option<Fault> {
        let place = self.once.iter().position(|(of, name, _)| *of == request && name == path)?;
        Some(self.once.remove(place).2)
    }
}
