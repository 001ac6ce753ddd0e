//! The list of all scenarios, by topic, each with what the contract says.

use crate::scenario::Scenario;

/// Calls a macro with what it is given and then the list: one list for the kit's table and for the
/// tests that [`conformance!`](crate::conformance) makes.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenarios {
    ([$($callback:tt)*] $($given:tt)*) => {
        $($callback)* ! {
            $($given)*
            first {
                block_on_drives:
                    "`block_on` runs its future to the end, and what is spawned is driven \
                     meanwhile (rt::BlockOn)";
                spawn_does_not_poll:
                    "a spawned future is polled on the executor's threads, never inside `spawn` \
                     (rt, Contract)";
                handle_detaches:
                    "a handle that is dropped detaches: the future goes on (rt, Contract)";
                sleep_resolves:
                    "a sleep resolves once its time has come, in `block_on` and in a task \
                     (rt::Timer)";
            }
            threads {
                worker_count_is_kept:
                    "`Threads::workers` are the threads beside the calling one: 0 runs everything \
                     on that one; what cannot be is a StartError (rt::Threads; Executor::build)";
                on_start_called_first:
                    "`Threads::on_start` is called first on each thread that polls tasks, but the \
                     calling one (rt::Threads)";
                wakes_wait_for_nobody:
                    "where the executor says so, to wake a task waits for nobody and runs nothing of \
                     the user's, with the threads that are known stuck in polls too \
                     (rt::Executor::WAKES_AT_ONCE)";
            }
            tasks {
                value_returned:
                    "a handle resolves to its future's output (rt::Spawner::Handle)";
                spawn_from_a_foreign_thread:
                    "`spawn` may be called from any thread (rt, Contract)";
                spawn_inside_a_task:
                    "a task spawns tasks, into its own scope (guide, Kinds of tasks)";
                never_polled_inside_spawn:
                    "a spawned future is polled on the executor's threads, never inside `spawn` \
                     (rt, Contract)";
                drop_is_detach:
                    "a handle that is dropped detaches: the future goes on (rt, Contract)";
                dropped_handle_keeps_no_waker:
                    "a handle that is dropped leaves no waker behind (rt, Contract)";
                panic_keeps_its_payload:
                    "a panic is an `Err` of the task's handle, its payload kept (guide, Handles)";
                detached_panic_keeps_the_workers:
                    "a task's panic is reported and takes no thread of the executor with it \
                     (guide, Failures)";
                abort_while_pending:
                    "`abort` drops a pending task at once and its handle says cancelled \
                     (JoinHandle::abort)";
                abort_before_the_first_poll_never_enters_the_body:
                    "a task that was aborted before its first poll is never polled \
                     (JoinHandle::abort)";
                abort_after_completion_keeps_the_output:
                    "once a task is finished its value stays (JoinHandle::abort)";
                abort_during_the_final_ready_keeps_the_output:
                    "an output of the last poll is kept, though the task was aborted in it \
                     (guide, Handles; rt, Contract)";
                abort_acts_only_at_a_yield:
                    "an aborted task runs on to its next yield, and no further \
                     (JoinHandle::abort)";
                future_dropped_before_its_handle_resolves:
                    "a future is dropped once, before its handle resolves (docs/design.md, A \
                     stop, end to end)";
                destructor_panic_on_abort:
                    "a destructor that panics on cancellation is a reported panic and never ends \
                     the process (guide, Failures)";
                destructor_panic_at_completion:
                    "a destructor that panics when its task is finished is reported, the output \
                     is kept, and the process goes on (guide, Failures)";
                destructor_panic_of_an_output_that_nobody_takes:
                    "a destructor's panic never ends the process, an output's neither (rt, \
                     Contract)";
                destructor_panic_at_executor_drop:
                    "a destructor that panics when the executor ends skips no later step and \
                     never ends the process (rt, Contract)";
                spawn_inside_a_destructor_during_abort:
                    "`spawn` may be called from a destructor of a task that is aborted (rt, \
                     Contract)";
                late_wake_is_a_no_op:
                    "a future is never polled after it is ready or dropped, however late its \
                     waker is used (std: Future::poll)";
                self_abort:
                    "a task that aborts itself is dropped at its next yield (JoinHandle::abort)";
                concurrent_aborts:
                    "aborted from several threads at once, a future is dropped exactly once \
                     (docs/design.md, A stop, end to end)";
                spawns_of_100k_return_the_count_to_0:
                    "spawned = live + finished + failed + panicked + cancelled + abandoned, with \
                     0 alive once all are over (Totals)";
                allocations_equal_bare:
                    "a tracked task on a typed scope allocates what the bare executor's own does \
                     (docs/design.md, A task)";
                erased_spawn_is_bare_plus_1:
                    "a spawn on an erased scope allocates once more than the bare executor's own \
                     (rt::AnyBackend)";
            }
            executor_end {
                drop_drops_futures:
                    "what is left on an executor is dropped, once, when the executor ends (rt, \
                     Contract; Executor::ENDS)";
                shutdown_keeps_its_time:
                    "`shutdown` is over when all is, and resolves after `within` whatever is \
                     stuck (rt::Shutdown)";
                handles_resolve_to_executor_gone:
                    "the handle of a future that the executor's end dropped resolves to \
                     `ExecutorGone` (rt, Contract)";
                spawn_after_the_end_refused:
                    "`spawn` may be called after the executor's end: the future is dropped, \
                     unpolled, and the handle resolves to `ExecutorGone` (rt, Contract)";
                count_reaches_0:
                    "nothing counts as alive in a report (Totals::live)";
                own_tasks_are_not_untracked:
                    "an executor that counts its tasks counts those that are not over: none but the                      program's own where nobody spawned others (Executor::count_tasks)";
                handle_outlives_the_executor:
                    "a handle may be awaited, aborted and dropped when the executor is gone, and \
                     has the output of a task that was finished (guide, Handles)";
                stuck_worker_and_the_deadline_still_fires:
                    "with every worker stuck in a poll, `run` has returned or the process ended \
                     by the deadline, with exit code 124 (guide, The deadline)";
            }
            time {
                never_early:
                    "a sleep resolves once its time has come, never before; a clock never goes \
                     back (rt::Timer)";
                zero_completes:
                    "a sleep of no time resolves (rt::Timer::sleep)";
                duration_max_stays_pending:
                    "a sleep of Duration::MAX never resolves, and none panics (rt::Timer::sleep)";
                dropped_sleep_is_inert:
                    "dropping a sleep forgets it: its waker is not woken (rt::Timer::sleep)";
                re_poll_after_ready:
                    "a sleep that is polled again after it was ready does not panic (rt::Timer)";
                deadline_fires_beside_a_sibling_that_is_always_ready:
                    "the deadline holds beside a task that is ready whenever it is polled (guide, \
                     The deadline)";
            }
            stop {
                idempotent:
                    "asking twice is the same as once; the first reason never changes and later \
                     ones are kept in order (Stopper; Report::reasons)";
                before_subscription:
                    "a stop before the start is not lost, and a token that is asked late resolves \
                     on its first poll (Stopper::stop; StopToken)";
                from_a_plain_thread:
                    "a Stopper stops the program from a plain thread (Stopper)";
                each_waiter_woken_once:
                    "a stop wakes each waiter once, and one wake is one poll (docs/design.md, A \
                     stop, end to end)";
                drain_waits_for_graceful:
                    "plain tasks go on until graceful ones have finished (guide, Phases)";
                who_asks_is_told:
                    "a plain task that waits for the stop is told, and has until the drain limit \
                     (StopToken, Who asks is graceful)";
                main_may_ask_though_the_stop_came_first:
                    "main is polled once, and may ask, before a stop that was requested before the \
                     start decides about it (guide, Who asks is graceful)";
                asked_past_adjourn_counts_for_main:
                    "what the executor polls outside of every task asks about the stop for main \
                     (StopToken::requested)";
                accepted_is_told_or_refused:
                    "a graceful task is refused, or polled and told before it is cancelled \
                     (docs/design.md, Where it deviates)";
                spawn_in_each_phase:
                    "plain and graceful tasks are refused once their scope is cancelling, \
                     shielded ones and jobs are still taken from shielded work (guide, Kinds of \
                     tasks)";
                overdue_tasks_cancelled:
                    "a graceful task is cancelled at the drain limit (guide, Kinds of tasks)";
                less_time_brings_the_limits_forward:
                    "a process that is ended sooner has the limits of a stop come forward, of one that \
                     has begun too (Stopper::stop_within)";
                shield_bounded_by_the_deadline:
                    "a shielded section never extends the deadline (guide, Shields)";
                cleanup_runs:
                    "a cleanup runs after its work was dropped, and is waited for \
                     (FutureExt::on_cancel)";
                nothing_pending_no_delay:
                    "a stop with nothing pending waits for nothing (guide, Phases)";
                panicked_task_reported:
                    "a panic is in the report, and stops the program by option (guide, Failures)";
                two_programs_in_one_process_independent:
                    "a stop of one program leaves another in the same process alone (Runner)";
                one_thread_drains_without_deadlock:
                    "work that waits for other work is drained on one thread too (guide, Phases)";
                dropping_the_stop_future_loses_nothing:
                    "the future of a scope's stop may be dropped: the stop is asked for \
                     (Scope::stop)";
                order_of_scopes:
                    "a dependency is not asked to stop before its dependents have ended (guide, \
                     Scopes and their order)";
                partial_stop_spares_siblings:
                    "siblings of a scope that is stopped go on (Scope::stop)";
                grandchildren_reached:
                    "a stop reaches all scopes below (guide, Scopes and their order)";
                error_in_a_child_reaches_the_root_with_its_path:
                    "an error that stops the program is in the report with its causes and the \
                     path of its scope (ResultFutureExt::or_stop)";
            }
            blocking {
                dropped_queued_job_runs:
                    "a job runs even when its handle is dropped at once \
                     (rt::SpawnBlocking::spawn_blocking)";
                job_leaves_the_executor_free:
                    "a job runs where blocking is allowed: however many there are, tasks go on \
                     (rt::SpawnBlocking)";
                running_job_reported:
                    "a job that runs is waited for and is in the report (guide, Blocking work)";
                stuck_job_does_not_outlast_the_deadline:
                    "a job that never returns is left at the deadline, with exit code 124 (guide, \
                     The deadline)";
                panic_caught:
                    "a job's panic is an `Err` of its handle, its payload kept, and the pool goes \
                     on (guide, Handles)";
            }
            processes {
                sigterm_and_sigint_stop:
                    "SIGTERM and SIGINT ask for the stop, with exit code 0 (guide, Signals)";
                a_burst_is_one_request:
                    "repeated SIGTERMs are recorded and never escalate (guide, Signals)";
                two_thousand_sigusr1_then_sigterm_not_lost:
                    "no signal is lost behind others (signal::Listener)";
                second_sigint_with_wedged_workers:
                    "a second SIGINT ends the process with 130, though every worker is stuck \
                     (guide, Signals)";
                exit_codes:
                    "the exit code is the report's: 128+n forced, 124, 101, main's own, 1, 0 \
                     (guide, Report and exit codes)";
                a_second_listener_coexists:
                    "a second listener of a signal hears it too (signal)";
                handler_before_the_first_poll:
                    "handlers are in place before main is first polled (guide, Signals)";
                forked_child_does_not_stop_the_parent:
                    "a signal in a forked child is not the parent's (signal, Forked children)";
                forbidden_signal_is_an_err:
                    "a signal that cannot be heard is an error at the start, and main is never \
                     polled (signal::Listener::new)";
                run_twice:
                    "a second `run` behaves the same, and after it signals act as before (guide, \
                     Signals)";
                nohups_ignored_sighup_stays_ignored:
                    "a SIGHUP that is ignored at the start stays ignored (POSIX nohup)";
                stopped_process_ends_cleanly:
                    "a process that was stopped when SIGTERM came ends in order when it is \
                     continued (guide, Signals)";
            }
        }
    };
}

macro_rules! table {
    ($($topic:ident { $($name:ident: $rule:literal;)* })*) => {
        pub(crate) const ALL: &[Scenario] = &[$($(Scenario {
            topic: stringify!($topic),
            name: stringify!($name),
            rule: $rule,
            run: crate::$topic::$name,
        },)*)*];

        /// What the names in a call of `conformance!` are checked against.
        #[doc(hidden)]
        pub mod names {
            $($(
                #[doc(hidden)]
                pub const fn $name() {}
            )*)*
        }
    };
}

__scenarios! { [table] }
