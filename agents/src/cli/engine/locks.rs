//! Keeping objects locked: passes, settings, and how locks are.

use shudao_vault::lock_pass::{self, LockReview, LockRules};
use shudao_vault::log::LockSettings;
use shudao_vault::needed::NeedReader;
use shudao_vault::replica::Replica;
use shudao_vault::vault::chain;

use super::{OpenVault, now};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::messages::Notice;
use crate::cli::path::escaped;
use crate::cli::report::{LockLine, LockState};
use crate::cli::request::LockRequest;
use crate::cli::show;

/// What a pass would lock now, by what is settled, or by `request` on every opened replica.
pub(crate) async fn lock_plans(vault: &OpenVault, request: Option<&LockRequest>) -> Result<Vec<LockLine>> {
    let replicas = vault.replicas().await;
    let mut lines = Vec::new();
    for (address, replica) in vault.addresses().into_iter().zip(replicas.iter()) {
        let Some(rules) = request.map(rules_of).or_else(|| replica.lock_rules()) else { continue };
        let needed = NeedReader::default().needed(replica, now()).await?;
        let objects = lock_pass::pass_objects(replica, &needed) as u64;
        lines.push(LockLine {
            replica: address.to_owned(),
            mode: rules.mode,
            until: rules.wanted(now()).until,
            next_pass: rules.generations.next_pass(now()),
            objects,
            extended: 0,
            covered: 0,
            failed: Vec::new(),
        });
    }
    Ok(lines)
}

fn rules_of(request: &LockRequest) -> LockRules {
    LockRules::of(&settings_of(request))
}

fn settings_of(request: &LockRequest) -> LockSettings {
    LockSettings {
        mode: request.mode,
        keep_days: request.keep_days,
        generation_days: request.generation_days,
        since: now(),
    }
}

/// Settles how the opened replicas are kept locked.
pub(crate) async fn set_locks(ctx: &Context, vault: &OpenVault, request: Option<LockRequest>) -> Result<()> {
    let mut opened = vault.opened()?.lock().await;
    let set = opened.set_locks(request.as_ref().map(settings_of), now()).await;
    vault.settle(ctx, &mut opened).await;
    Ok(set?)
}

/// Makes a pass over every opened replica for which locks are settled.
pub(crate) async fn lock(ctx: &Context, vault: &OpenVault) -> Result<Vec<LockLine>> {
    let replicas = vault.replicas().await;
    let mut lines = Vec::new();
    for (address, replica) in vault.addresses().into_iter().zip(replicas.iter()) {
        // A pass that is cut off is gone on with by the next one.
        lines.extend(ctx.stop.or(lock_replica(address, replica)).await??);
    }
    Ok(lines)
}

/// Makes a pass over the replica at `place`; none if no locks are settled for it.
pub(crate) async fn lock_at(vault: &OpenVault, place: usize) -> Result<Option<LockLine>> {
    let (replicas, addresses) = (vault.replicas().await, vault.addresses());
    lock_replica(addresses[place], &replicas[place]).await
}

async fn lock_replica(address: &str, replica: &Replica) -> Result<Option<LockLine>> {
    let Some(rules) = replica.lock_rules() else { return Ok(None) };
    lock_pass::must_have_locks(replica).await?;
    let needed = NeedReader::default().needed(replica, now()).await?;
    let report = lock_pass::lock_pass(replica, &needed, rules, now()).await;
    let mut failed: Vec<String> = report.failed.iter().map(|error| chain(error)).collect();
    // Of what cannot be read nobody knows what it needs.
    failed.extend(
        needed.unread().iter().map(|id| format!("what snapshot {} needs cannot be read", id.short())),
    );
    let (extended, covered) = (report.extended as u64, report.covered as u64);
    Ok(Some(LockLine {
        replica: address.to_owned(),
        mode: rules.mode,
        until: report.until,
        next_pass: report.next_pass,
        objects: extended + covered + report.failed.len() as u64,
        extended,
        covered,
        failed,
    }))
}

/// How the locks of each opened replica are, by a sample that tells soon; none where none are settled.
pub(crate) async fn lock_samples(vault: &OpenVault) -> Vec<Option<LockState>> {
    let replicas = vault.replicas().await;
    let mut states = Vec::new();
    for replica in replicas.iter() {
        states.push(match replica.lock_rules() {
            Some(rules) => Some(state(replica, lock_pass::review_sample(replica, rules, now()).await)),
            None => None,
        });
    }
    states
}

/// How the locks of everything are that the replica at `place` needs; none where no locks are settled.
pub(crate) async fn lock_review(vault: &OpenVault, place: usize) -> Result<Option<LockState>> {
    let replicas = vault.replicas().await;
    let replica = &replicas[place];
    let Some(rules) = replica.lock_rules() else { return Ok(None) };
    let needed = NeedReader::default().needed(replica, now()).await?;
    Ok(Some(state(replica, lock_pass::review(replica, &needed, rules, now()).await)))
}

fn state(replica: &Replica, review: LockReview) -> LockState {
    let id = replica.state().replica().unwrap_or_default();
    let settings = replica.state().config().lock_of(id);
    LockState {
        mode: settings.map(|settings| settings.mode),
        keep_days: settings.map_or(0, |settings| settings.keep_days),
        generation_days: settings.map_or(0, |settings| settings.generation_days),
        looked: review.looked as u64,
        unlocked: review.unlocked.len() as u64,
        short: review.short.len() as u64,
        first_end: review.first_end,
        example: review.unlocked.into_iter().chain(review.short).next(),
        failed: review.failed.iter().map(|error| chain(error)).collect(),
    }
}

/// Says which locks are not as they should be.
pub(crate) fn warn_of_locks(ctx: &Context, address: &str, locks: Option<&LockState>) {
    let Some(locks) = locks else { return };
    if let Some(example) = &locks.example {
        ctx.output.warning(&Notice::LocksWanting {
            address: escaped(address),
            unlocked: show::count(locks.unlocked),
            short: show::count(locks.short),
            looked: show::count(locks.looked),
            example: escaped(example),
        });
    }
    if let Some(why) = locks.failed.first() {
        ctx.output.warning(&Notice::LocksUnseen { address: escaped(address), why: escaped(why) });
    }
}
