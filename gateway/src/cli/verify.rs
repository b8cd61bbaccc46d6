//! `dunlin verify`: is all that was stored still there, and whole?

use std::path::Path;
use std::time::{Duration, Instant};

use dunlin_core::store::embedded::{VerifyProgress, verify_folder};

use super::{Failure, SettingsArgs, printed};
use crate::admin::{
    Access, Missing, Reply, Request, damage_lines, dead_lines, loss_lines, verified_reply,
};
use crate::backup;
use crate::config::{Checked, Store};
use crate::log;
use crate::node::data::DataFolder;

/// Between two lines that say how far it has come.
const TELL_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn run(
    settings: &SettingsArgs,
    of_backup: Option<&Path>,
    acknowledges: bool,
) -> Result<(), Failure> {
    let checked = settings.for_command()?;
    if let Some(folder) = of_backup {
        let report = backup::check(folder)?;
        let (entries, segments) = (report.entries, report.segments);
        let lines = [
            damage_lines(&report.damage),
            loss_lines(&report.losses, report.losses_left_out),
            dead_lines(&report.dead),
        ];
        printed(|out| lines.iter().flatten().try_for_each(|line| writeln!(out, "{line}")))?;
        if !report.damage.is_empty() {
            let places = report.damage.len();
            return Err(format!(
                "the store was damaged when this backup was made: {places} places; \
                 {entries} entries in {segments} segments are whole"
            )
            .into());
        }
        return printed(|out| {
            writeln!(out, "the backup is whole: {entries} entries in {segments} segments")
        });
    }
    if acknowledges {
        let mut access = Access::open(&checked, Missing::Refuse)?;
        let answer = access.ask(Request::AcknowledgeDamage);
        access.close();
        answer?;
    }
    tell(verify(&checked)?)
}

/// Through the server that runs. Without one, the files are only read.
fn verify(checked: &Checked) -> Result<Reply, Failure> {
    let folder = &checked.config.data.folder;
    let mut teller = Teller::default();
    if Access::is_served(folder)? {
        let mut access = Access::online(checked)?;
        return Ok(access.ask_and_hear(Request::Verify, &mut |step| teller.tell(&step))?);
    }
    let store = DataFolder::existing(folder)?.store();
    let Store::Embedded(config) = &checked.store;
    let report = verify_folder(&store, config.clone(), |step| {
        let VerifyProgress { files, files_total, bytes, bytes_total } = step;
        teller.tell(&Reply::Verifying { files, files_total, bytes, bytes_total });
    });
    Ok(verified_reply(&report?))
}

/// Says now and then how far it has come, to standard error.
#[derive(Default)]
struct Teller {
    told: Option<Instant>,
}

impl Teller {
    fn tell(&mut self, step: &Reply) {
        let Reply::Verifying { files, files_total, bytes, bytes_total } = step else { return };
        let now = Instant::now();
        if *self.told.get_or_insert(now) + TELL_INTERVAL > now {
            return;
        }
        self.told = Some(now);
        log::last_words(&format!(
            "dunlin: {files} of {files_total} files, {bytes} of {bytes_total} bytes are read"
        ));
    }
}

fn tell(reply: Reply) -> Result<(), Failure> {
    let Reply::Verified { segments, entries, logs, bytes, places, damage, dead, losses, told } =
        reply
    else {
        return Err("the server answered something else".into());
    };
    printed(|out| {
        writeln!(out, "{entries} entries of {logs} logs in {segments} segments, {bytes} bytes")?;
        let mut lines = damage.iter().chain(&losses).chain(&dead).chain(&told);
        lines.try_for_each(|line| writeln!(out, "{line}"))
    })?;
    let hint = "docs/operating.md says what to do";
    match (places, told.len()) {
        (0, 0) => printed(|out| writeln!(out, "all of it is whole")),
        (0, told) => Err(format!("{told} places were damaged at a start; {hint}").into()),
        (places, _) => Err(format!("{places} places of damage; {hint}").into()),
    }
}
