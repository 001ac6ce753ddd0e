//! What one run of a scenario is about.

use crate::subject::Subject;

/// What a scenario is run on, and which process this is.
pub(crate) struct Case {
    subject: Subject,
    test: String,
    part: Option<String>,
}

impl Case {
    /// `test` is the name of the test that comes to this case; `part` what this process plays in it.
    pub(crate) fn new(subject: Subject, test: &str, part: Option<String>) -> Case {
        Case { subject, test: test.to_owned(), part }
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns which part this process plays; `None` in the test's own.
    pub(crate) fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// Returns the name of the test that comes to this case.
    pub(crate) fn test(&self) -> &str {
        &self.test
    }
}
