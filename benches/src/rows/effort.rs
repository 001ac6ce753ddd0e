//! Full figures or a quick look.

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For figures that are kept.
    Full,
    /// To see that everything runs.
    Quick,
}
