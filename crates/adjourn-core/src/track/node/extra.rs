//! What few scopes have something of, behind a scope's lock.

use std::collections::VecDeque;
use std::mem;
use std::task::Waker;

use super::waiters::Waiters;
use crate::contract::hook::Hook;
use crate::track::table::{Chunk, Tally, TaskRef};

/// What few scopes have something of, or the waker of the one who waits for the scope's end: most have no
/// more than that.
pub(super) enum Extra {
    End(Waker),
    Rest(Option<Box<Rest>>),
}

#[derive(Default)]
pub(super) struct Rest {
    /// The chunks beside the first.
    pub(super) chunks: Vec<&'static Chunk>,
    /// Once there are such, those of all in which a slot is free, and some that are full by now.
    pub(super) roomy: Vec<&'static Chunk>,
    /// What was counted outside of the chunks, and is rare or much.
    pub(super) tally: Tally,
    pub(super) hooks: Vec<Hook>,
    /// Tasks whose end the report wants, and where it wants it. In the order of their keys.
    pub(super) listed: VecDeque<(TaskRef, usize)>,
    /// The first of those who wait for the end.
    end: Option<Waker>,
    pub(super) waiters: Waiters,
}

impl Extra {
    pub(super) const NONE: Extra = Extra::Rest(None);

    #[inline]
    pub(super) fn get(&self) -> Option<&Rest> {
        match self {
            Extra::Rest(rest) => rest.as_deref(),
            Extra::End(_) => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> Option<&mut Rest> {
        match self {
            Extra::Rest(rest) => rest.as_deref_mut(),
            Extra::End(_) => None,
        }
    }

    /// From here on the scope has something of it.
    pub(super) fn make(&mut self) -> &mut Rest {
        if let Extra::End(_) = self {
            let rest = Rest { end: self.take_end(), ..Rest::default() };
            *self = Extra::Rest(Some(Box::new(rest)));
        }
        match self {
            Extra::Rest(rest) => rest.get_or_insert_default(),
            Extra::End(_) => unreachable!("it has just been moved"),
        }
    }

    /// Whether somebody is the first of those who wait for the end.
    pub(super) fn has_end(&self) -> bool {
        match self {
            Extra::End(_) => true,
            Extra::Rest(rest) => rest.as_ref().is_some_and(|rest| rest.end.is_some()),
        }
    }

    pub(super) fn put_end(&mut self, waker: Waker) -> Option<Waker> {
        match self {
            Extra::End(stored) => Some(mem::replace(stored, waker)),
            Extra::Rest(Some(rest)) => rest.end.replace(waker),
            Extra::Rest(None) => {
                *self = Extra::End(waker);
                None
            }
        }
    }

    pub(super) fn take_end(&mut self) -> Option<Waker> {
        match self {
            Extra::Rest(rest) => rest.as_mut()?.end.take(),
            Extra::End(_) => match mem::replace(self, Extra::NONE) {
                Extra::End(waker) => Some(waker),
                Extra::Rest(_) => None,
            },
        }
    }
}
