//! A connection's socket, as hyper sees it, and what is noted of it on the way.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use adjourn_core::StopToken;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use crate::sys;

/// The first bytes of HTTP/2 (RFC 9113, 3.4). No request of HTTP/1 begins with them.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the task of a connection, its socket and its service know of each other.
///
/// With HTTP/1 one task writes and reads all of it. With HTTP/2 each stream is a task, and only the
/// count of answers is read. So no ordering is needed.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Answers that have not ended.
    answering: AtomicUsize,
    /// Requests so far; it may wrap.
    requests: AtomicUsize,
    /// HTTP/1: the last answer has ended, and the socket has not taken all of it.
    flushing: AtomicBool,
    /// Input has come since the last answer ended: a request is on its way.
    begun: AtomicBool,
    /// The peer sends no more.
    ended: AtomicBool,
    /// HTTP/1: the tokens of the connection and of the server, which may be told before it. Here, since
    /// each request has a share of this anyway.
    stop: OnceLock<[StopToken; 2]>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// There is no request.
    Nothing,
    /// A part of a request's head is there.
    Reading,
    /// A request is there and its answer has not ended.
    Answering,
}

impl State {
    pub(crate) fn doing(&self) -> Doing {
        if self.answering.load(Relaxed) > 0 || self.flushing.load(Relaxed) {
            Doing::Answering
        } else if self.begun.load(Relaxed) {
            Doing::Reading
        } else {
            Doing::Nothing
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// This is HTTP/1: its answers announce the stop that these tokens tell of.
    pub(crate) fn announce(&self, stop: [StopToken; 2]) {
        _ = self.stop.set(stop);
    }

    /// A request has come; its answer ends when what is returned is dropped, with HTTP/1 once it is
    /// flushed after that.
    pub(crate) fn answer(self: &Arc<State>) -> Answering {
        self.requests.fetch_add(1, Relaxed);
        self.answering.fetch_add(1, Relaxed);
        Answering(self.clone())
    }
}

/// An answer that has not ended.
#[derive(Debug)]
pub(crate) struct Answering(Arc<State>);

impl Answering {
    /// Whether the answer is to say that the connection ends with it.
    pub(crate) fn is_last(&self) -> bool {
        self.0.stop.get().is_some_and(|stop| stop.iter().any(StopToken::peek))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // What was read until now was this request, or the head of one that hyper has read whole and
        // begins at once.
        self.0.begun.store(false, Relaxed);
        // hyper always flushes after it has dropped a body.
        self.0.flushing.store(self.0.stop.get().is_some(), Relaxed);
        self.0.answering.fetch_sub(1, Relaxed);
    }
}

/// The sockets that a server has open.
#[derive(Clone, Default)]
pub(crate) struct Open(Arc<Mutex<(usize, Option<Waker>)>>);

impl Open {
    pub(crate) fn one_more(&self) -> OpenOne {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        OpenOne(self.clone())
    }

    /// Waits until none is open.
    pub(crate) async fn none(&self) {
        std::future::poll_fn(|cx| {
            let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if open.0 == 0 {
                return Poll::Ready(());
            }
            let old = open.1.replace(cx.waker().clone());
            drop(open);
            drop(old);
            Poll::Pending
        })
        .await;
    }
}

/// One open socket.
pub(crate) struct OpenOne(Open);

impl Drop for OpenOne {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 -= 1;
        let waker = if open.0 == 0 { open.1.take() } else { None };
        drop(open);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A socket whose first bytes were looked at.
pub(crate) struct Io<I> {
    // Dropped before it is counted as closed.
    io: I,
    /// What was read and not taken yet.
    first: Vec<u8>,
    taken: usize,
    state: Arc<State>,
    _open: OpenOne,
}

impl<I> Io<I> {
    pub(crate) fn new(io: I, open: OpenOne) -> Io<I> {
        Io { io, first: Vec::new(), taken: 0, state: Arc::default(), _open: open }
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }
}

impl<I: Read + Write + Unpin> Io<I> {
    /// Reads until it is known whether this is HTTP/2. `None` where the peer has closed.
    pub(crate) fn poll_is_http2(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<bool>>> {
        loop {
            let length = self.first.len().min(PREFACE.len());
            if self.first[..length] != PREFACE[..length] {
                return Poll::Ready(Ok(Some(false)));
            }
            if length == PREFACE.len() {
                return Poll::Ready(Ok(Some(true)));
            }
            // As much as comes in one packet, so that most requests are read at once.
            let mut bytes = [MaybeUninit::uninit(); 1500];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let count = ready!(sys::poll_read(&mut self.io, cx, buffer.unfilled()))?;
            if count == 0 {
                self.state.ended.store(true, Relaxed);
                return Poll::Ready(Ok(None));
            }
            self.state.begun.store(true, Relaxed);
            self.first.extend_from_slice(buffer.filled());
        }
    }

    /// Reads what comes and forgets it, until the peer has closed. Calls `comes` where something came.
    pub(crate) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        mut comes: impl FnMut(),
    ) -> Poll<io::Result<()>> {
        for _ in 0..16 {
            let mut bytes = [MaybeUninit::uninit(); 4096];
            let count = sys::poll_read(&mut self.io, cx, ReadBuf::uninit(&mut bytes).unfilled());
            if ready!(count)? == 0 {
                return Poll::Ready(Ok(()));
            }
            comes();
        }
        cx.waker().wake_by_ref(); // others first: a peer that sends and sends must not hold the thread
        Poll::Pending
    }
}

impl<I: Read + Unpin> Read for Io<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken < this.first.len() {
            let left = &this.first[this.taken..];
            let count = left.len().min(cursor.remaining());
            cursor.put_slice(&left[..count]);
            this.taken += count;
            if this.taken == this.first.len() {
                (this.first, this.taken) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        let asked = cursor.remaining() > 0;
        let count = ready!(sys::poll_read(&mut this.io, cx, cursor))?;
        if count > 0 {
            this.state.begun.store(true, Relaxed);
        } else if asked {
            this.state.ended.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Write for Io<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() {
            self.state.flushing.store(false, Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }
}
