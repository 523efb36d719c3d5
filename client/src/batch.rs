//! Many operations at a time.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, LocalBoxStream, Stream, StreamExt};

/// The results of many operations, in the order in which these were given.
///
/// As many as [`Options::in_flight`](crate::Options::in_flight) allows are sent at once, in as few
/// writes as the stream takes, and each time the first of them is taken, more follow. Nothing is
/// sent before the first result is asked for; what was sent when this is dropped is given up. What an
/// operation does beside the others is what it does by itself: they are not one step, and they may be
/// done in any order. Their time runs from when they are sent.
///
/// # Examples
/// ```
/// # mod support { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
/// # support::with_client(async |client| {
/// let pairs = [("a", "first"), ("b b", "no path"), ("c", "third")];
/// let stored = client.store_many(pairs, false).collect().await;
/// assert!(stored[0].is_ok() && stored[1].is_err() && stored[2].is_ok());
///
/// let mut loads = client.load_many(["a", "missing", "c"]);
/// let mut texts = Vec::new();
/// while let Some(loaded) = loads.next().await {
///     texts.push(loaded?.text().map(String::from));
/// }
/// assert_eq!(texts, [Some("first".into()), None, Some("third".into())]);
/// # Ok(()) });
/// ```
#[must_use = "nothing is sent before a result is asked for"]
pub struct Batch<'a, T>(LocalBoxStream<'a, T>);

impl<'a, T: 'a> Batch<'a, T> {
    pub(crate) fn new<F: Future<Output = T> + 'a>(
        in_flight: usize,
        operations: impl Iterator<Item = F> + 'a,
    ) -> Self {
        Batch(stream::iter(operations).buffered(in_flight.max(1)).boxed_local())
    }

    /// The next result; `None` after the last.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|context| self.0.as_mut().poll_next(context)).await
    }

    /// All results.
    pub async fn collect(self) -> Vec<T> {
        self.0.collect().await
    }
}

impl<T> Stream for Batch<'_, T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> fmt::Debug for Batch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}
