//! Reading a request's body within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What bounds the bodies of a server.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The longest body that is kept whole. An UPDATE review holds object and oldObject, each up to the API's 3 MiB.
    pub whole_bytes: usize,
    /// What is kept of a longer one: enough for the envelope at its front.
    pub prefix_bytes: usize,
    /// How much of a longer one is read and thrown away, so that the client, which sends it all before it listens, gets
    /// our answer instead of a reset. Two objects of 3 MiB are at most 36 MiB of JSON, each byte escaped.
    pub discard_bytes: usize,
    /// From the headers to the end of the body, waiting for room included.
    pub time: Duration,
    /// Bodies longer than this are large. Most reviews have 5 to 60 KiB.
    pub large_bytes: usize,
    /// The room for all bodies up to [`BodyLimits::large_bytes`] that are in memory, until the last reference to their
    /// bytes is dropped. Their own, so that large ones never keep them waiting.
    pub small_room_bytes: usize,
    /// The same for large ones.
    pub large_room_bytes: usize,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            whole_bytes: 7 * 1024 * 1024,
            prefix_bytes: 64 * 1024,
            discard_bytes: 48 * 1024 * 1024,
            time: Duration::from_secs(10),
            large_bytes: 256 * 1024,
            small_room_bytes: 32 * 1024 * 1024,
            // Sixteen of the longest.
            large_room_bytes: 16 * 7 * 1024 * 1024,
        }
    }
}

/// A body, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// All of it, contiguous.
    Whole(Bytes),
    /// It is longer than [`BodyLimits::whole_bytes`]: its front.
    TooLarge(Bytes),
}

/// Why a body could not be read. The connection must not be used for another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It did not arrive in time, or there was no room for it in time.
    #[error("the request's body did not arrive in time")]
    TimedOut,
    /// The client went away, or broke the rules of HTTP.
    #[error("the request's body ended before it was complete")]
    Broken,
}

/// Room is counted in pieces of this size, as a semaphore counts in 32 bits.
const ROOM_PIECE_BYTES: usize = 1024;

/// Reads bodies; clones share the room for them.
#[derive(Clone, Debug)]
pub struct BodyReader {
    limits: BodyLimits,
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl BodyReader {
    /// A reader with its own room.
    pub fn new(limits: BodyLimits) -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes / ROOM_PIECE_BYTES));
        Self {
            limits,
            small: room(limits.small_room_bytes),
            large: room(limits.large_room_bytes),
        }
    }

    /// Reads a body to its end.
    pub async fn read<B>(&self, body: B) -> Result<Received, BodyError>
    where
        B: Body + Unpin,
        B::Data: Buf,
    {
        timeout(self.limits.time, self.read_in_any_time(body))
            .await
            .unwrap_or(Err(BodyError::TimedOut))
    }

    async fn read_in_any_time<B: Body + Unpin>(&self, mut body: B) -> Result<Received, BodyError> {
        let announced = body.size_hint();
        if announced.lower() > self.limits.whole_bytes as u64 {
            return self.discard(body, BytesMut::new()).await;
        }
        let Some(mut first) = next(&mut body).await? else {
            return Ok(Received::Whole(Bytes::new()));
        };
        // For `Bytes`, as hyper's frames are, this takes no copy.
        let first = first.copy_to_bytes(first.remaining());
        if body.is_end_stream() && first.len() <= self.limits.whole_bytes {
            // It takes no more room than the connection's own buffer, which bounds it.
            return Ok(Received::Whole(first));
        }
        // Without a Content-Length it may become as long as any.
        let length = announced
            .exact()
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(self.limits.whole_bytes);
        let room = self.room(length).await?;
        self.gather(body, first, length, room).await
    }

    /// Puts the pieces together, `length` bytes at most.
    async fn gather<B: Body + Unpin>(
        &self,
        mut body: B,
        first: Bytes,
        length: usize,
        room: OwnedSemaphorePermit,
    ) -> Result<Received, BodyError> {
        // All at once, so that it never holds two copies while it grows; pages that are never written cost nothing.
        let mut gathered = BytesMut::with_capacity(length);
        let mut piece = Some(first);
        while let Some(bytes) = piece {
            if gathered.len() + bytes.len() > length {
                let mut prefix =
                    BytesMut::from(&gathered[..gathered.len().min(self.limits.prefix_bytes)]);
                self.extend_prefix(&mut prefix, bytes);
                drop((gathered, room));
                return self.discard(body, prefix).await;
            }
            gathered.extend_from_slice(&bytes);
            piece = next(&mut body)
                .await?
                .map(|mut data| data.copy_to_bytes(data.remaining()));
        }
        Ok(Received::Whole(Bytes::from_owner(Roomed {
            bytes: gathered.freeze(),
            _room: room,
        })))
    }

    /// Keeps the front and throws the rest away.
    async fn discard<B: Body + Unpin>(
        &self,
        mut body: B,
        mut prefix: BytesMut,
    ) -> Result<Received, BodyError> {
        let mut read = 0;
        while read <= self.limits.discard_bytes {
            let Some(data) = next(&mut body).await? else {
                break;
            };
            read += data.remaining();
            self.extend_prefix(&mut prefix, data);
        }
        Ok(Received::TooLarge(prefix.freeze()))
    }

    fn extend_prefix(&self, prefix: &mut BytesMut, data: impl Buf) {
        let missing = self.limits.prefix_bytes.saturating_sub(prefix.len());
        prefix.put(data.take(missing));
    }

    /// Waits for room for a body of `length` bytes.
    async fn room(&self, length: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let room = if length > self.limits.large_bytes {
            &self.large
        } else {
            &self.small
        };
        let pieces = u32::try_from(length.div_ceil(ROOM_PIECE_BYTES)).unwrap_or(u32::MAX);
        // It fails only when the semaphore is closed, which it never is.
        let room = Arc::clone(room).acquire_many_owned(pieces).await;
        room.map_err(|_| BodyError::TimedOut)
    }
}

/// The next piece of data; trailers are skipped.
async fn next<B: Body + Unpin>(body: &mut B) -> Result<Option<B::Data>, BodyError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        if let Ok(data) = frame.into_data()
            && data.has_remaining()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A body together with the room that it takes.
struct Roomed {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Roomed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::{StreamExt, stream};
    use http_body_util::{Full, StreamBody};
    use hyper::body::{Frame, SizeHint};

    use super::*;

    fn reader() -> BodyReader {
        BodyReader::new(BodyLimits {
            whole_bytes: 10_000,
            prefix_bytes: 100,
            discard_bytes: 50_000,
            large_bytes: 3000,
            small_room_bytes: 10 * 1024,
            large_room_bytes: 10 * 1024,
            time: Duration::from_secs(10),
        })
    }

    fn pieces(count: u8, length: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let pieces = (0..count).map(move |n| Ok(Frame::data(Bytes::from(vec![n; length]))));
        StreamBody::new(stream::iter(pieces.collect::<Vec<_>>()))
    }

    fn whole(received: Received) -> Bytes {
        match received {
            Received::Whole(bytes) => bytes,
            Received::TooLarge(prefix) => panic!("too large: {prefix:?}"),
        }
    }

    #[tokio::test]
    async fn a_body_in_one_frame_is_passed_on_without_a_copy() {
        let sent = Bytes::from(vec![7; 200]);
        let received = whole(reader().read(Full::new(sent.clone())).await.unwrap());
        assert_eq!(received.as_ptr(), sent.as_ptr());
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn an_empty_body_is_whole() {
        let received = reader().read(Full::new(Bytes::new())).await.unwrap();
        assert_eq!(received, Received::Whole(Bytes::new()));
    }

    #[tokio::test]
    async fn a_body_in_pieces_becomes_contiguous() {
        let received = whole(reader().read(pieces(4, 50)).await.unwrap());
        let expected: Vec<u8> = (0..4).flat_map(|n| vec![n; 50]).collect();
        assert_eq!(received, expected);
    }

    #[tokio::test]
    async fn exactly_the_limit_is_whole_and_one_byte_more_is_not() {
        let full = |length| Full::new(Bytes::from(vec![1; length]));
        let read = async |body| whole(reader().read(body).await.unwrap()).len();
        assert_eq!(read(full(10_000)).await, 10_000);
        let pieced = whole(reader().read(pieces(10, 1000)).await.unwrap());
        assert_eq!(pieced.len(), 10_000);
        for received in [
            reader().read(full(10_001)).await.unwrap(),
            reader().read(pieces(11, 910)).await.unwrap(),
        ] {
            assert!(matches!(received, Received::TooLarge(prefix) if prefix.len() == 100));
        }
    }

    #[tokio::test]
    async fn the_prefix_of_a_body_that_is_too_large_is_its_front() {
        for length in [60, 600] {
            let expected: Vec<u8> = (0..200).flat_map(|n| vec![n; length]).take(100).collect();
            let received = reader().read(pieces(200, length)).await.unwrap();
            assert_eq!(received, Received::TooLarge(expected.into()));
        }
    }

    #[tokio::test]
    async fn an_endless_body_is_given_up() {
        let endless =
            stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![1; 100]))));
        let received = reader().read(StreamBody::new(endless)).await.unwrap();
        assert!(matches!(received, Received::TooLarge(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_times_out() {
        let start = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{")))]);
        let body = StreamBody::new(start.chain(stream::pending()));
        assert_eq!(reader().read(body).await, Err(BodyError::TimedOut));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let broken = stream::iter([
            Ok(Frame::data(Bytes::from_static(b"{"))),
            Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        ]);
        assert_eq!(
            reader().read(StreamBody::new(broken)).await,
            Err(BodyError::Broken)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_room_waits_until_what_takes_it_is_dropped() {
        let reader = reader();
        // Without a Content-Length it takes as much room as the longest.
        let first = whole(reader.read(pieces(5, 1000)).await.unwrap());
        assert_eq!(reader.read(pieces(5, 1000)).await, Err(BodyError::TimedOut));
        let small = Full::new(Bytes::from(vec![1; 3000]));
        assert!(
            reader.read(small).await.is_ok(),
            "small ones do not wait for large ones"
        );
        let part = first.slice(0..10);
        drop(first);
        assert_eq!(reader.read(pieces(5, 1000)).await, Err(BodyError::TimedOut));
        let waiting = tokio::spawn({
            let reader = reader.clone();
            async move { reader.read(pieces(5, 1000)).await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(part);
        assert_eq!(whole(waiting.await.unwrap().unwrap()).len(), 5000);
    }

    #[tokio::test(start_paused = true)]
    async fn announced_bodies_share_the_room_by_their_length() {
        let reader = reader();
        let mut kept = Vec::new();
        for _ in 0..2 {
            kept.push(whole(reader.read(Announced::new(4000)).await.unwrap()));
        }
        assert_eq!(
            reader.read(Announced::new(4000)).await,
            Err(BodyError::TimedOut)
        );
        kept.clear();
        assert!(reader.read(Announced::new(4000)).await.is_ok());
    }

    /// A body in two pieces whose length is known in advance.
    struct Announced {
        left: usize,
        piece: usize,
    }

    impl Announced {
        fn new(length: usize) -> Self {
            Self {
                left: length,
                piece: length / 2,
            }
        }
    }

    impl Body for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let length = self.left.min(self.piece);
            self.left -= length;
            let frame = Frame::data(Bytes::from(vec![1; length]));
            Poll::Ready((length > 0).then_some(Ok(frame)))
        }

        fn is_end_stream(&self) -> bool {
            self.left == 0
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.left as u64)
        }
    }
}
