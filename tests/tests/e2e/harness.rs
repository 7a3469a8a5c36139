//! The tests' own ground is firm: trees really hold what they say, servers really refuse and misbehave.

use shudao_tests::compare::{b3sums, disk_bytes, same_by_rsync, same_deep, same_oddities};
use shudao_tests::content::put;
use shudao_tests::disk::SmallDisk;
use shudao_tests::fault::{Fault, Target};
use shudao_tests::moto::{Moto, python};
use shudao_tests::oddities::plant;
use shudao_tests::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use shudao_tests::tool::{run, succeed, tool};
use tempfile::TempDir;

#[test]
fn a_planted_tree_equals_its_copy_and_every_change_is_seen() {
    let home = TempDir::new().unwrap();
    let (left, right) = (home.path().join("left"), home.path().join("right"));
    std::fs::create_dir(&left).unwrap();
    let planted = plant(&left);
    same_deep(&left.join("deep"), &left.join("deep"));
    // No copying tool reaches the deep part: it is left out here, which find must notice.
    let copy = || {
        std::fs::create_dir_all(right.join("deep")).unwrap();
        run(
            "rsync",
            ["-aHAXS", "--exclude=/deep", &format!("{}/", left.display()), &format!("{}/", right.display())],
        );
    };
    let compare = || {
        let deep_is_missing =
            std::panic::catch_unwind(|| same_oddities(&left, &right, &planted)).unwrap_err();
        deep_is_missing.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    copy();
    assert!(compare().starts_with("the deep trees differ"), "{}", compare());

    let changes: [(&str, &[&str], &str); 6] = [
        ("chmod", &["0600", "plain/contents/text"], "rsync sees"),
        ("chown", &["77", "plain/contents/text"], "rsync sees"),
        ("setfattr", &["-x", "user.empty", "plain/attributes/file"], "rsync sees"),
        ("setfacl", &["-b", "plain/attributes/guarded"], "rsync sees"),
        ("setcap", &["-r", "plain/attributes/capable"], "rsync sees"),
        ("fallocate", &["-l", "4MiB", "plain/contents/hole-last"], "plain/contents/hole-last takes"),
    ];
    for (program, args, words) in changes {
        copy();
        succeed(tool(program).args(args).current_dir(&right));
        succeed(
            tool("touch")
                .args(["-r"])
                .arg(left.join("plain/contents/hole-last"))
                .arg(right.join("plain/contents/hole-last")),
        );
        let difference = compare();
        assert!(difference.contains(words), "{program} {args:?}: {difference}");
    }
}

#[test]
fn b3sum_knows_the_empty_file() {
    let home = TempDir::new().unwrap();
    put(&home.path().join("empty"), b"");
    let sums = b3sums(home.path());
    assert_eq!(sums["empty"], "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
}

#[test]
fn a_small_disk_fills_up_and_grows() {
    let home = TempDir::new().unwrap();
    let disk = SmallDisk::mount(&home.path().join("disk"), 1 << 20);
    let file = disk.path().join("file");
    let error = std::fs::write(&file, vec![1; 2 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    disk.grow(8 << 20);
    std::fs::write(&file, vec![1; 2 << 20]).unwrap();
    assert!(disk_bytes(&file) >= 2 << 20);
}

/// A client that is not ours, over the whole of what a vault needs of S3.
const CONNECT: &str = "
import boto3, sys, concurrent.futures
from botocore.config import Config
from botocore.exceptions import ClientError
endpoint, bucket, access, secret, how = sys.argv[1:6]
def client(secret):
    return boto3.client('s3', endpoint_url=endpoint, region_name='us-east-1', aws_access_key_id=access,
        aws_secret_access_key=secret, config=Config(s3={'addressing_style': 'path'}, retries={'total_max_attempts': 1},
        request_checksum_calculation='when_required', response_checksum_validation='when_required'))
s3 = client(secret)
";

const EXERCISE: &str = "
def refused(action, *codes):
    try:
        action()
    except ClientError as error:
        status = error.response['ResponseMetadata']['HTTPStatusCode']
        assert status in codes, (status, codes)
        return
    raise AssertionError('it was accepted')
body = bytes(range(256)) * 4096
for n in range(3):
    s3.put_object(Bucket=bucket, Key=f'v/packs/{n}', Body=body, ChecksumAlgorithm='CRC32')
assert s3.get_object(Bucket=bucket, Key='v/packs/1')['Body'].read() == body
assert s3.get_object(Bucket=bucket, Key='v/packs/1', Range='bytes=256-511')['Body'].read() == bytes(range(256))
for options in ({}, {'Delimiter': ''}):
    keys = [o['Key'] for o in s3.list_objects_v2(Bucket=bucket, Prefix='v/', **options).get('Contents', [])]
    assert keys == ['v/packs/0', 'v/packs/1', 'v/packs/2'], (options, keys)
s3.put_object(Bucket=bucket, Key='v/log/0', Body=b'first', IfNoneMatch='*')
refused(lambda: s3.put_object(Bucket=bucket, Key='v/log/0', Body=b'second', IfNoneMatch='*'), 412)
assert s3.get_object(Bucket=bucket, Key='v/log/0')['Body'].read() == b'first'
def create(n):
    try:
        # Over a connection of its own: one that a refusal has closed is no answer.
        client(secret).put_object(Bucket=bucket, Key='v/log/1', Body=str(n).encode(), IfNoneMatch='*')
        return 1
    except ClientError:
        return 0
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(create, range(32))) == 1
s3.delete_object(Bucket=bucket, Key='v/packs/2')
refused(lambda: s3.get_object(Bucket=bucket, Key='v/packs/2'), 404)
if how == 'strict':
    refused(lambda: client('wrong').put_object(Bucket=bucket, Key='v/x', Body=b'x'), 403)
    refused(lambda: s3.put_object(Bucket=bucket, Key='v/x', Body=b'x', ContentMD5='AAAAAAAAAAAAAAAAAAAAAA=='), 400)
";

/// What a program of boto3, which is given `how`, prints.
fn boto(endpoint: &str, program: &str, how: &str) -> String {
    let mut client = std::process::Command::new(python());
    client.args(["-c", &format!("{CONNECT}{program}"), endpoint, BUCKET, ACCESS_KEY, SECRET_KEY, how]);
    String::from_utf8(succeed(&mut client)).unwrap().trim().to_owned()
}

#[test]
fn the_s3_server_here_serves_lists_creates_once_and_refuses_wrong_signatures() {
    boto(&S3Server::start().endpoint(), EXERCISE, "strict");
}

#[test]
fn the_s3_server_of_another_make_serves_lists_and_creates_once() {
    boto(&Moto::start().endpoint(), EXERCISE, "lenient");
}

/// One request, and what came of it: an HTTP status, the kind of an exception, or the bytes.
const REQUEST: &str = "
try:
    if how == 'put':
        s3.put_object(Bucket=bucket, Key='object', Body=b'0123456789')
        print('done')
    else:
        print(s3.get_object(Bucket=bucket, Key='object')['Body'].read().decode())
except ClientError as error:
    print(error.response['ResponseMetadata']['HTTPStatusCode'])
except Exception as error:
    print(type(error).__name__)
";

#[test]
fn planned_faults_are_what_a_client_meets_and_then_it_is_served() {
    let server = S3Server::start();
    let put = Target { method: "PUT", part: "/object" };
    let get = Target { method: "GET", part: "" };
    let request = |how| boto(&server.endpoint(), REQUEST, how);
    let stored = || std::fs::read_to_string(server.file("object")).ok();

    server.plan(&put, Fault::Unavailable, 1);
    assert_eq!((&*request("put"), stored()), ("503", None));
    server.plan(&put, Fault::HangUp, 1);
    assert_eq!((&*request("put"), stored()), ("ConnectionClosedError", None));
    server.plan(&put, Fault::LostAnswer, 1);
    assert_eq!((&*request("put"), stored().as_deref()), ("500", Some("0123456789")));
    assert_eq!(request("put"), "done");

    server.plan(&get, Fault::HalfBody, 1);
    assert_eq!(request("get"), "ResponseStreamingError");
    server.plan(&get, Fault::FlippedBit, 1);
    assert_eq!(request("get"), "0123446789");
    server.plan(&get, Fault::Delay(std::time::Duration::from_millis(10)), 1);
    assert_eq!(request("get"), "0123456789");
    assert_eq!(server.faults().left(), 0);
    assert_eq!(server.faults().requests().len(), 7);
}

#[test]
fn rsync_prints_what_differs() {
    let home = TempDir::new().unwrap();
    let (left, right) = (home.path().join("left"), home.path().join("right"));
    run("mkdir", [&left, &right]);
    let seen = std::panic::catch_unwind(|| {
        put(&right.join("extra"), b"");
        same_by_rsync(&left, &right, &[]);
    });
    assert!(seen.is_err());
}
