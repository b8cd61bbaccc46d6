//! From a path to a response.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::ANSWER_TIMEOUT;
use crate::metrics;
use crate::node::{Node, Verdict};

/// The body of a response.
pub(crate) type Body = Full<Bytes>;

const TEXT: &str = "text/plain; charset=utf-8";

const WHAT_THERE_IS: &str = "there are /healthz, /readyz and /metrics\n";

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Health,
    Readiness,
    Metrics,
}

impl Question {
    fn of(path: &str) -> Option<Question> {
        match path {
            "/healthz" => Some(Question::Health),
            "/readyz" => Some(Question::Readiness),
            "/metrics" => Some(Question::Metrics),
            _ => None,
        }
    }
}

/// A node, asked by many.
///
/// Each question is asked once at a time, on a thread that may wait; others who have it wait until that
/// one is answered. A node that does not answer holds one thread for each question, and no more, whoever
/// asks how often.
pub(crate) struct Asked {
    node: Arc<dyn Node>,
    health: Arc<Semaphore>,
    readiness: Arc<Semaphore>,
    metrics: Arc<Semaphore>,
}

/// Threads that wait for a node: one for each question.
pub(crate) const WAITING_THREADS_MAX: usize = 3;

impl Asked {
    pub(crate) fn new(node: Arc<dyn Node>) -> Asked {
        let one = || Arc::new(Semaphore::new(1));
        Asked { node, health: one(), readiness: one(), metrics: one() }
    }

    /// The response to a request.
    pub(crate) async fn respond(&self, method: &Method, path: &str) -> Response<Body> {
        let Some(question) = Question::of(path) else {
            return response(StatusCode::NOT_FOUND, TEXT, WHAT_THERE_IS);
        };
        if method != Method::GET && method != Method::HEAD {
            let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let answered = match question {
            Question::Health => {
                let verdict = self.ask(&self.health, Node::health).await;
                verdict.map(|verdict| judged(&verdict))
            }
            Question::Readiness => {
                let verdict = self.ask(&self.readiness, Node::readiness).await;
                verdict.map(|verdict| judged(&verdict))
            }
            Question::Metrics => {
                let text = self.ask(&self.metrics, |node| node.metrics().text()).await;
                text.map(|text| response(StatusCode::OK, metrics::CONTENT_TYPE, text))
            }
        };
        answered.unwrap_or_else(|| {
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the node does not answer in time\n")
        })
    }

    /// What the node answers in time.
    async fn ask<T: Send + 'static>(
        &self,
        turn: &Arc<Semaphore>,
        question: impl FnOnce(&dyn Node) -> T + Send + 'static,
    ) -> Option<T> {
        let answer = async {
            let turn = Arc::clone(turn).acquire_owned().await.ok()?;
            let node = Arc::clone(&self.node);
            let asked = tokio::task::spawn_blocking(move || {
                let answer = question(&*node);
                // Whoever waits longer than for this may be gone: then the turn ends here all the same.
                drop(turn);
                answer
            });
            asked.await.ok()
        };
        timeout(ANSWER_TIMEOUT, answer).await.ok().flatten()
    }
}

fn judged(verdict: &Verdict) -> Response<Body> {
    if verdict.is_good() {
        return response(StatusCode::OK, TEXT, "ok\n");
    }
    let mut lines = String::new();
    for problem in verdict.problems() {
        // A String takes all that is written to it.
        let _written = writeln!(lines, "{problem}");
    }
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // It is about now, and it is no page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
