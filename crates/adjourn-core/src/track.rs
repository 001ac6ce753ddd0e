//! Scopes and tasks: what is alive, what is spawned, told, shielded and dropped.

pub(crate) mod above;
pub(crate) mod bell;
pub(crate) mod context;
pub(crate) mod ext;
pub(crate) mod node;
pub(crate) mod ready;
pub(crate) mod scope;
pub(crate) mod shield;
pub(crate) mod stop;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod until_stop;
pub(crate) mod wakes;
