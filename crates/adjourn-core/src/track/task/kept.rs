//! An error that a handle keeps, since the code that awaits it is over.

use std::sync::Arc;
use std::task::Context;

use crate::contract::error::JoinError;
use crate::track::context;
use crate::track::node::{Awaited, Node, Ticket};
use crate::track::table::TaskRef;

/// The error of what the stop took away, kept from the task that awaited it last. Should code of that
/// task come back after all, its waker is woken: nobody else would poll the handle again where a
/// combinator with wakers of its own is around it.
pub(super) struct Kept {
    // None once it was taken.
    error: Option<JoinError>,
    program: u32,
    task: TaskRef,
    node: Arc<Node>,
    ticket: Option<Ticket>,
}

impl Kept {
    /// Keeps an error of this program's stop, if the running code does not come back. Else it gives it
    /// back.
    pub(super) fn keep(
        error: JoinError,
        program: u32,
        cx: &Context<'_>,
    ) -> Result<Kept, JoinError> {
        let Some((task, around)) = context::unshielded().filter(|_| error.is_by_stop()) else {
            return Err(error);
        };
        let is_over = || Node::is_over(&task, around);
        // To a task of another program it is news.
        let node = if is_over() { task.node() } else { None };
        let Some(node) = node.filter(|node| node.program() == program) else { return Err(error) };
        let mut ticket = None;
        // Looked at again under the lock under which waiters are taken: an ask may come from elsewhere.
        let awaited = Awaited::Return(task);
        if node.wait(&mut ticket, awaited, cx.waker().clone(), |_| !is_over()) {
            Ok(Kept { error: Some(error), program, task, node, ticket })
        } else {
            Err(error)
        }
    }

    pub(super) fn into_error(mut self) -> Option<(JoinError, u32)> {
        Some((self.error.take()?, self.program))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.node.forget(self.ticket, Awaited::Return(self.task));
    }
}
