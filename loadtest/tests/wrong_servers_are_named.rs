//! What is no server to be tested is said at once, in one line, and as wrong usage.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod program;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use model::{Model, Sabotage};
use program::{ISSUER_KEY, Program, output};

/// What the program says of a server at this address; it must not get as far as a run.
fn refused(address: &str, more: &[&str]) -> String {
    let words = ["chat", "--users", "20", "--issuer-key", ISSUER_KEY, "--address", address];
    let output = output(&[&words[..], more].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// Somebody who answers whatever is said with this, once.
fn somebody_who_says(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut heard = [0; 4096];
            // Both fail if the other side has gone, and then there is nothing to say.
            let _heard = socket.read(&mut heard);
            let _said = socket.write_all(answer);
        }
    });
    address
}

#[test]
fn a_port_where_nobody_listens() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let said = refused(&nobody, &[]);
    assert_eq!(
        said,
        format!("dunlin-loadtest: {nobody}: connection refused: nobody listens there\n")
    );
}

#[test]
fn a_host_that_nobody_knows_and_what_is_no_address() {
    let said = refused("no..where:7410", &[]);
    assert!(said.contains("no..where:7410: the host is unknown"), "{said}");
    let words = ["idle", "--issuer-key", ISSUER_KEY, "--address", "127.0.0.1"];
    let output = output(&words);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("HOST:PORT is expected"));
}

#[test]
fn another_program() {
    let http = somebody_who_says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert!(refused(&http.to_string(), &[]).contains("it speaks HTTP"));
    let mail = somebody_who_says(b"220 mail.example.org ESMTP\r\n");
    assert!(refused(&mail.to_string(), &[]).contains("no frame of Dunlin's"));
    let silent = somebody_who_says(b"");
    assert!(refused(&silent.to_string(), &[]).contains("closes the connection when it is greeted"));
    assert!(refused(&http.to_string(), &["--tls"]).contains("does not speak TLS"));
    assert!(refused(&silent.to_string(), &["--tls"]).contains("does not speak TLS"));
}

#[test]
fn generators_say_it_to_their_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "the secret of this test\n").unwrap();
    let (secret, address) = (secret.to_str().unwrap(), || {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    });
    let (generator, nobody) = (address(), address());
    let listening = Program::start(&["generate", "--listen", &generator, "--secret-file", secret]);
    let start = std::time::Instant::now();
    while std::net::TcpStream::connect(&generator).is_err() {
        assert!(start.elapsed() < program::DEADLINE, "it does not listen");
        thread::sleep(std::time::Duration::from_millis(10));
    }
    let words = ["idle", "--address", &nobody, "--issuer-key", ISSUER_KEY, "--quiet"];
    let more = ["--generators", &generator, "--generators-secret-file", secret];
    let output = output(&[&words[..], &more].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{said}");
    assert!(said.contains(&format!("{nobody}: connection refused")), "{said}");
    drop(listening);
}

#[test]
fn who_is_looked_at_first_is_none_of_the_users() {
    let model = Model::start(Sabotage::Nothing);
    let address = model.address.to_string();
    let words = ["idle", "--address", &address, "--issuer-key", ISSUER_KEY];
    let more = ["--connections", "3", "--hold-s", "0", "--json", "-"];
    let output = output(&[&words[..], &more].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["arrived"]), (Some(0), &3.into()), "{report}");
}

#[test]
fn a_run_says_all_that_is_wrong_with_its_files_as_check_does() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["one.toml", "two.toml"].map(|name| folder.path().join(name));
    let plan = "scenario = \"chat\"\n[server]\nspawn = \"nowhere/dunlin\"\n[chat]\nusers = 3\n";
    files.iter().for_each(|file| std::fs::write(file, plan).unwrap());
    let said = |word: &str| {
        let output = program::command(&[word]).args(&files).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    };
    let checked = said("check");
    assert_eq!(said("run"), checked);
    for file in files {
        for wrong in ["line 3: server.spawn: ", "line 5: chat.users: "] {
            let line = format!("{}: {wrong}", file.display());
            assert_eq!(checked.lines().filter(|said| said.starts_with(&line)).count(), 1);
        }
    }
}

#[test]
fn a_command_line_is_told_all_that_is_wrong_with_it_line_by_line() {
    let output = output(&["chat", "--spawn", "nowhere/dunlin", "--users", "3"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(2), 2), "{said}");
    assert!(lines.iter().all(|line| line.starts_with("dunlin-loadtest: ")), "{said}");
}
