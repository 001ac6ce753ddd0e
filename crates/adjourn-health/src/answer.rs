//! What is answered to a request.

use adjourn_clients::{Answer, Words};

use crate::Checks;

/// The most bytes of a request's head.
pub(crate) const LONGEST: usize = 4096;
/// The most tasks that are listed.
const MOST_TASKS: usize = 100;

/// The answer to what a client has said so far.
pub(crate) fn to(said: &[u8], words: Words, checks: &Checks) -> Answer {
    if words == Words::TooMany {
        return plain("431 Request Header Fields Too Large", "", "the head is too large", true);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(said) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if words == Words::Open => return Answer::Wait,
        Ok(httparse::Status::Partial) => return Answer::Leave,
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
