//! Frames, packs, segments and need lists.

use std::sync::LazyLock;

use shudao_vault::frame::{Compression, FrameName, PlainLength, Scratch, open_frame, seal_frame};
use shudao_vault::need::NeedList;
use shudao_vault::object::ObjectKind;
use shudao_vault::pack::{Directory, FinishedPack, Footer, PackContents, PackHeader, PackKind};
use shudao_vault::segment::{Segment, SegmentClear};
use shudao_vault::suite::{ObjectKey, Purpose, VerifyKey};

use crate::fixture::{VAULT, object, owner, pack, signed, signed_anew};

const SEGMENT: &str = "shudao segment";
/// Longer frames are legal; here a decompressed one must stay within what a target may take.
const PLAIN_BYTES_MAX: u32 = 64 << 10;

static KEY: LazyLock<ObjectKey> = LazyLock::new(|| ObjectKey::generate(VAULT));
static PACK: LazyLock<(FinishedPack, PackHeader, ObjectKey)> = LazyLock::new(|| {
    let pack = pack(PackKind::Content);
    let header = PackHeader::decode(&pack.bytes, VAULT).expect("the pack was just made");
    let key = owner().unwrap(&header.keys[0]).expect("the owner opens directories");
    (pack, header, key)
});

/// What lies under a frame's seal.
pub(crate) fn frame(bytes: &[u8]) -> bool {
    let name = FrameName { key: &KEY, purpose: Purpose::Content, counter: 0 };
    let sealed = KEY.seal(Purpose::Content, 0, bytes.to_vec());
    open_frame(name, &sealed, PlainLength::AtMost(PLAIN_BYTES_MAX), &mut Scratch::new()).is_ok()
}

pub(crate) fn whole(bytes: &[u8]) -> bool {
    PackContents::read(bytes, owner()).is_ok()
}

pub(crate) fn header(bytes: &[u8]) -> bool {
    drop(PackHeader::length_from(bytes, VAULT));
    PackHeader::decode(bytes, VAULT).is_ok()
}

/// The first eight bytes say how long the pack is.
pub(crate) fn footer(bytes: &[u8]) -> bool {
    let Some((length, tail)) = bytes.split_first_chunk() else { return false };
    Footer::decode(tail, u64::from_le_bytes(*length)).is_ok_and(|footer| !footer.directory_range().is_empty())
}

/// The first eight bytes say where the pack's frames end.
pub(crate) fn directory(bytes: &[u8]) -> bool {
    let Some((end, plain)) = bytes.split_first_chunk() else { return false };
    let (_, header, key) = &*PACK;
    let name = FrameName { key, purpose: Purpose::Directory, counter: 0 };
    let Ok(sealed) = seal_frame(name, plain, Compression::Stored, &mut Scratch::new()) else { return false };
    let footer = Footer { directory_offset: u64::from_le_bytes(*end), directory_length: sealed.len() as u32 };
    Directory::open(owner(), header, &footer, &sealed).is_ok()
}

fn key_of(_: shudao_vault::id::WriterId) -> Option<VerifyKey> {
    Some(owner().signing.verify_key())
}

pub(crate) fn segment(bytes: &[u8]) -> bool {
    let anew = signed_anew(bytes, SEGMENT, &owner().signing);
    drop(SegmentClear::decode(&anew, VAULT, &key_of));
    drop(Segment::decode(&anew, owner(), &key_of));
    Segment::decode(bytes, owner(), &key_of).is_ok()
}

/// What lies under a segment's seal, of a segment over one pack.
pub(crate) fn segment_body(bytes: &[u8]) -> bool {
    let name = FrameName { key: &KEY, purpose: Purpose::Segment, counter: 0 };
    let Ok(sealed) = seal_frame(name, bytes, Compression::Stored, &mut Scratch::new()) else { return false };
    let Ok(wrapped) = owner().wrap_index(&KEY) else { return false };
    let mut out = object(ObjectKind::Segment);
    // Everything that a frame or chunk says of its place is judged by the pack's size.
    out.raw(&owner().writer_id().0).varint(1).raw(&[1; 32]).u8(PackKind::Content as u8).u64(4096);
    wrapped.encode(&mut out);
    out.bytes(&sealed);
    Segment::decode(&signed(out.as_slice(), SEGMENT, &owner().signing), owner(), &key_of).is_ok()
}

pub(crate) fn need_list(bytes: &[u8]) -> bool {
    match NeedList::decode(bytes, VAULT) {
        Ok(list) => {
            drop(list.apply(std::collections::BTreeSet::new()));
            true
        }
        Err(_) => false,
    }
}
