use proptest::prelude::*;

use super::*;
use crate::id::VaultId;
use crate::suite::{ObjectKey, VerifyKey};

const CHEAP: (u32, u32, u32) = (8, 1, 1);

fn cheap() -> KdfCost {
    KdfCost::new(CHEAP.0, CHEAP.1, CHEAP.2).unwrap()
}

fn vault() -> (KeyRing, VaultFile) {
    let owner = KeyRing::create(VaultId([5; 16]));
    let file = VaultFile::new(owner.vault, owner.signing.verify_key());
    (owner, file)
}

fn make(owner: &KeyRing, file: &VaultFile, ring: &KeyRing, lock: Lock<'_>) -> (Vec<u8>, Vec<Share>) {
    let new = NewSlot { ring, label: "a label", lock, created: Timestamp(7) };
    let (slot, shares) = KeySlot::create(owner, file, &new).unwrap();
    let bytes = slot.sign(file, &owner.signing);
    assert_eq!(KeySlot::decode(&bytes, file).unwrap(), slot);
    (bytes, shares)
}

fn assert_same(left: &KeyRing, right: &KeyRing) {
    assert_eq!(left.role, right.role);
    assert_eq!(left.signing.seed(), right.signing.seed());
    assert_eq!(left.chunk_id, right.chunk_id);
    assert_eq!((&left.gear, &left.boundary), (&right.gear, &right.boundary));
    assert_eq!(left.read_public, right.read_public);
    assert_eq!(left.read_secrets, right.read_secrets);
    assert_eq!(left.metadata, right.metadata);
    assert_eq!(left.trees, right.trees);
    assert_eq!(left.index, right.index);
    assert_eq!(left.predecessors, right.predecessors);
}

#[test]
fn every_role_comes_back_whole_through_every_method() {
    let (mut owner, file) = vault();
    owner.rotate().unwrap();
    let first = owner.issue(Role::Writer, &[]).unwrap();
    let second = owner.issue(Role::Writer, &[first.writer_id(), owner.writer_id()]).unwrap();
    let keeper = owner.issue(Role::Keeper, &[]).unwrap();
    let (public, identity) = generate_read_pair();
    for ring in [&owner, &first, &second, &keeper] {
        let (bytes, _) = make(&owner, &file, ring, Lock::Passphrase("secret", cheap()));
        let opened = open_slot(&bytes, &Unlock::Passphrase("secret"), &file).unwrap().unwrap();
        assert_same(&opened, ring);
        assert!(open_slot(&bytes, &Unlock::Passphrase("Secret"), &file).unwrap().is_none());
        assert!(open_slot(&bytes, &Unlock::Identity(&identity), &file).unwrap().is_none());

        let (bytes, _) = make(&owner, &file, ring, Lock::Recipient(&public));
        assert_same(&open_slot(&bytes, &Unlock::Identity(&identity), &file).unwrap().unwrap(), ring);
        let stranger = generate_read_pair().1;
        assert!(open_slot(&bytes, &Unlock::Identity(&stranger), &file).unwrap().is_none());

        let (bytes, shares) = make(&owner, &file, ring, Lock::Shares { threshold: 2, count: 3 });
        assert_same(&open_slot(&bytes, &Unlock::Shares(&shares[1..]), &file).unwrap().unwrap(), ring);
        assert_eq!(open_slot(&bytes, &Unlock::Shares(&shares[..1]), &file).unwrap_err().kind(), Kind::Input);
        assert!(open_slot(&bytes, &Unlock::Shares(&[]), &file).unwrap().is_none());
    }
}

#[test]
fn each_role_holds_exactly_its_keys() {
    let (mut owner, _) = vault();
    let first = owner.issue(Role::Writer, &[]).unwrap();
    let second = owner.issue(Role::Writer, &[first.writer_id()]).unwrap();
    let keeper = owner.issue(Role::Keeper, &[]).unwrap();
    assert!(second.reads_names_of(first.writer_id()) && !first.reads_names_of(second.writer_id()));
    assert!(!first.reads_names_of(owner.writer_id()) && keeper.reads_names_of(first.writer_id()));
    for (ring, reads) in [(&owner, true), (&first, false), (&keeper, false)] {
        assert_eq!(ring.reads_content(), reads);
        assert_eq!(ring.gear.is_some(), ring.role != Role::Keeper);
        assert_eq!(ring.boundary.is_some(), ring.role != Role::Keeper);
        assert_eq!(ring.metadata.is_empty(), ring.role == Role::Writer);
    }
    let tree = first.wrap_tree(&ObjectKey::generate(owner.vault)).unwrap();
    for (ring, opens) in [(&owner, true), (&first, true), (&second, true), (&keeper, true)] {
        assert_eq!(ring.unwrap(&tree).is_ok(), opens);
    }
    let content = first.wrap_content(&ObjectKey::generate(owner.vault));
    for (ring, opens) in [(&owner, true), (&first, false), (&second, false), (&keeper, false)] {
        assert_eq!(ring.unwrap(&content).is_ok(), opens);
    }
    for ring in [&first, &keeper] {
        assert_eq!(ring.issue(Role::Writer, &[]).unwrap_err().kind(), Kind::Forbidden);
        assert_eq!(ring.issue(Role::Owner, &[]).unwrap_err().kind(), Kind::Forbidden);
        assert_eq!(ring.clone().rotate().unwrap_err().kind(), Kind::Forbidden);
    }
    owner.rotate().unwrap();
    assert!(owner.unwrap(&content).is_ok() && owner.unwrap(&tree).is_ok());
}

#[test]
fn a_rotation_reaches_every_slot_without_its_passphrase() {
    let (mut owner, file) = vault();
    let writer = owner.issue(Role::Writer, &[]).unwrap();
    let (owner_slot, _) = make(&owner, &file, &owner, Lock::Passphrase("owner", cheap()));
    let (writer_slot, _) = make(&owner, &file, &writer, Lock::Passphrase("writer", cheap()));
    owner.rotate().unwrap();
    let reseal = |bytes: &[u8]| {
        let old = KeySlot::decode(bytes, &file).unwrap();
        let new = old.reseal(&owner, &file, &[]).unwrap();
        assert_eq!((new.id, new.holder, &new.method), (old.id, old.holder, &old.method));
        new.sign(&file, &owner.signing)
    };
    let opened = open_slot(&reseal(&owner_slot), &Unlock::Passphrase("owner"), &file).unwrap().unwrap();
    assert_same(&opened, &owner);
    let opened = open_slot(&reseal(&writer_slot), &Unlock::Passphrase("writer"), &file).unwrap().unwrap();
    assert_eq!(opened.writer_id(), writer.writer_id());
    assert_eq!(opened.read_public, owner.read_public);
    assert_eq!(opened.trees.keys().map(|(_, generation)| *generation).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(opened.wrap_content(&ObjectKey::generate(owner.vault)).name.generation, 2);
}

#[test]
fn a_generated_passphrase_opens_however_it_is_typed() {
    let (owner, file) = vault();
    let text = passphrase::generate_passphrase();
    let (bytes, _) = make(&owner, &file, &owner, Lock::Passphrase(&text, cheap()));
    let typed = text.to_lowercase().replace('-', " ");
    assert!(open_slot(&bytes, &Unlock::Passphrase(&typed), &file).unwrap().is_some());
}

#[test]
fn a_replaced_vault_file_is_refused_before_anything_is_unlocked() {
    let (owner, file) = vault();
    let (bytes, _) = make(&owner, &file, &owner, Lock::Passphrase("secret", cheap()));
    let unlock = Unlock::Passphrase("wrong, and never tried");
    let attacker = VaultFile::new(file.vault, SigningKey::generate().verify_key());
    let other_vault = VaultFile::new(VaultId([6; 16]), file.owner);
    let mut other_suite = file.clone();
    other_suite.suite = "std-9".to_owned();
    for replaced in [attacker, other_vault, other_suite] {
        assert_eq!(open_slot(&bytes, &unlock, &replaced).unwrap_err().kind(), Kind::Damaged);
    }
}

#[test]
fn a_slot_of_anothers_making_is_refused() {
    let (owner, file) = vault();
    let attacker = KeyRing::create(file.vault);
    let own_file = VaultFile::new(file.vault, attacker.signing.verify_key());
    let (bytes, _) = make(&attacker, &own_file, &attacker, Lock::Passphrase("secret", cheap()));
    let unlock = Unlock::Passphrase("secret");
    assert_eq!(open_slot(&bytes, &unlock, &file).unwrap_err().kind(), Kind::Damaged);
    let new = NewSlot {
        ring: &attacker,
        label: "",
        lock: Lock::Passphrase("secret", cheap()),
        created: Timestamp(0),
    };
    assert_eq!(KeySlot::create(&attacker, &file, &new).unwrap_err().kind(), Kind::Forbidden);
    // Even signed by the owner, a slot whose inside is another vault file's is refused.
    let (slot, _) = KeySlot::create(&attacker, &own_file, &new).unwrap();
    let forged = KeySlot { vault_file: file.hash(), ..slot }.sign(&file, &owner.signing);
    assert_eq!(open_slot(&forged, &unlock, &file).unwrap_err().kind(), Kind::Damaged);
    let posing = KeyRing { role: Role::Writer, ..attacker.clone() };
    assert!(KeySlot::create(&posing, &own_file, &new).is_err());
}

#[test]
fn a_slot_whose_inside_is_another_holders_is_refused() {
    let (owner, file) = vault();
    let (public, identity) = generate_read_pair();
    let writers = [owner.issue(Role::Writer, &[]).unwrap(), owner.issue(Role::Writer, &[]).unwrap()];
    let [first, second] = writers.map(|ring| {
        let new = NewSlot { ring: &ring, label: "", lock: Lock::Recipient(&public), created: Timestamp(0) };
        KeySlot::create(&owner, &file, &new).unwrap().0
    });
    let renamed = KeySlot { holder: second.holder, ..first.clone() };
    let promoted = KeySlot { role: Role::Owner, ..first.clone() };
    let moved = KeySlot { id: second.id, ..first.clone() };
    let mixed = KeySlot { bundle: second.bundle.clone(), ..first };
    for slot in [renamed, promoted, moved, mixed] {
        let bytes = slot.sign(&file, &owner.signing);
        let error = open_slot(&bytes, &Unlock::Identity(&identity), &file).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
    }
}

#[test]
fn the_right_slot_is_found_among_many_and_damage_outranks_a_wrong_password() {
    let (owner, file) = vault();
    let writer = owner.issue(Role::Writer, &[]).unwrap();
    let (first, _) = make(&owner, &file, &owner, Lock::Passphrase("first", cheap()));
    let (second, _) = make(&owner, &file, &writer, Lock::Passphrase("second", cheap()));
    let mut damaged = first.clone();
    damaged[60] ^= 1;
    let open = |slots: &[&[u8]], text: &str| {
        open_slots(slots.iter().copied(), &Unlock::Passphrase(text), &file).map(|ring| ring.role)
    };
    assert_eq!(open(&[&damaged, &first, &second], "second").unwrap(), Role::Writer);
    assert_eq!(open(&[&first, &second], "third").unwrap_err().kind(), Kind::WrongKey);
    assert_eq!(open(&[], "first").unwrap_err().kind(), Kind::WrongKey);
    assert_eq!(open(&[&damaged, &second], "first").unwrap_err().kind(), Kind::Damaged);
}

#[test]
fn passphrase_parameters_are_bounded_on_reading() {
    for (memory_kib, passes, lanes, legal) in [
        (128 << 10, 3, 1, true),
        (1 << 20, 10, 8, true),
        ((1 << 20) + 1, 3, 1, false),
        (64, 11, 1, false),
        (1 << 10, 1, 9, false),
        (7, 1, 1, false),
        (15, 1, 2, false),
        (8, 0, 1, false),
        (8, 1, 0, false),
        (u32::MAX, u32::MAX, u32::MAX, false),
    ] {
        assert_eq!(KdfCost::new(memory_kib, passes, lanes).is_some(), legal);
        let mut out = Encoder::new();
        out.u8(1).u32(memory_kib).u32(passes).u32(lanes).raw(&[0; 32]).raw(&[0; SEALED_SECRET_BYTES]);
        let bytes = out.finish();
        assert_eq!(decode_method(&mut Decoder::new(&bytes, "slot")).is_ok(), legal);
    }
    assert_eq!(KdfCost::STANDARD.parameters(), (128 << 10, 3, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn altered_slots_are_refused_and_signed_junk_never_panics(
        at: prop::sample::Index, bit in 0u8..8, junk: Vec<u8>,
    ) {
        let (owner, file) = vault();
        let (bytes, _) = make(&owner, &file, &owner, Lock::Shares { threshold: 1, count: 1 });
        let mut bad = bytes.clone();
        bad[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(KeySlot::decode(&bad, &file).is_err());
        prop_assert!(KeySlot::decode(&bytes[..at.index(bytes.len())], &file).is_err());
        // The owner's own key signs nonsense: the decoder stands alone.
        let cut = at.index(bytes.len() - 64);
        let mut out = Encoder::new();
        out.raw(&bytes[..cut]).raw(&junk);
        let _ = KeySlot::decode(&signed(out, DOMAIN, &owner.signing), &file);
    }

    #[test]
    fn bundles_round_trip_and_mutated_ones_never_panic(
        rotations in 0usize..4, predecessors in 0u8..4, role in 0usize..3,
        at: prop::sample::Index, change: u8, junk: Vec<u8>,
    ) {
        let (mut owner, file) = vault();
        for _ in 0..rotations {
            owner.rotate().unwrap();
        }
        let predecessors: Vec<WriterId> = (0..predecessors).map(|n| WriterId([n; 16])).collect();
        let ring = owner.issue([Role::Owner, Role::Writer, Role::Keeper][role], &predecessors).unwrap();
        let grant = Grant { role: ring.role, holder: ring.writer_id(), predecessors: &ring.predecessors };
        let bytes = Bundle::derive(&owner, &grant).unwrap().encode(&file);
        assert_same(&Bundle::decode(&bytes, &file).unwrap().with_signing(ring.signing.clone()), &ring);
        let mut bad = bytes.to_vec();
        bad[at.index(bytes.len())] = change;
        let _ = Bundle::decode(&bad, &file);
        prop_assert!(Bundle::decode(&bytes[..at.index(bytes.len())], &file).is_err());
        let mut out = Encoder::new();
        out.raw(&bytes[..at.index(bytes.len())]).raw(&junk);
        let _ = Bundle::decode(&out.finish(), &file);
    }
}

#[test]
fn a_bundle_names_its_vault_file_and_owner() {
    let (owner, file) = vault();
    let grant = Grant { role: Role::Owner, holder: owner.writer_id(), predecessors: &[] };
    let bytes = Bundle::derive(&owner, &grant).unwrap().encode(&file);
    for other in
        [VaultFile::new(file.vault, VerifyKey([1; 32])), VaultFile::new(VaultId([9; 16]), file.owner)]
    {
        assert_eq!(Bundle::decode(&bytes, &other).unwrap_err().kind(), Kind::Damaged);
    }
}
