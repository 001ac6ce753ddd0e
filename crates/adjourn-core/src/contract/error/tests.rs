use super::*;

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor");
    }
}

#[derive(Debug)]
struct Link(Option<Box<dyn Error + Send + Sync>>);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a link")
    }
}

impl Error for Link {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|error| error as _)
    }
}

#[test]
fn a_join_error_is_of_one_kind_and_says_which() {
    let unsupported = Unsupported::new("some", "blocking pool");
    for (error, [panic, abandoned, gone, refused], source, text) in [
        (JoinError::cancelled(true), [false; 4], true, "task was cancelled"),
        (JoinError::cancelled(false), [false; 4], false, "task was cancelled"),
        (
            JoinError::panic(Box::new("of a kind")),
            [true, false, false, false],
            false,
            "task panicked: of a kind",
        ),
        (
            JoinError::abandoned(),
            [false, true, false, false],
            false,
            "task was abandoned: it was still alive when the program ended",
        ),
        (
            JoinError::executor_gone(),
            [false, false, true, false],
            false,
            "task was dropped with its executor, which is gone",
        ),
        (
            JoinError::refused(),
            [false, false, false, true],
            true,
            "task was refused: its scope is ending and takes no more of its kind",
        ),
        (
            JoinError::off_thread(),
            [false, false, false, true],
            false,
            "task was refused: it need not be `Send`, and this is not the thread that would run it. \
             Spawn it from there (the thread that called `run`: from `main` or another local task), \
             or spawn one that is `Send` with `spawn`",
        ),
        (
            JoinError::unsupported(unsupported),
            [false, false, false, true],
            false,
            "the some backend has no blocking pool",
        ),
    ] {
        assert_eq!(error.to_string(), text);
        assert_eq!(format!("{error:?}"), format!("JoinError({text})"));
        assert_eq!(error.is_panic(), panic, "{text}");
        assert_eq!(error.is_cancelled(), !panic, "{text}");
        assert_eq!(error.is_abandoned(), abandoned, "{text}");
        assert_eq!(error.is_executor_gone(), gone, "{text}");
        assert_eq!(error.is_refused(), refused, "{text}");
        let requested = error.source().is_some_and(|source| source.is::<StopRequested>());
        assert_eq!(requested, source, "{text}");
        assert_eq!(error.try_into_panic().is_ok(), panic, "{text}");
    }
}

#[test]
fn a_start_error_is_of_one_kind_and_says_which() {
    let threads = || std::io::Error::other("none left");
    let kill = crate::Signal::from_raw(9).unwrap(); // everywhere what nobody can listen for
    let refusal = || crate::process::signal::Listener::new(&[kill]).unwrap_err();
    let source: Box<dyn Error + Send + Sync> = "the cause".into();
    for (error, kinds, text, source) in [
        (StartError::options("one"), [true, false, false], "one", None),
        (StartError::nested("two"), [false, true, false], "two", None),
        (StartError::executor("three", None), [false; 3], "three", None),
        (
            StartError::executor("four", Some(source)),
            [false; 3],
            "four",
            Some("the cause".to_owned()),
        ),
        (
            StartError::threads(threads()),
            [false; 3],
            "a supervising thread could not be started",
            Some(threads().to_string()),
        ),
        (
            refusal().into(),
            [false, false, true],
            "the signals could not be listened to",
            Some(refusal().to_string()),
        ),
    ] {
        assert_eq!(error.to_string(), text);
        assert_eq!([error.is_options(), error.is_nested(), error.is_signal()], kinds, "{text}");
        assert_eq!(error.source().map(|source| source.to_string()), source, "{text}");
    }
}

#[test]
fn texts_say_what_went_wrong() {
    let stop = StopError { scope: "http".to_owned() };
    for (error, part) in [
        (&StopRequested as &dyn Error, "a stop was requested"),
        (&Reported, "the report has the error"),
        (&ExecutorGone, "the executor is gone"),
        (&NoScope, "no scope here"),
        (&stop, "the end of scope \"http\" was awaited from inside it"),
        (&crate::contract::rt::Unfinished, "not over when its time was"),
    ] {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn a_destructor_that_panics_goes_nowhere() {
    drop_quietly(Bomb);
    drop_quietly(Some(vec![Bomb]));
    forget_payload(Box::new(Bomb));
    assert_eq!(take_message(Box::new(Bomb)), "(a panic whose payload is not text)");
}

#[derive(Debug)]
struct Ring;

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ring")
    }
}

impl Error for Ring {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&Ring)
    }
}

#[test]
fn a_chain_is_bounded_and_a_stop_request_is_found_past_that() {
    let mut error = Link(Some(Box::new(StopRequested)));
    for _ in 0..40 {
        error = Link(Some(Box::new(error)));
    }
    let (texts, stop) = error_chain(&error);
    assert_eq!((&texts[..32], stop), (&vec!["a link".to_owned(); 32][..], true));
    assert_eq!(texts[32..], ["… (10 causes more)"]);
    assert_eq!(error_chain(&Ring).0[32..], ["… (at least 968 causes more)"], "it is its own cause");
    let error = Link(Some("the cause".into()));
    assert_eq!(error_chain(&error), (vec!["a link".to_owned(), "the cause".to_owned()], false));
}
