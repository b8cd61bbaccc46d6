//! How a connection begins: both say which version they speak, and prove that they have the secret.
//! The coordinator proves first: whoever just connects learns nothing that a guess of the secret
//! could be tried on.

use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{LinkError, Refusal};
use super::frames::Frames;
use super::link::Link;
use super::secret::{Role, Secret};

/// Version of everything that is said on a link. Both sides must be of the same.
const VERSION: u32 = 2;

/// How long each step may take. Longer than a generator waits for the end of a run before.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest frame of somebody who has proved nothing yet.
const FRAME_BYTES_MAX: usize = 1024;

const NONCE_BYTES: usize = 32;

#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    dunlin_loadtest: u32,
    nonce: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    proof: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Accepted(Proof),
    Refused(Refusal),
}

/// The coordinator's part.
pub(super) fn call(socket: TcpStream, secret: &Secret) -> Result<Link, LinkError> {
    let mut frames = Frames::new(socket)?;
    let own_nonce = nonce()?;
    say(&mut frames, &greeting(&own_nonce))?;
    let nonces = [own_nonce, hear_greeting(&mut frames)?].concat();
    say(&mut frames, &prove(secret, Role::Coordinator, &nonces))?;
    match hear(&mut frames)? {
        Answer::Accepted(proof) if is_proof(secret, Role::Generator, &nonces, &proof) => {
            Ok(Link::new(frames, secret, Role::Coordinator, &nonces))
        }
        Answer::Accepted(_) => Err(LinkError::OtherSecret),
        Answer::Refused(refusal) => Err(LinkError::Refused(refusal)),
    }
}

/// The generator's part. `admit` is asked when the other side has proved itself; what it gives is
/// handed back with the link.
pub(super) fn answer<T>(
    socket: TcpStream,
    secret: &Secret,
    admit: impl FnOnce() -> Result<T, Refusal>,
) -> Result<(Link, T), LinkError> {
    let mut frames = Frames::new(socket)?;
    let theirs = hear_greeting(&mut frames);
    let own_nonce = nonce()?;
    if matches!(theirs, Ok(_) | Err(LinkError::Version { .. })) {
        say(&mut frames, &greeting(&own_nonce))?;
    }
    let nonces = [theirs?, own_nonce].concat();
    let proof: Proof = hear(&mut frames)?;
    if !is_proof(secret, Role::Coordinator, &nonces, &proof) {
        refuse(frames, Refusal::OtherSecret)?;
        return Err(LinkError::OtherSecret);
    }
    match admit() {
        Ok(admitted) => {
            let proof = prove(secret, Role::Generator, &nonces);
            say(&mut frames, &Answer::Accepted(proof))?;
            Ok((Link::new(frames, secret, Role::Generator, &nonces), admitted))
        }
        Err(refusal) => {
            refuse(frames, refusal.clone())?;
            Err(LinkError::Refused(refusal))
        }
    }
}

fn refuse(mut frames: Frames, refusal: Refusal) -> Result<(), LinkError> {
    say(&mut frames, &Answer::Refused(refusal))?;
    frames.part(STEP_TIMEOUT);
    Ok(())
}

fn nonce() -> Result<Vec<u8>, LinkError> {
    let mut nonce = vec![0; NONCE_BYTES];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| LinkError::Own("the system gives no random bytes".to_owned()))?;
    Ok(nonce)
}

fn greeting(nonce: &[u8]) -> Greeting {
    Greeting { dunlin_loadtest: VERSION, nonce: BASE64_STANDARD.encode(nonce) }
}

fn hear_greeting(frames: &mut Frames) -> Result<Vec<u8>, LinkError> {
    let greeting: Greeting = hear(frames)?;
    let theirs = greeting.dunlin_loadtest;
    if theirs != VERSION {
        return Err(LinkError::Version { theirs, ours: VERSION });
    }
    let nonce = BASE64_STANDARD.decode(greeting.nonce).unwrap_or_default();
    if nonce.len() != NONCE_BYTES {
        return Err(LinkError::Forged);
    }
    Ok(nonce)
}

fn prove(secret: &Secret, role: Role, nonces: &[u8]) -> Proof {
    Proof { proof: BASE64_STANDARD.encode(secret.proof(role, nonces)) }
}

fn is_proof(secret: &Secret, role: Role, nonces: &[u8], proof: &Proof) -> bool {
    // What is no base64 is an empty proof, which proves nothing.
    let proof = BASE64_STANDARD.decode(&proof.proof).unwrap_or_default();
    secret.is_proof(role, nonces, &proof)
}

fn say(frames: &mut Frames, message: &impl Serialize) -> Result<(), LinkError> {
    frames.write(&serde_json::to_vec(message)?, STEP_TIMEOUT)
}

fn hear<T: DeserializeOwned>(frames: &mut Frames) -> Result<T, LinkError> {
    Ok(serde_json::from_slice(&frames.read(FRAME_BYTES_MAX, STEP_TIMEOUT)?)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    type Met = Result<Link, LinkError>;

    fn meet(caller: &[u8], admitted: Result<(), Refusal>) -> (Met, Met) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let answers = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            answer(socket, &Secret::of(b"secret"), || admitted).map(|(link, ())| link)
        });
        let called = call(socket, &Secret::of(caller));
        (called, answers.join().unwrap())
    }

    #[test]
    fn those_with_one_secret_understand_each_other() {
        let (called, answered) = meet(b"secret", Ok(()));
        let (mut called, mut answered) = (called.unwrap(), answered.unwrap());
        called.send(&7u32).unwrap();
        assert_eq!(answered.receive::<u32>().unwrap(), 7);
    }

    #[test]
    fn who_has_another_secret_or_comes_too_late_is_told_so() {
        let (called, answered) = meet(b"guess", Ok(()));
        assert!(matches!(called, Err(LinkError::Refused(Refusal::OtherSecret))), "{called:?}");
        assert!(matches!(answered, Err(LinkError::OtherSecret)), "{answered:?}");
        let (called, answered) = meet(b"secret", Err(Refusal::Busy));
        assert!(matches!(called, Err(LinkError::Refused(Refusal::Busy))), "{called:?}");
        assert!(matches!(answered, Err(LinkError::Refused(Refusal::Busy))), "{answered:?}");
    }

    #[test]
    fn a_generator_that_accepts_without_the_secret_is_found_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let pretender = std::thread::spawn(move || {
            let mut frames = Frames::new(listener.accept().unwrap().0).unwrap();
            hear_greeting(&mut frames).unwrap();
            say(&mut frames, &greeting(&[0; NONCE_BYTES])).unwrap();
            let theirs: Proof = hear(&mut frames).unwrap();
            say(&mut frames, &Answer::Accepted(theirs)).unwrap();
        });
        let called = call(socket, &Secret::of(b"secret"));
        assert!(matches!(called, Err(LinkError::OtherSecret)), "{called:?}");
        pretender.join().unwrap();
    }
}
