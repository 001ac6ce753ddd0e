//! HTTP on Adjourn: a [hyper] server whose stop and restart lose no request that could be saved.
//!
//! [`Server`] takes connections from a listener and serves them, HTTP/1 and HTTP/2, with any service of
//! tower's (axum's `Router`, tonic's `Routes`) or hyper's. It is one code for every executor; the
//! features `tokio` and `async-io` bring the listeners ([`Accept`]).
//!
//! For a restart that nobody sees, the listener outlives the program: it is inherited (`Inherited`), or
//! handed over by the old program (`Handover`).
//!
//! Each connection is a graceful task in a scope of its own, below the scope that serves. [`Server`]
//! says what becomes of it at the stop.
//!
//! Applications use it as `adjourn::hyper`, by the facade's feature `hyper`.

#![deny(unsafe_code)] // `sys` alone is allowed it, with a proof at each site
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod connection;
#[cfg(target_os = "linux")]
mod handover;
mod handshake;
mod io;
#[cfg(unix)]
mod listen;
mod rt;
mod server;
mod service;
mod sys;
mod upgrade;

pub use accept::Accept;
#[cfg(feature = "async-io")]
pub use accept::async_io::Stream;
#[cfg(unix)]
pub use adjourn_systemd::Inherited;
#[cfg(target_os = "linux")]
pub use handover::{Handover, Successor};
pub use handshake::{Handshake, Shaking};
#[cfg(unix)]
pub use listen::{bind, reuse_port};
pub use rt::{Clock, InScope};
pub use server::{Server, serve};
pub use upgrade::upgrade;
