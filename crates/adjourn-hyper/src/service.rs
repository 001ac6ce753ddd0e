//! The user's service as hyper calls it: counted, and with the word of the end on its answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::io::{Answering, State};

/// The service of one connection.
pub(crate) struct Served<S> {
    pub(crate) service: S,
    pub(crate) state: Arc<State>,
}

// The service is never pinned, only called.
impl<S> Unpin for Served<S> {}

impl<S, B> hyper::service::Service<Request<Incoming>> for Served<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Call<S, S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Call {
            is_tunnel: request.method() == Method::CONNECT,
            step: Step::Ready { service: self.service.clone(), request: Some(request) },
            answering: Some(self.state.answer()),
        }
    }
}

pin_project! {
    /// One request: waits until the service is ready, then for its answer.
    pub(crate) struct Call<S, F> {
        #[pin]
        step: Step<S, F>,
        answering: Option<Answering>,
        // The answer begins a tunnel: it says nothing about the connection.
        is_tunnel: bool,
    }
}

pin_project! {
    #[project = StepProjected]
    enum Step<S, F> {
        Ready { service: S, request: Option<Request<Incoming>> },
        Called { #[pin] answer: F },
    }
}

impl<S, B> Future for Call<S, S::Future>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Output = Result<Response<Answer<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let answer = loop {
            let called = match this.step.as_mut().project() {
                StepProjected::Called { answer } => break ready!(answer.poll(cx)),
                StepProjected::Ready { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let Some(request) = request.take() else { return Poll::Pending };
                    service.call(request)
                }
            };
            this.step.set(Step::Called { answer: called });
        };
        let mut answer = answer?;
        // Looked at as late as can be: no answer whose head is written after the stop goes without.
        let is_last = !*this.is_tunnel && this.answering.as_ref().is_some_and(Answering::is_last);
        if is_last && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let answering = this.answering.take();
        Poll::Ready(Ok(answer.map(|body| Answer { body, answering })))
    }
}

pin_project! {
    /// The body of an answer. The answer ends where it is dropped.
    pub(crate) struct Answer<B> {
        #[pin]
        body: B,
        answering: Option<Answering>,
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A service of hyper's as one of tower's.
#[derive(Clone)]
pub(crate) struct Hyper<S>(pub(crate) S);

impl<S> Service<Request<Incoming>> for Hyper<S>
where
    S: hyper::service::Service<Request<Incoming>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> S::Future {
        self.0.call(request)
    }
}
