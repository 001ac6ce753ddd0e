//! What is answered to a request.

use adjourn_clients::{Answer, Words};

use crate::Checks;

/// The most bytes of a request's head.
pub(crate) const LONGEST: usize = 4096;
/// The most tasks that are listed.
const MOST_TASKS: usize = 100;

/// The answer to what a client has said so far.
pub(crate) fn to(said: &[u8], words: Words, checks: &Checks) -> Answer {
    // What comes after the head, such as a body, is read and thrown away.
    let said = &said[..said.len().min(LONGEST)];
    let too_large =
        || plain("431 Request Header Fields Too Large", "", "the head is too large", true);
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(said) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return match words {
                Words::Open => Answer::Wait,
                Words::Ended => Answer::Leave,
                Words::TooMany => too_large(),
            };
        }
        Err(httparse::Error::TooManyHeaders) => return too_large(),
        Err(error) => return plain("400 Bad Request", "", &format!("no request: {error}"), true),
    }
    let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => {
            return plain(
                "405 Method Not Allowed",
                "Allow: GET, HEAD\r\n",
                "only GET and HEAD",
                true,
            );
        }
    };
    match path.split('?').next().unwrap_or_default() {
        "/livez" => match checks.is_stuck() {
            None => plain("200 OK", "", "ok", body),
            Some(why) => plain("503 Service Unavailable", "", &why, body),
        },
        "/readyz" if checks.program.is_ready() => plain("200 OK", "", "ok", body),
        "/readyz" => {
            let stops = checks.program.deadline().is_some();
            let why =
                if stops { "the program is stopping" } else { "the program is not ready yet" };
            plain("503 Service Unavailable", "", why, body)
        }
        "/statusz" => status(checks, body),
        _ => plain("404 Not Found", "", "there are /livez, /readyz and /statusz", body),
    }
}

fn status(checks: &Checks, body: bool) -> Answer {
    let Some(status) = checks.program.status() else {
        return plain("503 Service Unavailable", "", "the program has not started yet", body);
    };
    let json = serde_json::json!({
        "status": status,
        "alive": checks.program.alive(MOST_TASKS),
        "stuck": checks.is_stuck(),
    });
    response("200 OK", "application/json", "", &format!("{json}\n"), body)
}

fn plain(status: &str, more: &str, text: &str, body: bool) -> Answer {
    response(status, "text/plain; charset=utf-8", more, &format!("{text}\n"), body)
}

/// A response. To HEAD it has the same head and no body (RFC 9110, 9.3.2).
fn response(status: &str, kind: &str, more: &str, text: &str, body: bool) -> Answer {
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n{more}\r\n"
    );
    Answer::Say((head + if body { text } else { "" }).into_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use adjourn_core::Inspector;

    use super::*;

    /// The first line of the answer.
    fn answer(said: &[u8], words: Words) -> Option<String> {
        let limit = Duration::from_secs(10);
        let checks = Checks { program: Inspector::default(), pulse: Arc::default(), limit };
        let Answer::Say(text) = to(said, words, &checks) else { return None };
        Some(String::from_utf8(text).unwrap().lines().next().unwrap().to_owned())
    }

    #[test]
    fn a_head_is_too_large_and_a_body_is_not() {
        let long = "x".repeat(5000);
        let many = "X: y\r\n".repeat(65);
        for (said, words, status) in [
            (format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), Words::TooMany, "431 Request"),
            (format!("GET / HTTP/1.1\r\n{many}\r\n"), Words::Open, "431 Request"),
            (format!("POST /livez HTTP/1.1\r\n\r\n{long}"), Words::TooMany, "405 Method"),
            (format!("GET /livez HTTP/1.1\r\n\r\n{long}"), Words::TooMany, "200 OK"),
            ("GET /livez HTTP/1.1\r\n\r\n".repeat(200), Words::TooMany, "200 OK"),
            ("GET /readyz HTTP/1.1\r\n\r\n".to_owned(), Words::Ended, "503 Service"),
            ("GET /none HTTP/1.1\r\n\r\n".to_owned(), Words::Open, "404 Not"),
            ("GET /livez HTTP/2.0\r\n\r\n".to_owned(), Words::Open, "400 Bad"),
            (long.clone(), Words::TooMany, "431 Request"),
        ] {
            let got = answer(said.as_bytes(), words).expect("an answer");
            assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{got} to {said:.60}");
        }
        assert_eq!(answer(b"GET /livez HTTP/1.1\r\n", Words::Open), None);
        assert_eq!(answer(b"GET /livez HTTP/1.1\r\n", Words::Ended), None);
    }
}
