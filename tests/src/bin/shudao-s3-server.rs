//! The tests' S3 server as a program, for scripts: `examples/kill.sh` uses it.
//!
//! First it prints, for each argument, a line with the address of a replica below that prefix. Then, for each line on
//! standard input, one with the bytes of all uploads begun so far, the bytes of those that were stored, and the number of
//! keys that were stored more than once. It ends with its input. The credentials are those of `shudao_tests::s3`.
#![allow(clippy::print_stdout, reason = "what it prints is its interface")]

use shudao_tests::s3::S3Server;

fn main() {
    let server = S3Server::start();
    for prefix in std::env::args().skip(1) {
        println!("{}", server.replica(&prefix));
    }
    for line in std::io::stdin().lines() {
        if line.is_err() {
            break;
        }
        let traffic = server.traffic();
        println!("{} {} {}", traffic.begun_bytes(), traffic.stored_bytes(), traffic.stored_again());
    }
}
