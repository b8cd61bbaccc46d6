//! `dunlin check-config`.

use dunlin_core::config::Registration;

use super::{Failure, SettingsArgs, Wrong, check, printed};
use crate::config::{Checked, Key, Loaded, Origin};
use crate::node::inspection::{self, Problem};
use crate::stream::entrance::Entrance;

/// Reads and checks the configuration and the files that it names as `serve` would, and says what
/// it amounts to. Changes nothing.
pub(super) fn run(settings: &SettingsArgs) -> Result<(), Failure> {
    let loaded = settings.load();
    let config = loaded.config().clone();
    for warning in inspection::warnings(&config, &loaded.secret_files()) {
        crate::log::last_words(&format!("dunlin: warning: {warning}"));
    }
    let mut problems = inspection::problems(&config);
    let origins = Origins::of(&loaded);
    let mut wrong = Wrong::default();
    match check(loaded) {
        Ok(checked) => {
            problems.extend(inspection::of_addresses(&checked.listen_on));
            wrong.extend(problems.iter().map(|problem| origins.line(problem)));
            wrong.into_result()?;
            sum_up(&checked)
        }
        Err(errors) => {
            wrong.extend(errors.each().iter().map(ToString::to_string));
            wrong.extend(problems.iter().map(|problem| origins.line(problem)));
            wrong.into_result()
        }
    }
}

/// Where the settings were said that lead to files and addresses.
struct Origins(Vec<(&'static str, Origin)>);

impl Origins {
    fn of(loaded: &Loaded) -> Origins {
        let origin = |setting| Some((setting, loaded.origin(&Key::dotted(setting))?));
        Origins(inspection::SETTINGS.into_iter().filter_map(origin).collect())
    }

    fn line(&self, problem: &Problem) -> String {
        let setting = problem.setting();
        match self.0.iter().find(|(of, _)| *of == setting) {
            Some((_, origin)) => format!("{origin}: {setting}: {problem}"),
            None => format!("{setting}: {problem}"),
        }
    }
}

fn sum_up(checked: &Checked) -> Result<(), Failure> {
    let registration = match checked.engine.registration() {
        Registration::Open => "open",
        Registration::Invitation => "by invitation",
        Registration::Closed => "closed",
    };
    printed(|out| {
        for entrance in Entrance::ALL {
            let address = checked.address_of(entrance).map(|address| address.to_string());
            writeln!(out, "{:<15} {}", entrance.name(), address.as_deref().unwrap_or("off"))?;
        }
        let http = checked.http.map(|http| http.address.to_string());
        writeln!(out, "{:<15} {}", "http", http.as_deref().unwrap_or("off"))?;
        writeln!(out, "data            {}", checked.config.data.folder.display())?;
        writeln!(out, "shards          {}", checked.shards)?;
        writeln!(out, "connections_max {}", checked.connections_max)?;
        writeln!(out, "workers         {}", checked.engine.workers)?;
        writeln!(out, "registration    {registration}")?;
        writeln!(out, "issuers         {}", checked.engine.issuers.len())
    })
}
