//! What tracking asks of whoever owns the scopes.
//!
//! Scopes and tasks know nobody above them but by this. None of it is called where a task is
//! spawned, polled or ends in the ordinary way: a chunk's first and last task, the first and last
//! graceful one, what the report lists, what was cut off, failures, and what users ask for.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::error::Place;
use crate::contract::report::{FailureKind, Outcome, Reason, TaskKind};
use crate::phase::{Phase, ScopeId};
use crate::sync::StaticUsize;
use crate::track::node::Node;
use crate::track::table::TaskRef;

/// How many programs have actions that wait for their driver: none, nearly always.
pub(crate) static WAITING: StaticUsize = StaticUsize::new(0);

/// The program, as its scopes and tasks see it. No lock of theirs is held while one of these is
/// called, but where it says so.
pub(crate) trait Above: Send + Sync {
    // The clock.

    /// The time since the program's start, by its backend's clock.
    fn now(&self) -> Duration;
    /// Whether a host keeps the time: always or never.
    fn is_hosted(&self) -> bool;

    // Scopes.

    /// Opens a scope, with its first handle counted; one below an ended scope is born ended and
    /// refuses everything.
    fn open(&self, parent: &Arc<Node>, name: Cow<'static, str>) -> Arc<Node>;
    /// Has a scope stop before another. Where that cannot be for this very scope, it is opened anew,
    /// as by [`open`](Above::open), and returned.
    fn depend(&self, node: &Arc<Node>, on: ScopeId) -> Option<Arc<Node>>;
    /// Calls `enter`, which makes a task of this kind the first of a scope that has been told, or its
    /// first graceful one; returns false, without a call, where it is decided that the scope takes no
    /// more of that kind. `enter` takes the scope's lock and no other's.
    fn admit(&self, node: &Arc<Node>, kind: TaskKind, enter: &mut dyn FnMut()) -> bool;
    /// What is alive in this scope has changed.
    fn sync(&self, node: &Arc<Node>);
    /// The last straggler of this ended scope is gone.
    fn fold(&self, node: &Node);
    /// Asks a scope to stop.
    fn stop(&self, node: &Node);
    /// The phase that was decided for a scope.
    fn phase(&self, node: &Node) -> Phase;

    // What keeps the program alive, and what was cut off.

    /// A chunk has its first task that keeps the program alive. Under the chunk's lock.
    fn keep_alive(&self);
    /// It has none any more; returns whether it was the last chunk. Under the chunk's lock.
    fn let_go(&self) -> bool;
    /// Nothing keeps the program alive, as of just now.
    fn idle(&self);
    /// So many tasks are to be dropped, held or not. Under the chunk's lock.
    fn cut_off(&self, count: usize);
    /// One of those has been dropped.
    fn cut_off_ended(&self);

    // The report.

    /// Tells how a task ended that was alive at the stop.
    fn listed(&self, index: usize, outcome: Outcome);
    /// A graceful task of this scope and line that was noted as overdue has ended by itself; `alone`: the
    /// scope was stopped alone when it was noted.
    fn not_overdue(&self, node: &Node, task: &TaskRef, place: Place, alone: bool);
    /// Records a failure, of this task where it is known. `stops` asks for the program's stop too.
    fn failed(
        &self,
        task: Option<&TaskRef>,
        kind: FailureKind,
        origin: String,
        messages: Vec<String>,
        stops: bool,
    );

    /// A graceful task of a program with a host was dropped before it was told.
    fn untold(&self, task: String);

    // What tasks ask.

    /// The program's main task.
    fn main(&self) -> Option<TaskRef>;
    /// The first cause of the program's stop.
    fn reason(&self) -> Option<Reason>;
    /// Whether the driver has to come to run: a task that never yields would keep it from that
    /// where they share one thread.
    fn is_waiting(&self) -> bool;
    /// How much is left until this scope's drain limit; `None` while there is no such limit.
    fn drain_left(&self, node: &Node) -> Option<Duration>;
    /// The program's start is over.
    fn ready(&self);
    /// Whether it is, and no stop has been asked for since.
    fn is_ready(&self) -> bool;
}
