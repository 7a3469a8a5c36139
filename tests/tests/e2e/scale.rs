//! Many files and large ones, scaled down: `examples/scale.sh` is the whole of it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use shudao_tests::compare::{disk_bytes, same_by_rsync, same_holes};
use shudao_tests::content::{Noise, put_many};
use shudao_tests::invocation::Invocation;
use shudao_tests::output::Run;
use shudao_tests::vaultbox::Vaultbox;

const MEMORY_BYTES_MAX: u64 = 300 << 20;

/// Runs to success within the bound of memory.
fn within_memory(invocation: &Invocation) -> Run {
    let (run, bytes) = invocation.run_measured();
    let run = run.ok();
    assert!(bytes < MEMORY_BYTES_MAX, "{} MiB were resident: {run}", bytes >> 20);
    run
}

#[test]
fn twenty_thousand_small_files_take_little_memory_and_come_back() {
    let place = Vaultbox::new();
    let (source, target) = (place.dir("source"), place.path("target"));
    for directory in 0..10 {
        put_many(&source.join(format!("directory-{directory}")), 2_000, 1_024);
    }
    let backup = place.owner.shudao(["backup", "--json"]).arg(&source);
    let first = within_memory(&backup);
    assert_eq!(first.count("files"), 20_000);
    let packs = std::fs::read_dir(place.vault_dir().join("packs")).unwrap().count();
    assert!(packs < 20, "small files share packs: {packs} directories of them");
    assert_eq!(within_memory(&backup).count("files_new"), 0);
    within_memory(&place.owner.shudao(["restore", "latest", "--to"]).arg(&target));
    same_by_rsync(&source, &target, &[]);
    within_memory(&place.owner.shudao(["verify", "latest"]).arg(&target));
}

#[test]
fn one_directory_of_fifty_thousand_names_takes_little_memory() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    put_many(&source.join("directory"), 50_000, 0);
    assert_eq!(within_memory(&place.owner.shudao(["backup", "--json"]).arg(&source)).count("files"), 50_000);
    assert_eq!(place.owner.run(["ls", "latest", "--json"]).ok().digests().len(), 50_000);
}

#[test]
fn a_large_sparse_file_costs_its_data_and_comes_back_sparse() {
    let place = Vaultbox::new();
    let (source, target) = (place.dir("source"), place.path("target"));
    let path = source.join("image");
    let file = File::create(&path).unwrap();
    for part in 0..16_u64 {
        file.write_all_at(&Noise::new(part).bytes(2 << 20), part * (64 << 20)).unwrap();
    }
    file.set_len(2 << 30).unwrap();
    drop(file);
    let backup = within_memory(&place.owner.shudao(["backup", "--json"]).arg(&source));
    assert!(backup.count("bytes_added") < 34 << 20, "{backup}");
    assert!(disk_bytes(&place.vault_dir()) < 36 << 20);
    within_memory(&place.owner.shudao(["restore", "latest", "--to"]).arg(&target));
    same_by_rsync(&source, &target, &[]);
    same_holes(&path, &target.join("image"));
}
