//! What a newcomer runs first.

use shudao_tests::binary::binary;
use shudao_tests::content::plant_small;
use shudao_tests::tool::{finish, source_dir, succeed, tool};
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn the_round_trip_example_finds_no_difference() {
    let mut example = tool("bash");
    let output = succeed(example.arg(source_dir().join("examples/roundtrip.sh")).env("SHUDAO_BIN", binary()));
    let text = String::from_utf8_lossy(&output);
    assert!(text.contains("PASS"), "{text}");
}

#[test]
fn a_backup_that_is_killed_again_and_again_loses_nothing_and_uploads_nothing_twice() {
    let mut example = tool("bash");
    example.arg(source_dir().join("examples/kill.sh")).env("SHUDAO_BIN", binary());
    example.env("S3_SERVER_BIN", env!("CARGO_BIN_EXE_shudao-s3-server"));
    // Waste that is a constant a kill weighs more, the less there is to store.
    example.env("KILL_COUNT", "6").env("KILL_MIB", "80");
    let output = finish(&mut example);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.matches("PASS  ").count() == 9 && !text.contains("FAIL"), "{text}");
}

#[test]
fn quickstart_does_the_whole_job_and_leaves_nothing_but_what_it_names() {
    let place = Vaultbox::empty();
    let data = place.dir("data");
    plant_small(&data, 1);
    let before = shudao_tests::compare::fingerprint(&data);
    let rooms = place.dir("rooms");
    let quickstart = place.owner.bare(["quickstart"]).arg(&data).env("TMPDIR", &rooms).run().ok();
    assert!(quickstart.mentions("shudao backup") && quickstart.mentions("shudao restore"), "{quickstart}");
    assert!(shudao_tests::compare::fingerprint(&data) == before, "the directory it was given is not touched");
    for entry in std::fs::read_dir(&rooms).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(quickstart.mentions(&name), "{name} is left and not named: {quickstart}");
    }
}
