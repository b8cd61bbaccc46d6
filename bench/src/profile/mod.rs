//! What each layer of a server costs, from a profile: the stacks that `perf script` prints are
//! sorted by layer and counted, in user space and in the kernel.
//!
//! A sample belongs to the layer of its innermost function that any layer knows; what it calls in
//! libraries and in the kernel is thus counted for whoever called it. It needs a server with frame
//! pointers, and one core for all of its threads makes the counts comparable with its processor
//! time. docs/benchmarks/diary.md has the commands.

mod layers;
mod stacks;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use clap::Args;
use dunlin_loadtest::LoadtestError;
use serde::Serialize;

use layers::LAYERS;
use stacks::{Sample, Stacks};

/// Options of the command.
#[derive(Debug, Clone, Args)]
pub struct ProfileOptions {
    /// What `perf script -F comm,ip,sym` has printed; `-` is the standard input.
    pub stacks: PathBuf,
    /// Processor time of a message in microseconds, as `dunlin-loadtest` has measured it: with it,
    /// the costs of layers are times.
    #[arg(long, value_name = "MICROSECONDS")]
    pub us_per_message: Option<f64>,
    /// The report as JSON into a file; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What a profile says.
#[derive(Debug, Serialize)]
pub struct ProfileReport {
    /// Samples in all.
    pub samples: u64,
    /// Layers in the order in which a message passes them; those that were never met are left out.
    pub layers: Vec<LayerReport>,
}

/// A layer.
#[derive(Debug, Serialize)]
pub struct LayerReport {
    /// Its name.
    pub name: &'static str,
    /// Share of all samples that was in user space, from 0 to 1.
    pub user: f64,
    /// Share of all samples that was in the kernel.
    pub kernel: f64,
    /// Processor time per message, if that of all layers was given.
    pub us_per_message: Option<f64>,
}

/// Reads a profile.
pub fn read(options: &ProfileOptions) -> Result<ProfileReport, LoadtestError> {
    let input: Box<dyn BufRead> = if options.stacks.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&options.stacks);
        Box::new(BufReader::new(file.map_err(LoadtestError::machine("opening the stacks"))?))
    };
    let counts = count(input).map_err(LoadtestError::machine("reading the stacks"))?;
    Ok(counts.report(options.us_per_message))
}

/// Prints it for people.
pub fn print(report: &ProfileReport) {
    println!("{:<28} {:>7} {:>7} {:>9}", "layer", "user %", "kernel", "us");
    for LayerReport { name, user, kernel, us_per_message } in &report.layers {
        let (user, kernel) = (100.0 * user, 100.0 * kernel);
        let time = us_per_message.map_or_else(String::new, |time| format!("{time:9.3}"));
        println!("{name:<28} {user:>7.1} {kernel:>7.1} {time:>9}");
    }
    println!("{} samples", report.samples);
}

/// Samples by layer, in the order of [`LAYERS`], and of none at the end.
#[derive(Debug, Default)]
struct Counts {
    user: Vec<u64>,
    kernel: Vec<u64>,
}

fn count(input: impl BufRead) -> io::Result<Counts> {
    let places = LAYERS.len() + 1;
    let mut counts = Counts { user: vec![0; places], kernel: vec![0; places] };
    for sample in Stacks::new(input) {
        let sample = sample?;
        let place = layer_of(&sample).unwrap_or(LAYERS.len());
        let side = if sample.in_kernel { &mut counts.kernel } else { &mut counts.user };
        side[place] += 1;
    }
    Ok(counts)
}

/// Of the innermost function that a layer knows.
fn layer_of(sample: &Sample) -> Option<usize> {
    let of_function =
        |function: &String| LAYERS.iter().position(|layer| layer.knows(&sample.thread, function));
    sample.functions.iter().find_map(of_function)
}

impl Counts {
    fn report(&self, us_per_message: Option<f64>) -> ProfileReport {
        let samples = self.user.iter().chain(&self.kernel).sum::<u64>();
        let share = |count: u64| count as f64 / samples.max(1) as f64;
        let names = LAYERS.iter().map(|layer| layer.name).chain(["other"]);
        let sides = self.user.iter().zip(&self.kernel);
        let layers = names.zip(sides).filter(|(_, (user, kernel))| *user + *kernel > 0);
        let layers = layers.map(|(name, (&user, &kernel))| LayerReport {
            name,
            user: share(user),
            kernel: share(kernel),
            us_per_message: us_per_message.map(|all| all * share(user + kernel)),
        });
        ProfileReport { samples, layers: layers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: &str = "\
shard-0
\tffffffff81b69d34 _copy_from_iter
\tffffffff8200de03 tcp_sendmsg_locked
\t           fde9d __GI___writev
\t          22f468 dunlin_gateway::shard::write::<impl dunlin_gateway::shard::Shard>::flush_dirty
\t          22bcd4 dunlin_gateway::shard::Shard::tick

shard-0
\t          1d35b5 __memmove_avx512_unaligned_erms
\t          1d35b6 dunlin_core::entry::encode_message
\t          1d35b7 dunlin_core::worker::Worker::handle
\t          22bcd4 dunlin_gateway::shard::Shard::tick

store-commit
\t          1d35b5 crc32c::hw_x86_64::crc32c
\t          1d35b6 dunlin_core::store::embedded::record::encode_record
\t          1d35b7 dunlin_core::store::embedded::lane::Lane::run

a stranger
\t          1d35b5 somewhere::else
";

    #[test]
    fn a_sample_counts_for_the_innermost_layer() {
        let report = count(STACKS.as_bytes()).unwrap().report(Some(4.0));
        assert_eq!(report.samples, 4);
        let found: Vec<_> =
            report.layers.iter().map(|layer| (layer.name, layer.user, layer.kernel)).collect();
        let expected = [
            ("encode", 0.25, 0.0),
            ("write", 0.0, 0.25),
            ("store: encode and checksum", 0.25, 0.0),
            ("other", 0.25, 0.0),
        ];
        assert_eq!(found, expected);
        assert!(report.layers.iter().all(|layer| layer.us_per_message == Some(1.0)));
    }

    #[test]
    fn a_profile_without_samples_costs_nothing() {
        let report = count(&b""[..]).unwrap().report(None);
        assert_eq!((report.samples, report.layers.len()), (0, 0));
    }
}
