//! Whoever comes with a token that is not good gets the code for it, and no session.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dunlin_protocol::wire::{
    CloseReason, ErrorCode, LoggedIn, Logout, Refresh, frame::Body, login::Credential,
};
use support::messages::{login, password, register, sync};
use support::token::{HEADER, SECRET, claims, seconds_from_now, signed};
use support::{Client, Node, Random};

/// Tries a credential on a connection that stays.
fn refused(client: &mut Client, credential: Credential, device: &str) -> ErrorCode {
    let code = client.try_log_in(login(credential, device)).expect_err("no login").code();
    assert_eq!(client.refused_with(sync()), ErrorCode::NotLoggedIn);
    code
}

/// As many failures as a test needs on one connection.
fn patient() -> Node {
    Node::with(|config| config.limits.failed_logins_per_connection_max = 255)
}

#[test]
fn issuer_tokens() {
    let node = patient();
    let mut client = node.connect();
    client.greet();
    let good = claims("ada", seconds_from_now(3600));
    let other_key = b"the secret of somebody else .....";
    let whole = signed(HEADER, &good, SECRET);
    let (text, signature) = whole.rsplit_once('.').unwrap();
    let unsigned = |header: &str| {
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&good))
    };
    let iss = |iss: &str| good.replace("\"app\"", iss);
    let expired = signed(HEADER, &claims("ada", seconds_from_now(-3600)), SECRET);
    let forged = vec![
        signed(HEADER, &good, other_key),
        signed(r#"{"alg":"none"}"#, &good, SECRET),
        unsigned(r#"{"alg":"none"}"#),
        unsigned(r#"{"alg":"NONE"}"#),
        unsigned(HEADER),
        signed(r#"{"alg":"HS512"}"#, &good, SECRET),
        signed(r#"{"alg":"EdDSA"}"#, &good, SECRET),
        signed(r#"{"alg":"HS256","crit":["exp"]}"#, &good, SECRET),
        signed("{}", &good, SECRET),
        signed(HEADER, &iss("\"another\""), SECRET),
        signed(HEADER, &iss("7"), SECRET),
        signed(HEADER, &good.replace("\"iss\"", "\"ssi\""), SECRET),
        signed(HEADER, &good.replace("\"exp\"", "\"pxe\""), SECRET),
        signed(HEADER, &good.replace("\"iat\"", "\"tai\""), SECRET),
        signed(HEADER, &claims("ada", seconds_from_now(31 * 86_400)), SECRET),
        signed(HEADER, &claims("", seconds_from_now(3600)), SECRET),
        signed(HEADER, "{", SECRET),
        signed(HEADER, "", SECRET),
        // The signature of another text.
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(HEADER), {
            URL_SAFE_NO_PAD.encode(claims("bob", seconds_from_now(3600)))
        }),
        text.into(),
        format!("{whole}."),
        format!(".{whole}"),
        String::new(),
        "...".into(),
        "\u{1F600}".into(),
        "x".repeat(20_000),
    ];
    assert_eq!(
        refused(&mut client, Credential::IssuerToken(expired), "ada"),
        ErrorCode::TokenExpired
    );
    for token in forged {
        let code = refused(&mut client, Credential::IssuerToken(token.clone()), "ada");
        let expected = [ErrorCode::TokenInvalid, ErrorCode::InvalidArgument];
        assert!(expected.contains(&code), "{code:?} for {token:.100}");
    }
    // Cut off anywhere, and any one character changed.
    let mut random = Random(11);
    for _ in 0..60 {
        let cut = whole[..random.below(whole.len())].to_owned();
        let mut changed = whole.clone().into_bytes();
        // The last character of the signature has bits that mean nothing.
        let at = random.below(changed.len() - 1);
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        for token in [cut, String::from_utf8(changed).unwrap()] {
            let code = refused(&mut client, Credential::IssuerToken(token.clone()), "ada");
            let expected = [ErrorCode::TokenInvalid, ErrorCode::InvalidArgument];
            assert!(expected.contains(&code), "{code:?} for {token}");
        }
    }
    // The same connection may still log in with the good one.
    client.try_log_in(login(Credential::IssuerToken(whole), "ada")).unwrap();
    drop(client);
    node.settle();
}

/// Logs in by password, which alone gives tokens of our own.
fn log_in(client: &mut Client, name: &str) -> LoggedIn {
    client.greet();
    assert!(matches!(client.request(register(name, "correct horse")), Body::Registered(_)));
    client.try_log_in(login(password(name, "correct horse"), name)).unwrap()
}

/// A login whose tokens can be tried, on a connection of its own.
fn tokens(node: &Node, name: &str) -> LoggedIn {
    log_in(&mut node.connect(), name)
}

fn own_tokens(logged_in: &LoggedIn) -> [Credential; 3] {
    let tokens = logged_in.tokens.clone().unwrap();
    [
        Credential::AccessToken(tokens.access_token),
        Credential::RefreshToken(tokens.refresh_token),
        Credential::ResumeToken(logged_in.resume_token.clone()),
    ]
}

/// The credential with its token changed.
fn with_token(credential: &Credential, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Credential {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match credential.clone() {
        Credential::AccessToken(token) => Credential::AccessToken(text(change(token.into()))),
        Credential::RefreshToken(token) => Credential::RefreshToken(text(change(token.into()))),
        Credential::ResumeToken(token) => Credential::ResumeToken(change(token.into()).into()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn changed_and_truncated_tokens_of_our_own() {
    let node = patient();
    let ada = tokens(&node, "ada");
    let mut client = node.connect();
    client.greet();
    let mut random = Random(12);
    for credential in own_tokens(&ada) {
        for _ in 0..40 {
            let cut = with_token(&credential, |mut token| {
                token.truncate(random.below(token.len()));
                token
            });
            let changed = with_token(&credential, |mut token| {
                let at = random.below(token.len() - 1);
                token[at] = if token[at] == b'A' { b'B' } else { b'A' };
                token
            });
            for bad in [cut, changed] {
                let code = refused(&mut client, bad, "ada");
                let expected = [ErrorCode::TokenInvalid, ErrorCode::InvalidArgument];
                assert!(expected.contains(&code), "{code:?}");
            }
        }
        // Whole, but from another device.
        let code = refused(&mut client, credential, "a stolen device");
        assert!([ErrorCode::TokenInvalid, ErrorCode::SessionRevoked].contains(&code), "{code:?}");
    }
    drop(client);
    node.settle();
}

#[test]
fn one_kind_of_token_is_not_another() {
    let node = patient();
    let tokens = tokens(&node, "ada").tokens.unwrap();
    let mut client = node.connect();
    client.greet();
    for credential in [
        Credential::AccessToken(tokens.refresh_token.clone()),
        Credential::RefreshToken(tokens.access_token.clone()),
        Credential::IssuerToken(tokens.access_token.clone()),
        Credential::ResumeToken(tokens.access_token.clone().into()),
    ] {
        let code = refused(&mut client, credential, "ada");
        assert!([ErrorCode::TokenInvalid, ErrorCode::InvalidArgument].contains(&code), "{code:?}");
    }
    drop(client);
    node.settle();
}

#[test]
fn tokens_of_another_server() {
    let (node, other) = (patient(), Node::start());
    let elsewhere = own_tokens(&tokens(&other, "ada"));
    tokens(&node, "ada");
    let mut client = node.connect();
    client.greet();
    for credential in elsewhere {
        assert_eq!(refused(&mut client, credential, "ada"), ErrorCode::TokenInvalid);
    }
    drop(client);
    node.settle();
    other.settle();
}

#[test]
fn expired_tokens() {
    let node = Node::with(|config| {
        config.limits.failed_logins_per_connection_max = 255;
        config.tokens.access_lifetime_s = 1;
        config.tokens.resume_lifetime_s = 1;
        config.tokens.refresh_lifetime_s = 1;
    });
    let ada = tokens(&node, "ada");
    // Nothing shows that time has gone by but the time.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let mut client = node.connect();
    client.greet();
    for credential in own_tokens(&ada) {
        assert_eq!(refused(&mut client, credential, "ada"), ErrorCode::TokenExpired);
    }
    drop(client);
    node.settle();
}

#[test]
fn a_refresh_token_is_good_once() {
    let node = patient();
    let mut client = node.connect();
    let first = log_in(&mut client, "ada").tokens.unwrap().refresh_token;
    let refresh = |token: &str| Body::Refresh(Refresh { refresh_token: token.into() });
    let Body::Tokens(next) = client.request(refresh(&first)) else { panic!("no tokens") };
    let Body::Tokens(_) = client.request(refresh(&next.refresh_token)) else { panic!("none") };
    // Who comes with the first one again may be a thief: the session ends.
    assert_eq!(client.refused_with(refresh(&first)), ErrorCode::SessionRevoked);
    assert_eq!(client.read_to_close(), Some(CloseReason::LoggedOut));
    drop(client);
    node.settle();
}

#[test]
fn tokens_of_a_session_that_was_logged_out() {
    let node = patient();
    let mut client = node.connect();
    let ada = log_in(&mut client, "ada");
    assert!(matches!(client.request(Body::Logout(Logout::default())), Body::Done(_)));
    assert_eq!(client.read_to_close(), Some(CloseReason::LoggedOut));
    let mut client = node.connect();
    client.greet();
    for credential in own_tokens(&ada) {
        assert_eq!(refused(&mut client, credential, "ada"), ErrorCode::SessionRevoked);
    }
    drop(client);
    node.settle();
}
