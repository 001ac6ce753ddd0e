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
    /// It has asked about the stop before it requests it, waits for it and returns.
    AsksAndReturns,
    /// It has asked, and goes on until its drain limit.
    AsksAndStays,
}

impl End {
    /// Whether `main` is alive when the stop is requested.
    pub fn stops(self) -> bool {
        !matches!(self, End::Fails | End::Panics | End::Idle)
    }

    /// Whether `main` has asked about the stop by then.
    pub fn asks(self) -> bool {
        matches!(self, End::AsksAndReturns | End::AsksAndStays)
    }
}

/// How a plain task asks about the stop: it is graceful from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Requested,
    /// With a waker of its own, as a combinator has it polled.
    ByWaker,
    UntilStop,
    /// It looks once.
    Looks,
    /// At the root's token.
    Above,
    /// At the token of a scope that `in_scope` gives it.
    InScope,
    /// In the body of a nursery.
    Nursery,
}

/// What a plain task does that is not asking about the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// It takes a token, clones and prints it, and reads all that is not asking.
    Takes,
    Peeks,
    Interruptible,
    /// In a shield that is over before it stays.
    Shield,
    /// In its cleanup.
    Cleanup,
    /// At the token of a scope that has nothing to do with it.
    Stranger,
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
    /// Told of the stop, it spawns a plain task that asks, and waits for it.
    LeavesJoining,
    /// Told of the stop, it opens a scope, and waits for a plain task there.
    LeavesOpening,
    Ignores,
    // Plain tasks that ask about the stop.
    AsksAndLeaves(Ask),
    AsksAndStays(Ask),
    /// Once it has asked it waits for a plain task, which never ends.
    AsksAndJoins,
    // Plain tasks that do not, though it looks like it.
    StaysQuiet(Quiet),
    /// It waits for a plain task, and would panic if the stop were news to it.
    StaysJoining,
    // Shielded tasks.
    Lingers,
    /// As `Lingers`; then it opens a scope, which takes what its own takes.
    LingersOpening,
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
            | LeavesJoining | LeavesOpening | Ignores => Kind::Graceful,
            Lingers | LingersOpening | Hangs => Kind::Shielded,
            _ => Kind::Plain,
        }
    }

    /// Whether it is over before the stop.
    pub fn is_early(self) -> bool {
        matches!(self, Task::Returns(_) | Task::Fails(_) | Task::Panics(_))
    }

    /// Whether it has asked about the stop once it is at its place, though it was spawned plain.
    pub fn asks(self) -> bool {
        matches!(self, Task::AsksAndLeaves(_) | Task::AsksAndStays(_) | Task::AsksAndJoins)
    }

    /// Whether it was told to finish and does not.
    pub fn is_overdue(self) -> bool {
        matches!(self, Task::Ignores | Task::AsksAndStays(_) | Task::AsksAndJoins)
    }

    /// Whether it takes until a limit to end.
    pub fn is_slow(self) -> bool {
        self.is_overdue() || self == Task::Hangs
    }
}

impl Spec {
    /// Whether it takes until a limit to end.
    pub fn takes_time(&self) -> bool {
        let slow = |scope: &ScopeSpec| scope.tasks.iter().any(|task| task.is_slow());
        self.end == End::AsksAndStays || self.scopes.iter().any(slow)
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
        let below = |index: &usize| self.is_within(*index, scope);
        let slow = |index: usize| self.scopes[index].tasks.iter().any(|task| task.is_slow());
        (0..self.scopes.len()).filter(below).any(slow)
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Plain), Just(Kind::Graceful), Just(Kind::Shielded), Just(Kind::Blocking)]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Requested),
        Just(Ask::ByWaker),
        Just(Ask::UntilStop),
        Just(Ask::Looks),
        Just(Ask::Above),
        Just(Ask::InScope),
        Just(Ask::Nursery)
    ]
}

fn quiet() -> impl Strategy<Value = Quiet> {
    prop_oneof![
        Just(Quiet::Takes),
        Just(Quiet::Peeks),
        Just(Quiet::Interruptible),
        Just(Quiet::Shield),
        Just(Quiet::Cleanup),
        Just(Quiet::Stranger)
    ]
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
        1 => Just(Task::LeavesJoining),
        1 => Just(Task::LeavesOpening),
        3 => ask().prop_map(Task::AsksAndLeaves),
        3 => quiet().prop_map(Task::StaysQuiet),
        1 => Just(Task::StaysJoining),
        1 => ask().prop_map(Task::AsksAndStays),
        1 => Just(Task::AsksAndJoins),
        2 => Just(Task::Lingers),
        1 => Just(Task::LingersOpening),
        2 => Just(Task::Ignores),
        1 => Just(Task::Hangs),
    ];
    drawn.prop_map(move |task| match task {
        task if task.is_slow() && !slow => Task::Stays,
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

fn end(slow: bool) -> impl Strategy<Value = End> {
    let drawn = prop_oneof![
        Just(End::StopsAndReturns),
        Just(End::StopsAndStays),
        Just(End::StopsAndPanics),
        Just(End::Fails),
        Just(End::Panics),
        Just(End::Idle),
        Just(End::AsksAndReturns),
        Just(End::AsksAndStays)
    ];
    drawn.prop_map(move |end| match end {
        End::AsksAndStays if !slow => End::StopsAndStays,
        end => end,
    })
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
    (prop::collection::vec(scope, 1..=scopes), end(slow), any::<bool>(), limits()).prop_map(
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
