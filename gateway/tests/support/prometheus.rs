//! A real Prometheus that looks at a server of a test.
//!
//! It needs the programs `prometheus` and `promtool` (Debian has a package with both): those that
//! `DUNLIN_PROMETHEUS` names, a folder, or those of the path. Without them a test says that it was skipped,
//! unless the variable asks for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{DEADLINE, eventually};

/// Where the two programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: Option<PathBuf>,
}

impl Programs {
    /// `None` where there are none, and nobody insists.
    pub fn find() -> Option<Programs> {
        let folder = std::env::var_os("DUNLIN_PROMETHEUS").map(PathBuf::from);
        let is_asked_for = folder.is_some();
        let programs = Programs { folder };
        for name in ["prometheus", "promtool"] {
            let tried = programs.command(name).arg("--version").output();
            if !tried.as_ref().is_ok_and(|output| output.status.success()) {
                assert!(!is_asked_for, "DUNLIN_PROMETHEUS has no {name} that works: {tried:?}");
                println!("SKIPPED: there is no {name}; Debian has both in the package prometheus");
                return None;
            }
        }
        Some(programs)
    }

    pub fn command(&self, name: &str) -> Command {
        match &self.folder {
            Some(folder) => Command::new(folder.join(name)),
            None => Command::new(name),
        }
    }

    /// Runs `promtool`, which must be content; what it said.
    pub fn promtool(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.command("promtool").args(arguments).current_dir(folder).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }
}

/// A Prometheus that runs; killed when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Scrapes a server each half second, with these rules.
    pub fn start(
        programs: &Programs,
        folder: &Path,
        target: SocketAddr,
        rules: &str,
    ) -> Prometheus {
        std::fs::write(folder.join("alerts.yml"), rules).unwrap();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n\
             - {{job_name: dunlin, static_configs: [{{targets: ['{target}']}}]}}\n"
        );
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = programs.command("prometheus");
        command.arg("--config.file").arg(&file);
        command.arg("--storage.tsdb.path").arg(folder.join("data"));
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once("msg=\"Listening on\" address=")?;
            Some(address.trim().parse().unwrap())
        });
        let address = address.expect("it says where it listens");
        // What it says later nobody needs, but it must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let prometheus = Prometheus { child, address };
        eventually("Prometheus is ready", || prometheus.get("/-/ready").0.contains(" 200 "));
        prometheus
    }

    /// What a query gives now: the values of all series.
    pub fn query(&self, query: &str) -> Vec<f64> {
        let answer = self.ask(&format!("/api/v1/query?query={}", escaped(query)));
        let results = answer["data"]["result"].as_array();
        let results = results.unwrap_or_else(|| panic!("{query}: {answer}"));
        let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
        results.iter().map(value).collect()
    }

    /// The names of the alerts that fire.
    pub fn firing(&self) -> Vec<String> {
        let answer = self.ask("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    fn ask(&self, path: &str) -> Value {
        let (_, body) = self.get(path);
        let answer: Value =
            serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer
    }

    /// The head and the body of an answer.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // Of version 1.0, so that the body comes in one piece.
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        (head.to_owned(), body.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// For the query of a URL.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
