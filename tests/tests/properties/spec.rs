//! What a random program is: scopes in a tree with an order, tasks in them, and how it ends.

use proptest::prelude::*;

/// A program as data, so that it prints and shrinks.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The first is the root.
    pub scopes: Vec<ScopeSpec>,
    pub end: End,
    /// Whether the scopes' handles are kept until the program is over.
    pub keeps_handles: bool,
    /// On the simulator alone: real executors take real time.
    pub limits: Limits,
}

/// The limits of a stop, as the time from each to the next, in milliseconds. None is zero, so that
/// what happens at one limit is over before the next.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the stop to the drain limit.
    pub drain: u64,
    /// From there to the cut-off.
    pub cancelling: u64,
    /// From there to the deadline.
    pub closing: u64,
}

#[derive(Clone, Debug)]
pub struct ScopeSpec {
    /// Which scope it is below; of an index before its own.
    pub parent: usize,
    /// Which scopes it stops before: siblings of an index before its own.
    pub depends_on: Vec<usize>,
    pub tasks: Vec<Task>,
    pub hooks: Vec<Hook>,
}

/// How `main` ends, once all others are at their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It asks for the stop and returns.
    StopsAndReturns,
    /// It asks for the stop and goes on until it is cancelled.
    StopsAndStays,
    /// It asks for the stop and panics.
    StopsAndPanics,
    Fails,
    Panics,
    /// It returns, and nothing else keeps the program alive.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Returns,
    Yields,
    Fails,
    Panics,
    /// Spawns a shielded task and waits for it.
    Spawns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    // Over before the stop.
    Returns(Kind),
    Fails(Kind),
    Panics(Kind),
    // Plain tasks that stay.
    Stays,
    /// Its destructor panics.
    StaysBomb,
    /// A cleanup that yields so often.
    StaysCleanup(u8),
    StaysCleanupPanics,
    /// A cleanup that spawns a plain task (refused) and a shielded one.
    StaysCleanupSpawns,
    /// Inside a shield that ends so many yields after the stop.
    StaysShielded(u8),
    /// Two cleanups, one inside the other.
    StaysNested(u8),
    // Graceful tasks.
    Leaves(u8),
    LeavesFailing,
    LeavesByUntilStop,
    LeavesPanicking,
    /// Told of the stop, it spawns a shielded task and a job, and leaves without waiting.
    LeavesSpawning,
    Ignores,
    // Shielded tasks.
    Lingers,
    Hangs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Graceful,
    Shielded,
    Blocking,
}

impl Task {
    pub fn kind(self) -> Kind {
        use Task::*;
        match self {
            Returns(kind) | Fails(kind) | Panics(kind) => kind,
            Leaves(_) | LeavesFailing | LeavesByUntilStop | LeavesPanicking | LeavesSpawning
            | Ignores => Kind::Graceful,
            Lingers | Hangs => Kind::Shielded,
            _ => Kind::Plain,
        }
    }

    /// Whether it is over before the stop.
    pub fn is_early(self) -> bool {
        matches!(self, Task::Returns(_) | Task::Fails(_) | Task::Panics(_))
    }
}

impl Spec {
    /// Whether it takes until a limit to end.
    pub fn takes_time(&self) -> bool {
        let slow = |task: &Task| matches!(task, Task::Ignores | Task::Hangs);
        self.scopes.iter().any(|scope| scope.tasks.iter().any(slow))
    }

    /// Whether `inner` is `outer` or below it.
    pub fn is_within(&self, inner: usize, outer: usize) -> bool {
        let mut at = inner;
        while at != outer {
            if at == 0 {
                return false;
            }
            at = self.scopes[at].parent;
        }
        true
    }

    /// Whether a scope, or one below it, may be past its time.
    pub fn may_be_overdue(&self, scope: usize) -> bool {
        let slow = |task: &Task| matches!(task, Task::Ignores | Task::Hangs);
        let below = |index: &usize| self.is_within(*index, scope);
        (0..self.scopes.len()).filter(below).any(|index| self.scopes[index].tasks.iter().any(slow))
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Plain), Just(Kind::Graceful), Just(Kind::Shielded), Just(Kind::Blocking)]
}

fn task(slow: bool) -> impl Strategy<Value = Task> {
    let drawn = prop_oneof![
        1 => kind().prop_map(Task::Returns),
        1 => kind().prop_map(Task::Fails),
        1 => kind().prop_map(Task::Panics),
        2 => Just(Task::Stays),
        1 => Just(Task::StaysBomb),
        2 => (0..4_u8).prop_map(Task::StaysCleanup),
        1 => Just(Task::StaysCleanupPanics),
        1 => Just(Task::StaysCleanupSpawns),
        2 => (0..4_u8).prop_map(Task::StaysShielded),
        1 => (0..3_u8).prop_map(Task::StaysNested),
        2 => (0..4_u8).prop_map(Task::Leaves),
        1 => Just(Task::LeavesFailing),
        1 => Just(Task::LeavesByUntilStop),
        1 => Just(Task::LeavesPanicking),
        1 => Just(Task::LeavesSpawning),
        2 => Just(Task::Lingers),
        2 => Just(Task::Ignores),
        1 => Just(Task::Hangs),
    ];
    drawn.prop_map(move |task| match task {
        Task::Ignores | Task::Hangs if !slow => Task::Stays,
        task => task,
    })
}

fn hook() -> impl Strategy<Value = Hook> {
    prop_oneof![
        Just(Hook::Returns),
        Just(Hook::Yields),
        Just(Hook::Fails),
        Just(Hook::Panics),
        Just(Hook::Spawns)
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::StopsAndReturns),
        Just(End::StopsAndStays),
        Just(End::StopsAndPanics),
        Just(End::Fails),
        Just(End::Panics),
        Just(End::Idle)
    ]
}

/// As short as it can be, or of any length.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![1..=10_u64, 1..=1_000_u64, 1..=100_000_u64]
}

fn limits() -> impl Strategy<Value = Limits> {
    (span(), span(), span()).prop_map(|(drain, cancelling, closing)| Limits {
        drain,
        cancelling,
        closing,
    })
}

/// Random programs with so many scopes at most; `slow` ones may take until a limit.
pub fn specs(scopes: usize, tasks: usize, slow: bool) -> impl Strategy<Value = Spec> {
    let scope = (
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::collection::vec(task(slow), 0..=tasks),
        prop::collection::vec(hook(), 0..3),
    );
    (prop::collection::vec(scope, 1..=scopes), end(), any::<bool>(), limits()).prop_map(
        |(drawn, end, keeps_handles, limits)| {
            let mut scopes: Vec<ScopeSpec> = Vec::new();
            for (index, (parent, needs, tasks, hooks)) in drawn.into_iter().enumerate() {
                let parent = if index == 0 { 0 } else { parent.index(index) };
                let siblings: Vec<usize> =
                    (1..index).filter(|other| scopes[*other].parent == parent).collect();
                let mut depends_on = Vec::new();
                if index > 0 && !siblings.is_empty() {
                    depends_on
                        .extend(needs.iter().map(|need| siblings[need.index(siblings.len())]));
                    depends_on.sort_unstable();
                    depends_on.dedup();
                }
                scopes.push(ScopeSpec { parent, depends_on, tasks, hooks });
            }
            Spec { scopes, end, keeps_handles, limits }
        },
    )
}
