use super::*;
use crate::id::{SessionId, SourceId, VaultId};
use crate::keys::{Certificate, Role};
use crate::log::statement::KeyPresence;
use crate::store::faults::{Fault, Faults, Plan, Request};
use crate::store::{RetryPolicy, StoreOptions};
use crate::suite::Secret;
use crate::vault_file::VaultFile;

const VAULT: VaultId = VaultId([3; 16]);
const SOURCE: SourceId = SourceId([5; 16]);
const TIME: Timestamp = Timestamp(1_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret([seed; 32]))
}

fn state() -> State {
    State::new(VaultFile::new(VAULT, key(1).verify_key()))
}

fn signer(key: &SigningKey) -> Signer<'_> {
    Signer { key, time: TIME }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn born(store: &Store) -> State {
    let (owner, mut state) = (key(1), state());
    let replica = ReplicaId([4; 16]);
    birth(store, &mut state, signer(&owner), Birth { replica, name: "here", config: Config::default() })
        .await
        .unwrap();
    state
}

async fn certify(store: &Store, state: &mut State, writer: &SigningKey) {
    let owner = key(1);
    let certificate = Certificate::new(writer.verify_key(), Role::Writer, "", TIME);
    let bytes = certificate.sign(VAULT, &owner).unwrap();
    let decide = |state: &State| {
        let subject = writer.verify_key().writer_id().0;
        let body = Body::Key { subject, presence: KeyPresence::Certificate(bytes.clone()) };
        let author = owner.verify_key().writer_id();
        let statement = Statement { author, time: TIME, serial: state.next_serial(), body };
        Ok(Some(Op::Publish { statement: statement.sign(VAULT, &owner)? }))
    };
    append(store, state, signer(&owner), decide).await.unwrap();
}

fn begin(number: u8) -> Op {
    Op::Begin { session: SessionId([number; 16]), source: SOURCE, parent: None }
}

#[test]
fn two_clients_who_race_both_succeed_and_see_the_same_log() {
    run(async {
        let store = Store::memory();
        let mut first = born(&store).await;
        let writer = key(2);
        certify(&store, &mut first, &writer).await;
        let mut second = state();
        catch_up(&store, &mut second).await.unwrap();
        let (owner, other_store) = (key(1), store.clone());
        // The other client appends after this one has decided and before it puts, three times.
        let mut others: Vec<u8> = vec![11, 12, 13];
        let mut asked = 0;
        let n = append(&store, &mut first, signer(&writer), |state| {
            asked += 1;
            if let Some(number) = others.pop() {
                assert_eq!(state.next(), second.next());
                let bytes = sign(&second, signer(&owner), begin(number)).unwrap();
                let path = log_path(second.next());
                run_now(other_store.create(&path, bytes.clone().into())).unwrap();
                second.fold(second.next(), &bytes).unwrap();
            }
            Ok(Some(begin(1)))
        })
        .await
        .unwrap();
        assert_eq!((asked, n), (4, Some(5)));
        catch_up(&store, &mut second).await.unwrap();
        assert_eq!((first.next(), first.head()), (second.next(), second.head()));
        assert_eq!(first.open_sessions().count(), 4);
    });
}

/// The store in memory is always ready.
fn run_now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the store in memory is always ready"),
    }
}

#[test]
fn a_race_is_decided_again_on_the_new_state() {
    run(async {
        let store = Store::memory();
        let mut mine = born(&store).await;
        let mut other = mine.clone();
        let owner = key(1);
        append(&store, &mut other, signer(&owner), |_| Ok(Some(begin(1)))).await.unwrap();
        let only_if_none = |state: &State| Ok((state.open_sessions().count() == 0).then(|| begin(2)));
        assert_eq!(append(&store, &mut mine, signer(&owner), only_if_none).await.unwrap(), None);
        assert_eq!(mine.head(), other.head());
    });
}

/// A store in memory that asks once and never again: what becomes of a lost answer is its caller's.
fn asked_once() -> (Store, Faults) {
    let retry = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    Store::memory().with_faults(Plan::default(), &StoreOptions { retry, ..StoreOptions::default() })
}

#[test]
fn a_lost_acknowledgement_is_found_to_be_ones_own_success() {
    run(async {
        let (store, faults) = asked_once();
        let mut state = born(&store).await;
        faults.once(Request::Create, "log/1", Fault::LostAnswer);
        let n = append(&store, &mut state, signer(&key(1)), |_| Ok(Some(begin(1)))).await.unwrap();
        assert_eq!((n, store.usage().writes), (Some(1), 2));
        assert_eq!(state.open_sessions().count(), 1);
        assert_eq!(store.read("log/2").await.unwrap_err().kind(), Kind::Missing);
    });
}

#[test]
fn a_lost_request_is_put_again_with_the_same_bytes() {
    run(async {
        let (store, faults) = asked_once();
        let mut state = born(&store).await;
        faults.once(Request::Create, "log/1", Fault::LostRequest);
        let mut asked = 0;
        let decide = |_: &State| {
            asked += 1;
            Ok(Some(begin(1)))
        };
        assert_eq!(append(&store, &mut state, signer(&key(1)), decide).await.unwrap(), Some(1));
        assert_eq!((asked, store.usage().writes), (1, 3));
    });
}

#[test]
fn an_entry_that_the_line_garbles_is_read_again_and_never_built_upon() {
    for fault in [Fault::Flipped, Fault::Cut] {
        run(async {
            let (store, faults) = asked_once();
            let mut mine = born(&store).await;
            let mut other = mine.clone();
            append(&store, &mut other, signer(&key(1)), |_| Ok(Some(begin(1)))).await.unwrap();
            faults.once(Request::Read, "log/1", fault);
            append(&store, &mut mine, signer(&key(1)), |_| Ok(Some(begin(2)))).await.unwrap();
            assert_eq!(catch_up(&store, &mut other).await.unwrap(), [], "{fault:?}");
            assert_eq!(mine.head(), other.head());
        });
    }
}

#[test]
fn what_is_garbage_in_the_store_itself_is_passed_over_by_everybody() {
    run(async {
        let (store, _) = asked_once();
        let mut state = born(&store).await;
        store.create("log/1", Bytes::from_static(b"no entry")).await.unwrap();
        assert_eq!(catch_up(&store, &mut state).await.unwrap().len(), 1);
        assert_eq!(
            append(&store, &mut state, signer(&key(1)), |_| Ok(Some(begin(1)))).await.unwrap(),
            Some(2)
        );
    });
}

#[test]
fn ones_own_entry_is_recognised_through_a_line_that_garbles_it() {
    run(async {
        let (store, faults) = asked_once();
        let mut state = born(&store).await;
        faults.once(Request::Create, "log/1", Fault::LostAnswer);
        faults.once(Request::Read, "log/1", Fault::Flipped);
        let mut asked = 0;
        let decide = |_: &State| {
            asked += 1;
            Ok(Some(begin(1)))
        };
        assert_eq!(append(&store, &mut state, signer(&key(1)), decide).await.unwrap(), Some(1));
        assert_eq!(asked, 1);
    });
}

#[test]
fn an_entry_without_effect_is_not_put() {
    run(async {
        let store = Store::memory();
        let mut state = born(&store).await;
        let writer = key(2);
        certify(&store, &mut state, &writer).await;
        let creates = store.usage().writes;
        let forget = |_: &State| Ok(Some(Op::Forget { snapshots: Vec::new() }));
        let stranger = key(9);
        for (key, kind) in [(&writer, Kind::Forbidden), (&stranger, Kind::Forbidden)] {
            assert_eq!(append(&store, &mut state, signer(key), forget).await.unwrap_err().kind(), kind);
        }
        append(&store, &mut state, signer(&writer), |_| Ok(Some(begin(1)))).await.unwrap();
        let again = append(&store, &mut state, signer(&writer), |_| Ok(Some(begin(1)))).await;
        assert_eq!(again.unwrap_err().kind(), Kind::Conflict);
        assert_eq!(store.usage().writes, creates + 1);
    });
}

#[test]
fn catching_up_tells_which_entries_had_no_effect() {
    run(async {
        let store = Store::memory();
        let mut mine = born(&store).await;
        let mut other = mine.clone();
        store.create("log/1", Bytes::from_static(b"junk")).await.unwrap();
        append(&store, &mut mine, signer(&key(1)), |_| Ok(Some(begin(1)))).await.unwrap();
        let void = catch_up(&store, &mut other).await.unwrap();
        assert_eq!(void.len(), 1);
        assert_eq!(void[0].n, 1);
        assert!(matches!(void[0].reason, Reason::Garbage(_)));
        assert_eq!((other.next(), other.head()), (3, mine.head()));
    });
}

#[test]
fn a_replica_is_born_once_and_nothing_is_appended_before() {
    run(async {
        let store = Store::memory();
        let owner = key(1);
        let error = append(&store, &mut state(), signer(&owner), |_| Ok(Some(begin(1)))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NoVault);
        born(&store).await;
        let again = Birth { replica: ReplicaId([5; 16]), name: "", config: Config::default() };
        let error = birth(&store, &mut state(), signer(&owner), again).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
    });
}
