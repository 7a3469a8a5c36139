//! Backups and restores by clients whose line to the storage loses, repeats, delays and garbles.

use std::path::Path;
use std::time::Duration;

use shudao_mover::backup::BackupError;
use shudao_tests::content::put_noise;
use shudao_vault::Kind;
use shudao_vault::store::faults::Plan;
use shudao_vault::store::{RetryPolicy, Store, StoreOptions};
use tempfile::TempDir;

use crate::place::{Place, back_up, open_as_owner, restores_exactly, try_to_back_up};

/// Everything that can go wrong on a line, but no time goes by: these clients have threads of their own.
fn at_once(permille: u16) -> Plan {
    Plan { delay_permille: 0, outage_permille: 0, ..Plan::rough(permille) }
}

fn client(storage: &Store, seed: u64, plan: Plan) -> Store {
    let retry = RetryPolicy { attempts_max: 3, pause_first: Duration::ZERO, pause_max: Duration::ZERO };
    storage.with_faults(plan, &StoreOptions { seed, retry, ..StoreOptions::default() }).0
}

/// One client's backup; whether it was made.
async fn attempt(storage: &Store, seed: u64, root: &Path) -> bool {
    let store = client(storage, seed, at_once(30));
    let source = format!("source {}", seed % 2);
    let outcome = match open_as_owner(&store).await {
        Ok(mut vault) => try_to_back_up(&mut vault, &source, root).await,
        Err(error) => Err(BackupError::Vault(error)),
    };
    match outcome {
        Ok(_) => true,
        Err(BackupError::Vault(error)) => {
            let fault = matches!(
                error.kind(),
                Kind::Unavailable
                    | Kind::Damaged
                    | Kind::Missing
                    | Kind::Conflict
                    | Kind::NoVault
                    | Kind::WrongKey
            );
            assert!(fault, "seed {seed}: {error:?}");
            false
        }
        Err(error) => panic!("seed {seed}: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_on_the_line_each_visible_snapshot_restores_exactly() {
    let place = Place::new().await;
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("source");
    std::fs::create_dir_all(root.join("directory")).unwrap();
    let mut made = 0;
    for seed in (0..40).step_by(2) {
        put_noise(&root.join(format!("directory/{seed}")), 20_000, seed);
        let (one, other) =
            tokio::join!(attempt(place.store(), seed, &root), attempt(place.store(), seed + 1, &root));
        made += usize::from(one) + usize::from(other);
        let vault = open_as_owner(place.store()).await.unwrap();
        let visible = vault.visible();
        // A lost answer makes a run fail that was visible already; nothing that was reported as made is ever missing.
        assert!(visible.len() >= made, "seed {seed}");
        for (snapshot, _) in visible.iter().rev().take(2) {
            let to = TempDir::new().unwrap();
            restores_exactly(&vault, snapshot, &to.path().join("restored")).await;
        }
    }
    assert!((5..40).contains(&made), "{made} of 40 came through: both must happen");
    let mut vault = open_as_owner(place.store()).await.unwrap();
    let last = back_up(&mut vault, "source", &root).await.snapshot.unwrap();
    restores_exactly(&vault, &last, &directory.path().join("last")).await;
}
