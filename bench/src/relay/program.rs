//! The raw epoll relay as a program.
//!
//! Prints one line of JSON when it listens, one for each line that it reads from standard input,
//! and a last one when standard input ends; then it exits.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::relay::Relay;

/// Forwards frames between pairs of connections, as fast as the kernel allows.
#[derive(Debug, Parser)]
#[command(name = "relay", version)]
pub struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads that forward.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// A line of output. Times are those of the whole process since its start.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are the counters, and what the kernel says")]
pub struct Status {
    pub address: SocketAddr,
    pub pid: u32,
    pub connections: u64,
    pub frames: u64,
    pub bytes: u64,
    pub reads: u64,
    pub writes: u64,
    pub cpu_us: u64,
}

/// Runs until standard input ends.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut descriptors = getrlimit(Resource::Nofile);
    descriptors.current = descriptors.maximum;
    setrlimit(Resource::Nofile, descriptors)?;
    let relay = Relay::start(arguments.listen, arguments.threads)?;
    print_status(&relay)?;
    for line in io::stdin().lock().lines() {
        line?;
        print_status(&relay)?;
    }
    print_status(&relay)
}

fn print_status(relay: &Relay) -> io::Result<()> {
    let counters = relay.counters();
    let status = Status {
        address: relay.address(),
        pid: std::process::id(),
        connections: counters.connections.load(Ordering::Relaxed),
        frames: counters.frames.load(Ordering::Relaxed),
        bytes: counters.bytes.load(Ordering::Relaxed),
        reads: counters.reads.load(Ordering::Relaxed),
        writes: counters.writes.load(Ordering::Relaxed),
        cpu_us: cpu_us(),
    };
    println!("{}", serde_json::to_string(&status)?);
    Ok(())
}

/// User and system time of all threads of this process, those that ended too.
fn cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}
